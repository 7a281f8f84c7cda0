//! From a managed store to an external one and back: never with data left behind unseen. And the Secrets that other operators
//! write, as they are.

use serde_json::{Value, json};

use crate::fake::{Cluster, Id, State};
use crate::harness::{Operator, full, ready, stack};
use crate::life::claims;

fn is_refused(part: &'static str) -> impl FnMut(&State) -> bool {
    move |state| {
        state.condition("shop", "Stalled").is_some_and(|(status, reason, message)| {
            status == "True" && reason == "DataLeftBehind" && message.contains(part)
        }) && state.condition("shop", "PostgreSQLReady").is_some_and(|(status, ..)| status == "False")
    }
}

fn edit(cluster: &Cluster, store: Value) {
    cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"]["stores"]["postgres"] = store));
}

fn external(more: &Value) -> Value {
    let mut external = json!({ "secretRef": { "name": "my-postgres" } });
    external.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "external": external })
}

#[tokio::test]
async fn a_switch_waits_until_someone_says_that_the_data_is_taken_care_of() {
    let (cluster, _operator) = ready(full()).await;
    let claim = Id::shop("persistentvolumeclaims", "data-postgres-0");
    cluster.act(|state| {
        state.put(&claim, json!({}));
        // postgres://u:p@db/people
        let data = json!({ "data": { "uri": "cG9zdGdyZXM6Ly91OnBAZGIvcGVvcGxl" } });
        state.put(&Id::shop("secrets", "my-postgres"), data);
    });
    let before = cluster.state().get("deployments", "authentication").unwrap().clone();
    edit(&cluster, external(&json!({})));
    cluster.eventually("the way there is refused", is_refused("data-postgres-0")).await;
    {
        let state = cluster.state();
        assert!(state.get("statefulsets", "postgres").is_some(), "it runs on");
        assert_eq!(*state.get("deployments", "authentication").unwrap(), before);
        assert!(state.told("DataLeftBehind").iter().all(|note| note.contains("docs/stores.md")));
    }
    edit(&cluster, external(&json!({ "leaveData": true })));
    let switched = |state: &State| {
        state.is_ready("shop")
            && state.get("statefulsets", "postgres").is_none()
            && state.get("stacks", "shop").unwrap()["status"]["stores"][1]["kind"] == "External"
    };
    cluster.eventually("it is external", switched).await;
    assert!(cluster.state().objects.contains_key(&claim), "the volume stays");
    edit(&cluster, external(&json!({})));
    cluster.eventually("what was said need not stay said", switched).await;
    for back in [json!({ "managed": {} }), Value::Null] {
        edit(&cluster, back);
        cluster.eventually("the way back is refused", is_refused("external store")).await;
        edit(&cluster, external(&json!({})));
        cluster.eventually("and can be left", switched).await;
    }
    edit(&cluster, json!({ "managed": { "leaveData": true } }));
    cluster
        .eventually("it is managed again", |state| {
            state.is_ready("shop") && state.get("statefulsets", "postgres").is_some()
        })
        .await;
}

/// As `kubectl replace --force` does, or a restore of a backup.
fn replace(cluster: &Cluster, postgres: Value) {
    cluster.act(|state| {
        state.delete(&Id::shop("stacks", "shop"));
        let mut spec = full();
        spec["stores"]["postgres"] = postgres;
        let (id, object) = stack("shop", spec);
        state.put(&id, object);
    });
}

#[tokio::test]
async fn a_stack_that_comes_back_without_its_status_uses_the_store_that_it_used() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        // postgres://u:p@db/people
        let data = json!({ "data": { "uri": "cG9zdGdyZXM6Ly91OnBAZGIvcGVvcGxl" } });
        state.put(&Id::shop("secrets", "my-postgres"), data);
    });
    let is = |kind: &'static str| {
        move |state: &State| {
            state.is_ready("shop")
                && state.get("stacks", "shop").unwrap()["status"]["stores"][1]["kind"] == kind
        }
    };
    edit(&cluster, external(&json!({ "leaveData": true })));
    cluster.eventually("it is external", is("External")).await;
    replace(&cluster, external(&json!({})));
    cluster.eventually("it comes back", is("External")).await;
    replace(&cluster, json!({ "managed": {} }));
    cluster.eventually("a switch is still noticed", is_refused("external store")).await;
    edit(&cluster, json!({ "managed": { "leaveData": true } }));
    cluster.eventually("it is managed", is("Managed")).await;
    replace(&cluster, json!({ "managed": {} }));
    cluster.eventually("it comes back", is("Managed")).await;
    replace(&cluster, external(&json!({})));
    cluster.eventually("a switch is still noticed", is_refused("data-postgres-0")).await;
}

/// Whether the volume of PostgreSQL says that the Stack uses another store.
fn is_left(state: &State) -> bool {
    let claim = state.get("persistentvolumeclaims", "data-postgres-0").unwrap();
    claim["metadata"]["annotations"]["weft.dev/left"] == "true"
}

#[tokio::test]
async fn a_note_that_could_not_be_written_is_written_later() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        let data = json!({ "data": { "uri": "cG9zdGdyZXM6Ly91OnBAZGIvcGVvcGxl" } });
        state.put(&Id::shop("secrets", "my-postgres"), data);
    });
    let pause = |paused: bool| {
        cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"]["paused"] = paused.into()));
    };
    for (store, left) in [
        (external(&json!({ "leaveData": true })), true),
        (json!({ "managed": { "leaveData": true } }), false),
    ] {
        pause(true);
        edit(&cluster, store);
        let seen = |state: &State| {
            let stack = state.get("stacks", "shop").unwrap();
            stack["status"]["observedGeneration"] == stack["metadata"]["generation"]
        };
        cluster.eventually("the edit is seen", seen).await;
        assert_eq!(is_left(&cluster.state()), !left, "nothing is written while it is paused");
        pause(false);
        cluster.eventually("it is noted", |state| is_left(state) == left && state.is_ready("shop")).await;
    }
}

fn first_user(state: &State) -> Option<(String, String)> {
    state.condition("shop", "FirstUser").map(|(status, reason, _)| (status, reason))
}

fn is_first_user(status: &'static str, reason: &'static str) -> impl FnMut(&State) -> bool {
    move |state| first_user(state) == Some((status.to_owned(), reason.to_owned()))
}

#[tokio::test]
async fn the_deleted_secret_of_a_first_user_is_not_made_again() {
    for managed in [true, false] {
        let mut spec = full();
        let postgres = if managed { json!({ "managed": {} }) } else { external(&json!({})) };
        spec["stores"]["postgres"] = postgres.clone();
        let cluster = Cluster::default();
        cluster.act(|state| {
            state.pods_run = true;
            let data = json!({ "data": { "uri": "cG9zdGdyZXM6Ly91OnBAZGIvcGVvcGxl" } });
            state.put(&Id::shop("secrets", "my-postgres"), data);
            let (id, object) = stack("shop", spec);
            state.put(&id, object);
        });
        let _operator = Operator::start(&cluster).await;
        cluster.eventually("the first user exists", is_first_user("True", "Exists")).await;
        let noted = |state: &State| {
            let secret = state.get("secrets", "weft-authentication").unwrap();
            secret["metadata"]["annotations"]["weft.dev/first-user"] == "true"
        };
        cluster.eventually("that is noted", noted).await;
        if managed {
            cluster.act(claims);
        }
        cluster.act(|state| state.delete(&Id::shop("secrets", "shop-admin")));
        cluster.eventually("its Secret is gone", is_first_user("True", "SecretDeleted")).await;
        replace(&cluster, postgres);
        cluster
            .eventually("it comes back", |state| {
                state.is_ready("shop") && is_first_user("True", "SecretDeleted")(state)
            })
            .await;
        assert!(cluster.state().get("secrets", "shop-admin").is_none());
    }
}

#[tokio::test]
async fn a_volume_that_was_there_before_gets_no_first_user_and_the_condition_says_so() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        for name in ["postgres", "postgres-superuser"] {
            let labels = json!({ "weft.dev/data": "true", "weft.dev/stack": "shop" });
            let mut secret = encoded(&[("username", "weft"), ("password", "kept"), ("uri", "postgres://x")]);
            secret["metadata"] = json!({ "labels": labels });
            state.put(&Id::shop("secrets", name), secret);
        }
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    cluster.eventually("it says so", is_first_user("Unknown", "DataExisted")).await;
    assert!(cluster.state().get("secrets", "shop-admin").is_none());
}

#[tokio::test]
async fn without_a_volume_nothing_is_left_behind() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        let data = json!({ "data": { "uri": "cG9zdGdyZXM6Ly91OnBAZGIvcGVvcGxl" } });
        state.put(&Id::shop("secrets", "my-postgres"), data);
    });
    edit(&cluster, external(&json!({})));
    cluster
        .eventually("it is external", |state| {
            state.is_ready("shop") && state.get("statefulsets", "postgres").is_none()
        })
        .await;
}

fn encoded(entries: &[(&str, &str)]) -> Value {
    let data = entries.iter().map(|(key, value)| {
        let bytes = k8s_openapi::ByteString(value.as_bytes().to_vec());
        ((*key).to_owned(), serde_json::to_value(bytes).unwrap())
    });
    json!({ "data": data.collect::<serde_json::Map<_, _>>() })
}

async fn with(store: &str, data: Value) -> Cluster {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        state.put(&Id::shop("secrets", "theirs"), data);
        let stores = json!({ store: { "external": { "secretRef": { "name": "theirs" } } } });
        let (id, object) = stack("shop", json!({ "version": "0.1.0", "stores": stores }));
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    cluster
        .eventually("it is ready, or says why not", |state| {
            state.is_ready("shop")
                || state.condition("shop", "Ready").is_some_and(|(_, reason, _)| reason == "SecretUnusable")
        })
        .await;
    cluster
}

/// The Secret's name and its key that a service reads.
fn read(cluster: &Cluster, service: &str) -> (String, String) {
    let state = cluster.state();
    let pod = &state.get("deployments", service).unwrap()["spec"]["template"]["spec"];
    let secret = &pod["volumes"][0]["secret"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&secret["secretName"]), text(&secret["items"][0]["key"]))
}

const CLOUDNATIVE_PG: [(&str, &str); 11] = [
    ("dbname", "app"),
    ("fqdn-jdbc-uri", "jdbc:postgresql://people-rw.shop.svc.cluster.local:5432/app?password=p%40ss&user=app"),
    ("fqdn-uri", "postgresql://app:p%40ss@people-rw.shop.svc.cluster.local:5432/app"),
    ("host", "people-rw"),
    ("jdbc-uri", "jdbc:postgresql://people-rw.shop:5432/app?password=p%40ss&user=app"),
    ("password", "p@ss"),
    ("pgpass", "people-rw:5432:app:app:p@ss\n"),
    ("port", "5432"),
    ("uri", "postgresql://app:p%40ss@people-rw.shop:5432/app"),
    ("user", "app"),
    ("username", "app"),
];

#[tokio::test]
async fn a_secret_of_cloudnative_pg_works_as_it_is() {
    let cluster = with("postgres", encoded(&CLOUDNATIVE_PG)).await;
    assert_eq!(read(&cluster, "authentication"), ("theirs".to_owned(), "uri".to_owned()));
    let older: Vec<_> = CLOUDNATIVE_PG.into_iter().filter(|(key, _)| !key.contains("uri")).collect();
    let cluster = with("postgres", encoded(&older)).await;
    assert_eq!(read(&cluster, "authentication"), ("postgres-external".to_owned(), "uri".to_owned()));
    let made = cluster.state().get("secrets", "postgres-external").unwrap()["data"].clone();
    assert_eq!(made, encoded(&[("uri", "postgres://app:p%40ss@people-rw:5432/app")])["data"]);
}

const RABBITMQ_OPERATOR: [(&str, &str); 8] = [
    ("connection_string", "amqp://default_user_x:secret@rabbit.shop.svc:5672/"),
    ("default_user.conf", "default_user = default_user_x\ndefault_pass = secret\n"),
    ("host", "rabbit.shop.svc"),
    ("password", "secret"),
    ("port", "5672"),
    ("provider", "rabbitmq"),
    ("type", "rabbitmq"),
    ("username", "default_user_x"),
];

#[tokio::test]
async fn a_secret_of_rabbitmq_s_operator_works_as_it_is() {
    let cluster = with("rabbitmq", encoded(&RABBITMQ_OPERATOR)).await;
    for service in ["broker", "listener"] {
        assert_eq!(read(&cluster, service), ("theirs".to_owned(), "connection_string".to_owned()));
    }
    let older: Vec<_> =
        RABBITMQ_OPERATOR.into_iter().filter(|(key, _)| *key != "connection_string").collect();
    let cluster = with("rabbitmq", encoded(&older)).await;
    let made = cluster.state().get("secrets", "rabbitmq-external").unwrap()["data"].clone();
    assert_eq!(made, encoded(&[("uri", "amqp://default_user_x:secret@rabbit.shop.svc:5672/%2f")])["data"]);
}

#[tokio::test]
async fn an_empty_or_malformed_uri_is_named_with_its_secret_and_key() {
    for wrong in ["", "rabbit.shop.svc:5672", "http://rabbit", "amqp://"] {
        let cluster = with("rabbitmq", encoded(&[("uri", wrong)])).await;
        let (status, _, message) = cluster.state().condition("shop", "RabbitMQReady").unwrap();
        assert_eq!(status, "False");
        assert!(message.contains("key uri of Secret theirs"), "{wrong:?}: {message}");
    }
}
