use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use http::request::Parts;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::merge::Writer;
use super::refuse::{self, Refusal};
use super::state::{Asked, Id, Selector, State, Watcher, event};
use super::{Reply, json as reply};

/// Where a request goes.
struct Target {
    group: String,
    plural: String,
    namespace: Option<String>,
    name: Option<String>,
    status: bool,
}

fn target(path: &str) -> Target {
    let mut segments = path.trim_matches('/').split('/');
    // `api/v1` or `apis/<group>/<version>`.
    let named = segments.next() == Some("apis");
    let group = if named { segments.next().unwrap_or_default().to_owned() } else { String::new() };
    segments.next();
    let mut rest: Vec<_> = segments.map(str::to_owned).collect();
    let namespace = (rest.len() > 2 && rest[0] == "namespaces").then(|| rest.drain(..2).nth(1)).flatten();
    let mut rest = rest.into_iter();
    let (plural, name, sub) = (rest.next().unwrap(), rest.next(), rest.next());
    Target { group, plural, namespace, name, status: sub.as_deref() == Some("status") }
}

pub(crate) fn answer(state: &mut State, parts: &Parts, body: &Bytes) -> Reply {
    let Target { group, plural, namespace, name, status } = target(parts.uri.path());
    let query: Vec<(String, String)> = query(parts.uri.query().unwrap_or_default());
    let resource = if status { format!("{plural}/status") } else { plural.clone() };
    let Some(name) = name.or_else(|| created_name(&parts.method, body)) else {
        let selector = selector(plural, namespace, &query);
        let watch = query.iter().any(|(key, value)| key == "watch" && (value == "true" || value == "1"));
        let verb = if watch { "watch" } else { "list" };
        state.requests.insert(Asked { verb, group, resource, name: selector.name.clone() });
        return if watch { start_watch(state, selector, &query) } else { list(state, &selector) };
    };
    let id = Id(plural.clone(), namespace.unwrap_or_default(), name.clone());
    let there = state.objects.contains_key(&id);
    for verb in rights(&parts.method, there) {
        // A right to create can't be bound to a name.
        let name = (*verb != "create").then(|| name.clone());
        let (group, resource) = (group.clone(), resource.clone());
        state.requests.insert(Asked { verb, group, resource, name });
    }
    if parts.method == Method::GET {
        return state.objects.get(&id).map_or_else(|| failure(404, "NotFound"), |object| reply(200, object));
    }
    let verb = if parts.method == Method::PATCH { "apply" } else { &parts.method.as_str().to_lowercase() };
    let write = format!("{verb} {plural}/{name}{}", if status { "/status" } else { "" });
    state.writes.push(write.clone());
    state.written_in.push(id.1.clone());
    if state.broken.as_ref().is_some_and(|broken| write.contains(broken.as_str())) {
        return failure(500, "InternalError");
    }
    let manager = value(&query, "fieldManager").unwrap_or_default();
    let force = value(&query, "force").is_some_and(|force| force == "true");
    change(state, &parts.method, &id, Writer { manager: &manager, status, force }, body)
}

fn change(state: &mut State, method: &Method, id: &Id, by: Writer<'_>, body: &Bytes) -> Reply {
    if let Err(refusal) = refuse::request(body.len()) {
        return refused(refusal);
    }
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    if *method == Method::PATCH
        && let Err(refusal) = refuse::applied(id, by.manager, &sent)
    {
        return refused(refusal);
    }
    let there = state.objects.get(id).cloned();
    match (method, there) {
        (&Method::POST, Some(_)) => failure(409, "AlreadyExists"),
        (&Method::POST, None) => match state.create(id, sent, by.manager) {
            Ok(object) => reply(201, &object),
            Err(refusal) => refused(refusal),
        },
        (&Method::PATCH, None) if by.status => failure(404, "NotFound"),
        (&Method::PATCH, None) if !sent["metadata"]["uid"].is_null() => failure(409, "Conflict"),
        // The status of a custom resource is written whatever uid is sent.
        (&Method::PATCH, Some(there))
            if !by.status && differs(&sent["metadata"]["uid"], &there["metadata"]["uid"]) =>
        {
            let mut status = status(422, "Invalid", "metadata.uid: field is immutable");
            status["details"] = json!({ "causes": [{ "field": "metadata.uid" }] });
            reply(422, &status)
        }
        (&Method::PATCH, Some(there))
            if differs(&sent["metadata"]["resourceVersion"], &there["metadata"]["resourceVersion"]) =>
        {
            failure(409, "Conflict")
        }
        (&Method::PATCH, there) => {
            let mut sent = sent;
            if let Some(meta) = sent["metadata"].as_object_mut() {
                meta.remove("uid");
                meta.remove("resourceVersion");
            }
            match state.apply(id, &sent, by) {
                Ok(object) => reply(if there.is_some() { 200 } else { 201 }, &object),
                Err(refusal) => refused(refusal),
            }
        }
        (&Method::PUT, None) => failure(404, "NotFound"),
        (&Method::PUT, Some(there))
            if differs(&sent["metadata"]["resourceVersion"], &there["metadata"]["resourceVersion"]) =>
        {
            failure(409, "Conflict")
        }
        (&Method::PUT, Some(_)) => reply(200, &state.put(id, sent)),
        (&Method::DELETE, None) => failure(404, "NotFound"),
        (&Method::DELETE, Some(there)) => {
            let (wanted, meta) = (&sent["preconditions"], &there["metadata"]);
            if differs(&wanted["uid"], &meta["uid"])
                || differs(&wanted["resourceVersion"], &meta["resourceVersion"])
            {
                return failure(409, "Conflict");
            }
            reply(200, &state.delete(id).unwrap())
        }
        _ => failure(405, "MethodNotAllowed"),
    }
}

/// What the API server's authorizer asks for. An apply that makes the object needs the right to create it too.
fn rights(method: &Method, there: bool) -> &'static [&'static str] {
    match (method, there) {
        (&Method::GET, _) => &["get"],
        (&Method::POST, _) => &["create"],
        (&Method::PUT, _) => &["update"],
        (&Method::PATCH, true) => &["patch"],
        (&Method::PATCH, false) => &["patch", "create"],
        (&Method::DELETE, _) => &["delete"],
        _ => &[],
    }
}

fn differs(wanted: &Value, there: &Value) -> bool {
    !wanted.is_null() && wanted != there
}

fn created_name(method: &Method, body: &Bytes) -> Option<String> {
    let sent: Value = (method == Method::POST).then(|| serde_json::from_slice(body).ok()).flatten()?;
    sent["metadata"]["name"].as_str().map(str::to_owned)
}

fn list(state: &State, selector: &Selector) -> Reply {
    let items: Vec<_> =
        state.objects.iter().filter(|(id, object)| selector.takes(id, object)).map(|(_, o)| o).collect();
    reply(
        200,
        &json!({
            "apiVersion": "v1", "kind": "List",
            "metadata": { "resourceVersion": state.revision.to_string() },
            "items": items,
        }),
    )
}

fn start_watch(state: &mut State, selector: Selector, query: &[(String, String)]) -> Reply {
    let since =
        query.iter().find(|(key, _)| key == "resourceVersion").and_then(|(_, value)| value.parse().ok());
    let since: u64 = since.unwrap_or_default();
    let (events, stream) = unbounded();
    if since < state.compacted {
        let gone = status(410, "Expired", "too old resource version");
        events.unbounded_send(json!({ "type": "ERROR", "object": gone })).unwrap();
        return stream_of(stream);
    }
    for (_, id, past) in state.history.iter().filter(|(revision, ..)| *revision > since) {
        let before = (!past["before"].is_null()).then_some(&past["before"]);
        let kind = past["type"].as_str().unwrap_or_default();
        if let Some(event) = event(&selector, id, kind, before, &past["object"]) {
            events.unbounded_send(event).unwrap();
        }
    }
    state.watchers.push(Watcher { selector, events });
    stream_of(stream)
}

fn stream_of(events: UnboundedReceiver<Value>) -> Reply {
    let frames = events.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
    Response::builder().status(200).body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

fn selector(plural: String, namespace: Option<String>, query: &[(String, String)]) -> Selector {
    let labels = value(query, "labelSelector").unwrap_or_default();
    let label = |pair: &str| match pair.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (pair.to_owned(), None),
    };
    let name = value(query, "fieldSelector")
        .and_then(|field| field.strip_prefix("metadata.name=").map(str::to_owned));
    Selector {
        plural,
        namespace,
        labels: labels.split(',').filter(|one| !one.is_empty()).map(label).collect(),
        name,
    }
}

fn query(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        text.replace("%3D", "=")
            .replace("%2F", "/")
            .replace("%2C", ",")
            .replace("%3d", "=")
            .replace("%2f", "/")
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decode(value)))
        .collect()
}

fn value(query: &[(String, String)], name: &str) -> Option<String> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn refused(Refusal(code, reason, message): Refusal) -> Reply {
    failed(code, reason, &message)
}

fn failure(code: u16, reason: &str) -> Reply {
    failed(code, reason, reason)
}

pub(crate) fn failed(code: u16, reason: &str, message: &str) -> Reply {
    reply(code, &status(code, reason, message))
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}
