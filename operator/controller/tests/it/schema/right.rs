//! Right values, by type, bounds, pattern and choices. Where no candidate fits a new field's pattern, add one.

use serde_json::{Value, json};

use super::{Part, written};

/// A field, and two values of it that differ.
pub(crate) struct Pair {
    pub(crate) path: Vec<Part>,
    pub(crate) one: Value,
    pub(crate) other: Value,
}

/// Texts that patterns of Kubernetes, of addresses and of amounts take, the narrow ones first.
const TEXTS: [&str; 30] = [
    "http://a.example:8080",
    "https://b.example",
    "10.0.0.0/8",
    "192.168.0.0/16",
    "one@example.com",
    "two@example.org",
    "registry.example/one:1",
    "registry.example/two:2",
    "100m",
    "2",
    "64Mi",
    "1Gi",
    "2s",
    "500ms",
    "/one",
    "/two",
    "one.example.com",
    "two.example.com",
    "one",
    "two",
    "ONE",
    "TWO",
    "Exists",
    "Equal",
    "NoSchedule",
    "NoExecute",
    "2026-01-01T00:00:00Z",
    "2026-01-02T00:00:00Z",
    "0.1.0",
    "0.2.0",
];

/// What only these fields take: a name of something that has to be there, say. By the end of the path.
const SPECIAL: [(&str, &str, &str); 12] = [
    ("version", "0.1.0", "0.2.0"),
    ("mongodb.external.secretRef.name", "mongodb-one", "mongodb-two"),
    ("rabbitmq.external.secretRef.name", "rabbitmq-one", "rabbitmq-two"),
    ("postgres.external.secretRef.name", "postgres-one", "postgres-two"),
    ("external.secretRef.key", "uri", "other"),
    ("templates.configMap", "letters-one", "letters-two"),
    ("secretRef.name", "pair-one", "pair-two"),
    ("configMapRef.name", "letters-one", "letters-two"),
    // Nobody of whom each is called anyway.
    ("allowFrom[]", "frontend", "mail"),
    ("env[].name", "LOG_RETENTION", "RUST_LOG"),
    // A pattern can say less of a network than the operator asks for.
    // The first is the installation's too, in tests with a real API server.
    ("imagePullSecrets[].name", "registry-one", "registry-two"),
    ("trustedProxies[]", "10.0.0.0/8", "fd00::/8"),
];

/// What has to stand beside a field, by the beginning of its path.
fn companions() -> Vec<(String, Value)> {
    let called = ["one", "two"].map(|name| json!({ "name": name, "image": "one:1", "port": 8080 }));
    let fixed = [
        ("stores.smtp.external", json!({ "mail": { "from": { "address": "shop@example.com" } } })),
        // Otherwise there would be nothing to take traces of, or to.
        ("tracing.ratio", json!({ "tracing": { "managed": {} } })),
        ("tracing.trustIncoming", json!({ "tracing": { "managed": {} } })),
        ("mail.from.name", json!({ "mail": { "from": { "address": "shop@example.com" } } })),
        // Who can be called has a port, and a route leads to one.
        ("workloads[]", json!({ "workloads": [{ "port": 8080 }] })),
        (
            "workloads[].envFrom[].prefix",
            json!({ "workloads": [{ "envFrom": [{ "secretRef": { "name": "pair-one" } }] }] }),
        ),
        ("routes", json!({ "workloads": called })),
    ];
    let service = |name: &str| {
        let with = |field: &str, toleration: Value| {
            let path = format!("services.{name}.tolerations[]{field}");
            (path, json!({ "services": { name: { "tolerations": [toleration] } } }))
        };
        [with("", json!({ "key": "one" })), with(".tolerationSeconds", json!({ "effect": "NoExecute" }))]
    };
    let services = ["broker", "logger", "listener", "authentication", "mail", "frontend"];
    let services = services.into_iter().flat_map(service);
    fixed.into_iter().map(|(start, more)| (start.to_owned(), more)).chain(services).collect()
}

/// Every field with two values; nothing for those that take but one.
pub(crate) fn pairs() -> Vec<Pair> {
    let pair = |(path, schema): (Vec<Part>, Value)| {
        let [one, other] = [0, 1].map(|variant| value(&path, &schema, variant));
        (one != other).then_some(Pair { path, one, other })
    };
    super::fields().into_iter().filter_map(pair).collect()
}

/// A right value; another one for another variant, if there are two.
pub(super) fn value(path: &[Part], schema: &Value, variant: usize) -> Value {
    let choices = schema["enum"].as_array().into_iter().flatten().filter(|one| !one.is_null());
    let choices: Vec<_> = choices.collect();
    if !choices.is_empty() {
        return choices[variant % choices.len()].clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return text(path, schema, variant);
    }
    if written(path).ends_with("autoscaling.maxReplicas") {
        // Above any minReplicas.
        return [20, 30][variant % 2].into();
    }
    match schema["type"].as_str() {
        // First what a Stack is without it: to begin with a pause would be to begin with nothing.
        Some("boolean") => {
            let halts = ["paused", "stopped"].iter().any(|halt| written(path).ends_with(halt));
            ((variant == 0) != halts).into()
        }
        Some("integer") => {
            let [least, most] = [("minimum", 0), ("maximum", 10)]
                .map(|(bound, default)| schema[bound].as_f64().map_or(default, |bound| bound as i64));
            // Not what is the default of a field anyway.
            let wanted = least.max(3) + variant as i64 * 4;
            wanted.min(most - 1 + variant as i64).max(least).into()
        }
        Some("number") => [0.25, 0.5][variant % 2].into(),
        Some("array") => {
            let item: Vec<_> = path.iter().cloned().chain([Part::Item]).collect();
            json!([value(&item, &schema["items"], variant)])
        }
        Some("object") => object(path, schema, variant),
        _ => text(path, schema, variant),
    }
}

/// All that has to be there; the first that may be, when nothing has to and one has to differ.
fn object(path: &[Part], schema: &Value, variant: usize) -> Value {
    let below = |part: Part| path.iter().cloned().chain([part]).collect::<Vec<_>>();
    if schema["additionalProperties"].is_object() {
        let entry = value(&below(Part::Entry), &schema["additionalProperties"], variant);
        return json!({ "one": entry });
    }
    let mut fields = json!({});
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        fields[name] = value(&below(Part::Name(name.to_owned())), &schema["properties"][name], variant);
    }
    fields
}

/// The values of a field that has to name something.
pub(super) fn named(path: &[Part]) -> Vec<Value> {
    let path = written(path);
    let special = SPECIAL.iter().find(|(end, ..)| path.ends_with(end));
    special.map(|(_, one, other)| vec![(*one).into(), (*other).into()]).unwrap_or_default()
}

fn text(path: &[Part], schema: &Value, variant: usize) -> Value {
    if let Some(named) = named(path).get(variant % 2) {
        return named.clone();
    }
    let fitting: Vec<Value> =
        TEXTS.iter().map(|text| Value::from(*text)).filter(|text| fits(schema, text)).collect();
    assert!(fitting.len() > 1, "no two texts fit {}: add some that do: {schema}", written(path));
    fitting[variant % 2].clone()
}

/// True when a text has the length and pattern that a schema asks for.
fn fits(schema: &Value, text: &Value) -> bool {
    let bounds = ["minLength", "maxLength", "pattern"].into_iter();
    let bounds = bounds.filter_map(|bound| Some((bound.to_owned(), schema.get(bound)?.clone())));
    jsonschema::validator_for(&Value::Object(bounds.collect())).unwrap().is_valid(text)
}

/// Writes a value into a spec at a path, and on the way what the schema says has to be there.
pub(super) fn fill(schema: &Value, whole: &mut Value, done: &[Part], path: &[Part], leaf: Value) {
    let Some((part, rest)) = path.split_first() else {
        *whole = leaf;
        return;
    };
    let done: Vec<_> = done.iter().cloned().chain([part.clone()]).collect();
    let (inner, at) = match part {
        Part::Name(name) => (&schema["properties"][name], &mut whole[name]),
        Part::Item => {
            if !whole.is_array() {
                *whole = json!([null]);
            }
            (&schema["items"], &mut whole[0])
        }
        Part::Entry => (&schema["additionalProperties"], &mut whole["one"]),
    };
    if at.is_null() && !rest.is_empty() {
        *at = value(&done, inner, 0);
    }
    fill(inner, at, &done, rest, leaf);
}

/// Puts beside a field what it does not go without.
pub(super) fn accompany(whole: &mut Value, path: &[Part]) {
    let path = written(path);
    for (_, more) in companions().iter().filter(|(start, _)| path.starts_with(start.as_str())) {
        add(whole, more);
    }
}

fn add(whole: &mut Value, more: &Value) {
    if let (Value::Array(there), Value::Array(more)) = (&mut *whole, more) {
        there.first_mut().zip(more.first()).into_iter().for_each(|(there, more)| add(there, more));
        return;
    }
    let (Value::Object(more), Value::Object(_)) = (more, &*whole) else { return };
    for (key, value) in more {
        if whole[key].is_null() {
            whole[key] = value.clone();
        } else {
            add(&mut whole[key], value);
        }
    }
}
