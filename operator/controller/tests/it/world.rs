//! Stacks in a cluster in memory, in fake time: started, disturbed, calm again, and compared.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use weft_operator::leader::Leadership;

use crate::fake::{Cluster, Id};
use crate::faults::Faults;
use crate::fixtures::Fixture;
use crate::harness::{Operator, installation};

/// Longer than any retry waits.
const QUIET: Duration = Duration::from_secs(65);
/// No disturbance is felt for longer: by then every watch has listed anew, and every Stack has been looked at since.
pub(crate) const LONG: Duration = Duration::from_secs(21 * 60);

/// What opens data: made once, never written again.
const DATA: [&str; 7] = [
    "mongodb",
    "mongodb-superuser",
    "postgres",
    "postgres-superuser",
    "rabbitmq",
    "rabbitmq-superuser",
    "weft-authentication",
];

/// What is in a namespace, without what differs between two clusters.
pub(crate) type Shape = BTreeMap<Id, Value>;

/// A cluster whose pods run at once.
pub(crate) fn cluster() -> Cluster {
    let cluster = Cluster::default();
    cluster.act(|state| (state.pods_run, state.volumes) = (true, true));
    cluster
}

pub(crate) fn cluster_with(fixture: &Fixture) -> Cluster {
    let cluster = cluster();
    fixture.put(&cluster);
    cluster
}

/// Starts an operator whose client has these faults. Its passwords are always the same: what a run ends in can be compared.
pub(crate) async fn start(cluster: &Cluster, faults: &Faults) -> Operator {
    let password = || "the same thirty-two letters for all".to_owned();
    Operator::start_by(faults.client(cluster), installation(), Leadership::always(), password).await
}

/// Lets time pass until nothing has been written for longer than any retry waits.
pub(crate) async fn calm(cluster: &Cluster) {
    for _ in 0..100 {
        let before = cluster.state().writes.len();
        tokio::time::sleep(QUIET).await;
        if cluster.state().writes.len() == before {
            return;
        }
    }
    panic!("it writes for ever: {:?}", cluster.state().writes.iter().rev().take(20).collect::<Vec<_>>());
}

/// What the Stacks of a fixture become when nothing goes wrong, and with how many writes.
pub(crate) async fn undisturbed(fixture: &Fixture) -> (Shape, usize) {
    let cluster = cluster_with(fixture);
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    let writes = cluster.state().writes.len();
    assert_eq!(ends(&cluster, fixture), fixture.expect, "{}", fixture.name);
    operator.stop().await;
    (shape(&cluster, &fixture.name), writes)
}

/// `Ready`, or the reason why not.
pub(crate) fn ends(cluster: &Cluster, fixture: &Fixture) -> String {
    reason(&cluster.state().objects[&fixture.id()])
}

/// The reason of a Stack's condition Ready.
pub(crate) fn reason(stack: &Value) -> String {
    let ready =
        stack["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
    ready.map(|one| one["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
}

pub(crate) fn shape(cluster: &Cluster, namespace: &str) -> Shape {
    let state = cluster.state();
    // Events tell of what happened on the way, which is not the same on every way.
    let within = state.objects.iter().filter(|(id, _)| id.1 == namespace && id.0 != "events");
    within.map(|(id, object)| (id.clone(), bare(object))).collect()
}

/// Says where two shapes differ, rather than all of both.
pub(crate) fn assert_same(found: &Shape, wanted: &Shape, what: &str) {
    for id in wanted.keys().chain(found.keys()) {
        assert_eq!(found.get(id), wanted.get(id), "{what}: {id:?}");
    }
}

pub(crate) fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    let meta = object["metadata"].as_object_mut().unwrap();
    for key in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        meta.remove(key);
    }
    for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        owner["uid"] = "".into();
    }
    if let Some(volume) = object.pointer_mut("/metadata/annotations/weft.dev~1granted-on") {
        *volume = "".into();
    }
    strip(&mut object["status"]);
    object
}

/// Times and generations are those of a run.
fn strip(status: &mut Value) {
    match status {
        Value::Object(fields) => {
            fields.retain(|key, _| key != "observedGeneration" && key != "lastTransitionTime");
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A password that was ever made is still the one: its Secret was never deleted, and written again only to hold what was asked
/// for since, or that its user has its rights.
pub(crate) fn assert_data_untouched(cluster: &Cluster, what: &str) {
    for (_, id, event) in &cluster.state().history {
        if id.0 == "secrets" && DATA.contains(&id.2.as_str()) {
            let told =
                |of: &str, key: &str| event[of]["metadata"]["annotations"][format!("weft.dev/{key}")].clone();
            let differs = |key: &str| told("before", key) != told("object", key);
            let same_user = event["before"]["data"] == event["object"]["data"];
            // Whoever had the superuser gets another user, once: it has no rights of its own before.
            let was_superuser = told("before", "granted-by").is_null();
            let is_granted = ["granted-by", "granted-on"].into_iter().any(differs);
            let rotated = differs("rotated-at") || is_granted && (same_user || was_superuser);
            let rotated = event["type"] == "MODIFIED" && rotated && !id.2.ends_with("-superuser");
            let noted = same_user && differs("first-user");
            assert!(event["type"] == "ADDED" || rotated || noted, "{what}: {id:?} {}", event["type"]);
        }
    }
}

/// What the operator wrote in a namespace: each request once.
pub(crate) fn writes_in(cluster: &Cluster, namespace: &str) -> std::collections::BTreeSet<String> {
    let state = cluster.state();
    let all = state.written_in.iter().zip(&state.writes);
    all.filter(|(within, write)| *within == namespace && !write.contains(" events/"))
        .map(|(_, write)| without_digest_of_job(write))
        .collect()
}

/// The name of a Job ends with a digest of uids, which no two clusters share.
fn without_digest_of_job(write: &str) -> String {
    match write.rsplit_once('-') {
        Some((name, _)) if write.contains(" jobs/") => name.to_owned(),
        _ => write.to_owned(),
    }
}

/// Waits until it holds, at most as long as any disturbance may be felt.
pub(crate) async fn in_time(cluster: &Cluster, mut holds: impl FnMut() -> bool) {
    let started = tokio::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < LONG, "not in time\n{}", cluster.state());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

/// Every Secret and ConfigMap that the specs of `schema` name: plural, name, object.
pub(crate) fn surroundings() -> Vec<(&'static str, String, Value)> {
    let secret = |texts: Vec<(&str, String)>| {
        let bytes = |text: String| json!(k8s_openapi::ByteString(text.into_bytes()));
        let data: serde_json::Map<_, _> =
            texts.into_iter().map(|(key, text)| (key.to_owned(), bytes(text))).collect();
        json!({ "data": data })
    };
    let mut found = Vec::new();
    for which in ["one", "two"] {
        for (store, scheme) in [("mongodb", "mongodb"), ("rabbitmq", "amqp"), ("postgres", "postgres")] {
            let [uri, other] = ["uri", "other"].map(|key| format!("{scheme}://{which}-{key}/"));
            found.push(("secrets", format!("{store}-{which}"), secret(vec![("uri", uri), ("other", other)])));
        }
        let password = format!("a long password, {which}");
        let email = format!("{which}@example.com");
        let pair = secret(vec![("email", email), ("username", which.to_owned()), ("password", password)]);
        found.push(("secrets", format!("pair-{which}"), pair));
        found.push(("configmaps", format!("letters-{which}"), json!({ "data": { "a.mjml": which } })));
    }
    found
}
