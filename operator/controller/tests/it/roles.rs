//! The superuser of a managed store and the user of its service: who has which, and who makes the latter.

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use weft_operator::installation::Flavour;

use crate::build::{plan, templates};
use crate::fake::{Cluster, Id, State};
use crate::fixtures;
use crate::harness::{Operator, full, installation, ready, stack};
use crate::world::{self, calm, start};

const STORES: [&str; 3] = ["mongodb", "postgres", "rabbitmq"];
const OWNERS: [(&str, &str); 3] =
    [("mongodb", "logger"), ("postgres", "authentication"), ("rabbitmq", "listener")];

fn text(secret: &Value, key: &str) -> String {
    let bytes: ByteString = serde_json::from_value(secret["data"][key].clone()).unwrap();
    String::from_utf8(bytes.0).unwrap()
}

fn of_secret(state: &State, name: &str, key: &str) -> String {
    text(state.get("secrets", name).unwrap(), key)
}

fn granted(state: &State, store: &str, key: &str) -> Value {
    state.get("secrets", store).unwrap()["metadata"]["annotations"][format!("weft.dev/granted-{key}")].clone()
}

/// The Jobs that ever were, by the start of their names.
fn jobs(state: &State, start: &str) -> Vec<Value> {
    let made = |event: &Value| event["type"] == "ADDED";
    let history = state.history.iter().filter(|(_, id, event)| id.0 == "jobs" && made(event));
    history.filter(|(_, id, _)| id.2.starts_with(start)).map(|(.., event)| event["object"].clone()).collect()
}

fn secret_of(spec: &Value, volume: &str) -> Value {
    let volumes = spec["volumes"].as_array().unwrap();
    volumes.iter().find(|one| one["name"] == volume).unwrap()["secret"]["secretName"].clone()
}

#[test]
fn only_a_store_s_own_pod_reads_its_superuser_and_nothing_else() {
    for (name, template) in templates(&plan(full())) {
        let spec = serde_json::to_string(&template.spec).unwrap();
        for store in STORES {
            let superuser = format!("\"{store}-superuser\"");
            assert_eq!(spec.contains(&superuser), name == store, "{name} and {superuser}");
            let secret = |key: &str| format!("\"{key}\":\"{store}\"");
            let service = spec.contains(&secret("secretName"))
                || spec.contains("\"secretKeyRef\"") && {
                    let reads: Value = serde_json::from_str(&spec).unwrap();
                    let env = reads["containers"][0]["env"].as_array().cloned().unwrap_or_default();
                    env.iter().any(|one| one["valueFrom"]["secretKeyRef"]["name"] == store)
                };
            assert!(name != store || !service, "the store reads the service's Secret");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_store_s_user_is_made_by_a_job_of_its_service_s_image() {
    let (cluster, _operator) = ready(full()).await;
    let state = cluster.state();
    for (store, owner) in OWNERS {
        let superuser = format!("{store}-superuser");
        assert_eq!(of_secret(&state, &superuser, "username"), "weft_admin");
        assert_eq!(of_secret(&state, store, "username"), "weft");
        assert_ne!(of_secret(&state, &superuser, "password"), of_secret(&state, store, "password"));
        assert!(of_secret(&state, &superuser, "uri").contains("://weft_admin:"));
        let image = format!("weft/{owner}:0.1.0");
        assert_eq!(granted(&state, store, "by"), image.as_str());
        let jobs = jobs(&state, store);
        assert_eq!(jobs.len(), 1, "{store}");
        let spec = &jobs[0]["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["image"], image.as_str());
        assert_eq!(spec["containers"][0]["args"], json!(["credentials", "grant"]));
        assert_eq!(secret_of(spec, "store"), superuser.as_str(), "it signs in as the superuser");
        assert_eq!(secret_of(spec, "user"), store, "and makes the service's user");
    }
    assert!(state.names("jobs").is_empty(), "nothing of it is left");
    assert!(state.told("CredentialsRotated").is_empty(), "no credentials changed");
}

#[tokio::test(start_paused = true)]
async fn a_stack_is_not_ready_before_its_users_are_made_and_no_job_starts_before_its_store() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    let says = |words: &'static str| {
        move |state: &State| {
            state
                .condition("shop", "Ready")
                .is_some_and(|(status, _, message)| status == "False" && message.contains(words))
        }
    };
    cluster
        .eventually(
            "it waits for the store",
            says("postgres: its user gets its rights once the store is ready"),
        )
        .await;
    assert!(jobs(&cluster.state(), "").is_empty());
    cluster.act(|state| {
        state.jobs_hang = vec!["postgres-grant"];
        state.pods_run = true;
        for (plural, names) in ["deployments", "statefulsets"].map(|plural| (plural, owned(state, plural))) {
            for name in names {
                state.edit(plural, &name, |_| {});
                let status = json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 });
                state.edit(plural, &name, |object| object["status"] = status.clone());
            }
        }
    });
    cluster
        .eventually(
            "it waits for the Job",
            says("postgres: its user gets its rights, by the Job postgres-grant-"),
        )
        .await;
}

fn owned(state: &State, plural: &str) -> Vec<String> {
    state.names(plural).into_iter().map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_the_superuser_gets_a_user_of_its_own_and_rolls_once() {
    let fixture = fixtures::named("earlier");
    let cluster = world::cluster_with(&fixture);
    let operator = start(&cluster, &Default::default()).await;
    calm(&cluster).await;
    operator.stop().await;
    assert_eq!(world::ends(&cluster, &fixture), "Ready");
    let state = cluster.state();
    let secret = |name: &str| state.objects[&fixture.within("secrets", name)].clone();
    for (store, owner) in OWNERS {
        let superuser = secret(&format!("{store}-superuser"));
        assert_eq!(
            (text(&superuser, "username"), text(&superuser, "password")),
            ("weft".into(), "old".into())
        );
        let username = text(&secret(store), "username");
        assert!(username.starts_with("weft_"), "{username}");
        assert!(jobs(&state, &format!("{store}-retire-")).is_empty(), "the superuser stays");
        assert!(!state.objects.contains_key(&fixture.within("secrets", &format!("{store}-next"))));
        let generation = &state.objects[&fixture.within("deployments", owner)]["metadata"]["generation"];
        assert_eq!(*generation, 2, "{owner} rolls once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_image_and_a_new_volume_repeat_the_job_and_change_no_password() {
    let (cluster, operator) = ready(full()).await;
    let password = of_secret(&cluster.state(), "postgres", "password");
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| stack["spec"]["version"] = "0.2.0".into());
    });
    cluster
        .eventually("the new image has done it", |state| {
            granted(state, "postgres", "by") == "weft/authentication:0.2.0" && state.is_ready("shop")
        })
        .await;
    assert_eq!(jobs(&cluster.state(), "postgres").len(), 2);
    // An empty volume: the store does not know the user.
    operator.told.lock().unwrap().get_mut("postgres").unwrap().authenticated = false;
    cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        state.edit("stacks", "shop", |stack| stack["spec"]["services"]["logger"] = json!({ "replicas": 2 }));
    });
    let uid =
        cluster.state().get("persistentvolumeclaims", "data-postgres-0").unwrap()["metadata"]["uid"].clone();
    cluster.eventually("it is done again", |state| granted(state, "postgres", "on") == uid).await;
    assert_eq!(jobs(&cluster.state(), "postgres").len(), 3);
    operator.told.lock().unwrap().get_mut("postgres").unwrap().authenticated = true;
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
    assert_eq!(of_secret(&cluster.state(), "postgres", "password"), password);
    assert_eq!(jobs(&cluster.state(), "postgres").len(), 3, "and not once more");
}

#[tokio::test(start_paused = true)]
async fn a_volume_without_its_superuser_is_never_given_a_new_one() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        state.delete(&Id::shop("secrets", "postgres-superuser")).unwrap();
    });
    cluster
        .eventually("the Stack says so", |state| {
            state.condition("shop", "Stalled").is_some_and(|(status, reason, message)| {
                status == "True" && reason == "CredentialsLost" && message.contains("postgres-superuser")
            })
        })
        .await;
    assert!(cluster.state().get("secrets", "postgres-superuser").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_without_users_has_no_superuser_and_no_job() {
    let mut installation = installation();
    installation.stores.mongodb.flavour = Flavour::FerretDb;
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start_with(&cluster, installation).await;
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
    let state = cluster.state();
    assert!(state.get("secrets", "mongodb-superuser").is_none() && jobs(&state, "mongodb").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_has_the_settings_that_the_stack_gives_to_its_service() {
    let mut spec = full();
    let database = json!({ "name": "MONGODB_DATABASE", "value": "entries" });
    let user = json!({ "name": "CREDENTIALS_USERNAME", "value": "someone" });
    spec["services"]["logger"]["env"] = json!([database, user]);
    let (cluster, _operator) = ready(spec).await;
    let job = jobs(&cluster.state(), "mongodb").remove(0);
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
    assert!(env.contains(&database), "it grants on the service's own database: {env:?}");
    assert!(!env.contains(&user), "the user is the one in the Secret: {env:?}");
}

fn is_stalled(state: &State, for_reason: &str, words: &[&str]) -> bool {
    state.condition("shop", "Stalled").is_some_and(|(status, reason, message)| {
        status == "True" && reason == for_reason && words.iter().all(|word| message.contains(word))
    })
}

#[tokio::test(start_paused = true)]
async fn a_superuser_s_secret_of_someone_else_is_refused() {
    let ours = json!({
        "app.kubernetes.io/managed-by": "weft-operator", "weft.dev/stack": "shop", "weft.dev/data": "true",
    });
    let (login, whole) = (
        json!({ "username": "dQ==", "password": "cA==" }),
        json!({ "username": "dQ==", "password": "cA==", "uri": "dQ==" }),
    );
    for (labels, data, words) in [(json!({}), &whole, "weft.dev/stack"), (ours, &login, "no key uri")] {
        let cluster = world::cluster();
        cluster.act(|state| {
            let secret = json!({ "metadata": { "labels": labels }, "data": data });
            state.put(&Id::shop("secrets", "postgres-superuser"), secret);
            let (id, object) = stack("shop", full());
            state.put(&id, object);
        });
        let _operator = Operator::start(&cluster).await;
        let refused = |state: &State| is_stalled(state, "SecretUnusable", &["postgres-superuser", words]);
        cluster.eventually("it is refused", refused).await;
        assert_eq!(cluster.state().names("statefulsets"), [""; 0], "no store is made with it");
        cluster.act(|state| state.delete(&Id::shop("secrets", "postgres-superuser")).unwrap());
        cluster.eventually("it goes on without it", |state| state.is_ready("shop")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_its_service_gets_the_user_again_and_not_again_and_again() {
    let (cluster, operator) = ready(full()).await;
    let authenticates = |authenticated| {
        operator.told.lock().unwrap().get_mut("postgres").unwrap().authenticated = authenticated;
    };
    // An older copy of the data, on the same volume.
    authenticates(false);
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| stack["spec"]["services"]["logger"] = json!({ "replicas": 2 }));
    });
    cluster.eventually("the Job runs again", |state| jobs(state, "postgres").len() == 2).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let writes = cluster.state().writes.len();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(cluster.state().writes[writes..], [] as [String; 0], "it waits for the service");
    authenticates(true);
    cluster.eventually("it is ready", |state| state.is_ready("shop") && state.names("jobs").is_empty()).await;
    assert_eq!(jobs(&cluster.state(), "postgres").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_store_whose_superuser_is_lost_before_the_first_job_is_not_an_old_one() {
    let cluster = world::cluster();
    cluster.act(|state| {
        state.jobs_hang = vec!["postgres-grant"];
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    cluster.eventually("the Job runs", |state| !jobs(state, "postgres-grant").is_empty()).await;
    cluster.act(|state| state.delete(&Id::shop("secrets", "postgres-superuser")).unwrap());
    let lost = |state: &State| is_stalled(state, "CredentialsLost", &["postgres-superuser"]);
    cluster.eventually("the Stack says so", lost).await;
    assert!(cluster.state().get("secrets", "postgres-superuser").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_paused_stack_of_an_earlier_operator_stays_ready() {
    let (cluster, operator) = ready(full()).await;
    operator.stop().await;
    let before = cluster.act(|state| {
        for store in STORES {
            state.delete(&Id::shop("secrets", &format!("{store}-superuser"))).unwrap();
            state.edit("secrets", store, |secret| secret["metadata"]["annotations"] = json!({}));
        }
        state.edit("stacks", "shop", |stack| stack["spec"]["paused"] = true.into());
        state.writes.len()
    });
    let _operator = Operator::start(&cluster).await;
    cluster
        .eventually("it says what waits", |state| {
            state
                .condition("shop", "CredentialsRotated")
                .is_some_and(|(status, reason, _)| status == "False" && reason == "Paused")
        })
        .await;
    let state = cluster.state();
    assert!(state.is_ready("shop"));
    let told = |write: &String| write.starts_with("post events/") || write == "apply stacks/shop/status";
    assert!(state.writes[before..].iter().all(told), "{:?}", &state.writes[before..]);
}
