//! What rolls pods, and what does not: a newer operator, which would make something else of the same Stack.

use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use serde_json::{Value, json};
use weft_operator::reconcile::build::Plan;
use weft_operator::reconcile::reconcile;

use crate::build::{attempt, found, plan};
use crate::fake::{Cluster, Id, State};
use crate::harness::{Operator, full, installation, ready, stack};

const RUN: [(&str, &str); 11] = [
    ("deployments", "authentication"),
    ("deployments", "broker"),
    ("deployments", "frontend"),
    ("deployments", "jaeger"),
    ("deployments", "listener"),
    ("deployments", "logger"),
    ("deployments", "mail"),
    ("deployments", "mailcatcher"),
    ("statefulsets", "mongodb"),
    ("statefulsets", "postgres"),
    ("statefulsets", "rabbitmq"),
];

fn template(state: &State, plural: &str, name: &str) -> Value {
    state.get(plural, name).unwrap()["spec"]["template"].clone()
}

fn all(state: &State) -> Vec<Value> {
    RUN.iter().map(|(plural, name)| template(state, plural, name)).collect()
}

fn is_old(template: &Value) -> bool {
    template["metadata"]["annotations"]["rendered-by"] == "an older operator"
}

fn old() -> Vec<&'static str> {
    RUN.iter().map(|(_, name)| *name).collect()
}

fn still_old(state: &State) -> Vec<&'static str> {
    RUN.iter()
        .filter(|(plural, name)| is_old(&template(state, plural, name)))
        .map(|(_, name)| *name)
        .collect()
}

/// A ready Stack that an operator has made whose pod templates were different from ours.
async fn of_an_older_operator() -> Cluster {
    let (cluster, operator) = ready(full()).await;
    operator.stop().await;
    cluster.act(|state| {
        let aged = |template: &mut Value| {
            template["metadata"]["annotations"]["rendered-by"] = "an older operator".into();
        };
        for (plural, name) in RUN {
            state.edit_applied(plural, name, |object| aged(&mut object["spec"]["template"]));
        }
        let kept =
            state.names("controllerrevisions").iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(kept.len(), 1, "one keeps them all");
        let id = Id::shop("controllerrevisions", &kept[0]);
        let mut kept = state.delete(&id).unwrap();
        for entry in kept["data"]["templates"].as_object_mut().unwrap().values_mut() {
            aged(&mut entry["template"]);
        }
        kept["metadata"].as_object_mut().unwrap().remove("uid");
        state.put(&Id::shop("controllerrevisions", "templates-of-then"), kept);
    });
    cluster
}

/// Waits until it has looked at everything.
async fn looked(cluster: &Cluster, operator: &Operator) {
    let stack = operator.context.cache.stacks.get(&ObjectRef::new("shop").within("shop")).unwrap();
    reconcile(stack, Arc::clone(&operator.context)).await.unwrap();
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
}

#[tokio::test]
async fn a_newer_operator_rolls_nothing_and_heals_to_what_was() {
    let cluster = of_an_older_operator().await;
    let before = cluster.act(|state| all(state));
    let operator = Operator::start(&cluster).await;
    looked(&cluster, &operator).await;
    assert_eq!(all(&cluster.state()), before);
    cluster.act(|state| {
        state.edit("deployments", "logger", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = "evil".into();
        });
        state.delete(&Id::shop("deployments", "mail"));
    });
    cluster
        .eventually("drift is healed to the template that was kept", |state| {
            state.get("deployments", "mail").is_some() && all(state) == before && state.is_ready("shop")
        })
        .await;
    operator.stop().await;
    assert_eq!(cluster.state().told("Rolled"), [""; 0]);
}

#[tokio::test]
async fn what_an_edit_concerns_is_rendered_anew_and_nothing_else() {
    let cluster = of_an_older_operator().await;
    let _operator = Operator::start(&cluster).await;
    let left =
        |gone: &[&str]| -> Vec<&str> { old().into_iter().filter(|name| !gone.contains(name)).collect() };
    let edit = |edit: fn(&mut Value)| {
        cluster.act(|state| state.edit("stacks", "shop", |stack| edit(&mut stack["spec"])))
    };
    edit(|spec| spec["services"]["broker"]["replicas"] = 3.into());
    cluster
        .eventually("it is scaled", |state| {
            state.get("deployments", "broker").unwrap()["spec"]["replicas"] == 3 && state.is_ready("shop")
        })
        .await;
    assert_eq!(still_old(&cluster.state()), old(), "how many there are rolls none");
    edit(|spec| spec["services"]["logger"]["env"] = json!([{ "name": "LOG_RETENTION", "value": "7d" }]));
    let is =
        |wanted: Vec<&'static str>| move |state: &State| still_old(state) == wanted && state.is_ready("shop");
    cluster.eventually("the logger rolls", is(left(&["logger"]))).await;
    cluster.act(|state| {
        state.edit("secrets", "rabbitmq", |secret| secret["data"]["uri"] = "YW1xcDovL290aGVy".into());
    });
    cluster.eventually("its users roll", is(left(&["logger", "broker", "listener"]))).await;
    edit(|spec| spec["version"] = "0.2.0".into());
    let stores = vec!["jaeger", "mailcatcher", "mongodb", "postgres", "rabbitmq"];
    cluster.eventually("another version rolls the services", is(stores)).await;
    edit(|spec| {
        spec["stores"] = json!({ "postgres": { "managed": { "restartedAt": "2026-11-25T15:00:00Z" } } })
    });
    cluster
        .eventually("a store rolls when asked to", is(vec!["jaeger", "mailcatcher", "mongodb", "rabbitmq"]))
        .await;
    let state = cluster.state();
    assert_eq!(state.names("controllerrevisions").len(), 1, "those before are pruned");
    assert!(state.told("Rolled").iter().any(|note| note.contains("logger")));
}

#[tokio::test]
async fn another_image_of_the_same_version_rolls_its_service() {
    let cluster = of_an_older_operator().await;
    let mut newer = installation();
    newer.versions.get_mut("0.1.0").unwrap().broker = "weft/broker:0.1.0-fixed".to_owned();
    newer.stores.postgres.image = "postgres:18".to_owned();
    let operator = Operator::start_with(&cluster, newer).await;
    looked(&cluster, &operator).await;
    let state = cluster.state();
    let rest: Vec<_> = old().into_iter().filter(|name| *name != "broker").collect();
    assert_eq!(still_old(&state), rest, "a store gets another image only when it is asked to restart");
    let image = &template(&state, "deployments", "broker")["spec"]["containers"][0]["image"];
    assert_eq!(image, "weft/broker:0.1.0-fixed");
}

/// Whatever of the spec changes a pod template is part of its basis: or an edit of it would be without effect.
#[test]
fn each_field_that_pods_follow_is_in_their_basis() {
    let base = json!({
        "version": "0.1.0", "tracing": { "managed": {} },
        "mail": { "from": { "name": "Shop", "address": "shop@example.com" } },
    });
    let edits = [
        ("/version", json!("0.2.0")),
        ("/tracing", json!({ "managed": {}, "ratio": 0.5 })),
        ("/tracing", json!({ "managed": {}, "trustIncoming": true })),
        ("/tracing", json!({ "otlp": { "endpoint": "http://collector:4317" } })),
        ("/tracing", json!({ "otlp": { "endpoint": "http://other:4317" } })),
        ("/tracing", Value::Null),
        ("/origins", json!(["http://127.0.0.1:30081"])),
        ("/trustedProxies", json!(["10.0.0.0/8"])),
        ("/openActions", json!(["mail"])),
        ("/limits", json!({ "requestsPerSecond": 1 })),
        ("/limits", json!({ "requestsBurst": 1 })),
        ("/limits", json!({ "signInBurst": 1 })),
        ("/limits", json!({ "signInPerMinute": 1 })),
        ("/limits", json!({ "openBytesPerDay": 1 })),
        ("/limits", json!({ "userMailsPerHour": 1 })),
        ("/limits", json!({ "recipientMailsPerHour": 1 })),
        ("/console", json!({ "url": "http://127.0.0.1:30081" })),
        ("/console", json!({ "brokerUrl": "http://127.0.0.1:30080" })),
        ("/console", json!({ "jaegerUrl": "http://127.0.0.1:30686" })),
        ("/mail", json!({ "from": { "name": "Other", "address": "shop@example.com" } })),
        ("/mail", json!({ "from": { "name": "Shop", "address": "other@example.com" } })),
        ("/restartedAt", json!("2026-11-25T15:00:00Z")),
        ("/services", json!({ "mail": { "restartedAt": "2026-11-25T15:00:00Z" } })),
        ("/services", json!({ "mail": { "env": [{ "name": "A", "value": "b" }] } })),
        ("/services", json!({ "logger": { "resources": { "limits": { "cpu": "3" } } } })),
        ("/stores", json!({ "mongodb": { "managed": { "restartedAt": "2026-11-25T15:00:00Z" } } })),
        ("/stores", json!({ "rabbitmq": { "managed": { "restartedAt": "2026-11-25T15:00:00Z" } } })),
    ];
    let before = plan(base.clone());
    for (path, value) in edits {
        let mut spec = base.clone();
        spec[path.trim_start_matches('/')] = value.clone();
        let after = plan(spec);
        let rolled = changed(&before, &after);
        assert!(!rolled.is_empty(), "{path} {value} changes no pods");
        for name in rolled {
            assert_ne!(before.bases.get(&name), after.bases.get(&name), "{path} {value} changes {name}");
        }
    }
}

/// The workloads whose pod templates differ.
fn changed(before: &Plan, after: &Plan) -> Vec<String> {
    let after = crate::build::templates(after);
    let differs =
        |name: &str, template: &_| after.iter().any(|(other, now)| other == name && now != template);
    let before = crate::build::templates(before);
    before.into_iter().filter(|(name, template)| differs(name, template)).map(|(name, _)| name).collect()
}

#[test]
fn what_rolls_no_pod_is_in_no_basis() {
    let before = plan(full());
    for (field, value) in [
        ("services", json!({ "broker": { "replicas": 7, "paused": true }, "mail": { "replicas": 0 } })),
        ("paused", json!(true)),
        ("deletionPolicy", json!("Delete")),
        ("stopped", json!(true)),
    ] {
        let mut spec = full();
        spec[field] = value;
        assert_eq!(plan(spec).bases, before.bases, "{field}");
    }
    let kept = attempt(full(), found(false), &installation()).unwrap();
    let names: Vec<_> = crate::build::templates(&kept).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| kept.bases.contains_key(name)), "each has one: {names:?}");
}

/// Replaces a text in the template of PostgreSQL's pods, and in what was kept of it.
fn rewrite(cluster: &Cluster, from: &str, to: &str) {
    let rewritten = |value: &Value| serde_json::from_str(&value.to_string().replace(from, to)).unwrap();
    cluster.act(|state| {
        state.edit_applied("statefulsets", "postgres", |object| {
            object["spec"]["template"] = rewritten(&object["spec"]["template"]);
        });
        let name = state.names("controllerrevisions")[0].to_owned();
        let mut kept = state.delete(&Id::shop("controllerrevisions", &name)).unwrap();
        let template = &mut kept["data"]["templates"]["postgres"]["template"];
        *template = rewritten(template);
        kept["metadata"].as_object_mut().unwrap().remove("uid");
        state.put(&Id::shop("controllerrevisions", "templates-of-then"), kept);
    });
}

#[tokio::test(start_paused = true)]
async fn a_store_of_an_older_operator_is_rendered_anew_when_its_volume_is_empty() {
    let claim = Id::shop("persistentvolumeclaims", "data-postgres-0");
    let superuser = |state: &State| {
        template(state, "statefulsets", "postgres").to_string().contains("\"postgres-superuser\"")
    };
    for is_secret_lost in [false, true] {
        let (cluster, operator) = ready_with_volumes().await;
        operator.stop().await;
        rewrite(&cluster, "\"postgres-superuser\"", "\"postgres\"");
        let operator = Operator::start(&cluster).await;
        looked(&cluster, &operator).await;
        assert!(!superuser(&cluster.state()), "an upgrade rolls no store");
        operator.told.lock().unwrap().get_mut("postgres").unwrap().authenticated = false;
        cluster.act(|state| {
            state.delete(&claim).unwrap();
            if is_secret_lost {
                state.delete(&Id::shop("secrets", "postgres")).unwrap();
            } else {
                state.put(&claim, json!({}));
            }
            state.edit("stacks", "shop", |stack| stack["spec"]["services"]["logger"]["replicas"] = 2.into());
        });
        cluster.eventually("it is made with its superuser", |state| superuser(state)).await;
        operator.told.lock().unwrap().get_mut("postgres").unwrap().authenticated = true;
        cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
        assert!(superuser(&cluster.state()), "and stays so");
        assert!(cluster.state().told("Rolled").iter().any(|note| note.contains("postgres")));
    }
}

async fn ready_with_volumes() -> (Cluster, Operator) {
    let cluster = crate::world::cluster();
    cluster.act(|state| {
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let operator = Operator::start(&cluster).await;
    cluster.eventually("the Stack is ready", |state| state.is_ready("shop")).await;
    (cluster, operator)
}
