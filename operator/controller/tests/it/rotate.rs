//! New credentials of managed stores, from the request until the former user is gone.

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use weft_operator::installation::Flavour;
use weft_operator::reconcile::build::{Plan, Stage};
use weft_operator::reconcile::dereference::{
    Credentials, Found, FoundNext, FoundRotation, FoundStore, Holder,
};
use weft_operator::view::{ContentDigest, JobState};

use crate::build::{attempt, found, restricted};
use crate::fake::{Cluster, Id, State};
use crate::harness::{Operator, full, installation, ready, stack};

const FIRST: &str = "2026-11-25T15:00:00Z";
const SECOND: &str = "2026-11-25T16:00:00Z";
const STORES: [&str; 3] = ["mongodb", "postgres", "rabbitmq"];

fn ask(cluster: &Cluster, stores: &[&str], at: &str) {
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| {
            for store in stores {
                stack["spec"]["stores"][store]["managed"]["rotatedAt"] = at.into();
            }
        });
    });
}

fn text(secret: &Value, key: &str) -> String {
    let bytes: ByteString = serde_json::from_value(secret["data"][key].clone()).unwrap();
    String::from_utf8(bytes.0).unwrap()
}

fn of_secret(state: &State, store: &str, key: &str) -> String {
    text(state.get("secrets", store).unwrap(), key)
}

fn made_for(state: &State, store: &str) -> Value {
    state.get("secrets", store).unwrap()["metadata"]["annotations"]["weft.dev/rotated-at"].clone()
}

fn rotated(state: &State) -> Option<(String, String, String)> {
    state.condition("shop", "CredentialsRotated")
}

/// Everything is as this request wants it, and nothing of the way there is left.
fn is_done(state: &State, stores: &[&str], at: &str) -> bool {
    let left = |name: &&str| name.ends_with("-next") || name.contains("rotation");
    stores.iter().all(|store| made_for(state, store) == at)
        && state.names("jobs").is_empty()
        && !state.names("secrets").iter().any(left)
        && !state.names("networkpolicies").iter().any(left)
        && state.is_ready("shop")
        && rotated(state).is_some_and(|(status, ..)| status == "True")
}

fn job(state: &State, start: &str) -> Option<String> {
    state.names("jobs").into_iter().find(|name| name.starts_with(start)).map(str::to_owned)
}

/// When an object was first as it says.
fn when(state: &State, plural: &str, name: &str, holds: impl Fn(&Value) -> bool) -> u64 {
    let found = state.history.iter().find(|(_, id, event)| {
        id.0 == plural && id.2.starts_with(name) && event["type"] != "DELETED" && holds(&event["object"])
    });
    found.unwrap_or_else(|| panic!("{plural} {name} never was so")).0
}

#[tokio::test(start_paused = true)]
async fn users_change_in_an_order_in_which_nobody_is_ever_shut_out() {
    let (cluster, operator) = ready(full()).await;
    let sets =
        |state: &State| STORES.map(|store| state.get("statefulsets", store).unwrap()["metadata"].clone());
    let before = cluster.act(|state| sets(state));
    ask(&cluster, &STORES, FIRST);
    cluster.eventually("all is done", |state| is_done(state, &STORES, FIRST)).await;
    operator.stop().await;
    let state = cluster.state();
    assert_eq!(sets(&state), before, "no store is restarted");
    for (store, users) in [
        ("mongodb", &["logger"][..]),
        ("postgres", &["authentication"]),
        ("rabbitmq", &["broker", "listener"]),
    ] {
        let username = of_secret(&state, store, "username");
        assert!(username.starts_with("weft_"), "{username}");
        let is_new = |secret: &Value| text(secret, "username") == username;
        let any = |_: &Value| true;
        let granting = when(&state, "jobs", &format!("{store}-grant-"), any);
        let granted = when(&state, "jobs", &format!("{store}-grant-"), |job| !job["status"].is_null());
        let taken_over = state
            .history
            .iter()
            .find(|(_, id, event)| id.2 == store && id.0 == "secrets" && is_new(&event["object"]));
        let taken_over = taken_over.unwrap().0;
        let retiring = when(&state, "jobs", &format!("{store}-retire-"), any);
        assert!(granting < granted && granted < taken_over, "{store}");
        for user in users {
            let rolled = when(&state, "deployments", user, |object| {
                object["metadata"]["generation"].as_i64() > Some(1)
                    && object["status"]["observedGeneration"] == object["metadata"]["generation"]
            });
            assert!(taken_over < rolled && rolled < retiring, "{store}: {user}");
        }
    }
    assert!(of_secret(&state, "postgres", "uri").ends_with(":5432/weft"), "the database keeps its name");
    assert!(!state.told("CredentialsRotated").is_empty() && !state.told("FormerUserRetired").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_made_now_is_made_for_the_present_request() {
    let mut spec = full();
    spec["stores"]["postgres"]["managed"]["rotatedAt"] = FIRST.into();
    let (cluster, _operator) = ready(spec).await;
    assert_eq!(of_secret(&cluster.state(), "postgres", "username"), "weft");
    assert!(is_done(&cluster.state(), &["postgres"], FIRST));
    let retired = |write: &String| write.contains("jobs/") && write.contains("retire");
    assert!(!cluster.state().writes.iter().any(retired), "nobody was there before");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_retired_while_a_pod_that_knows_no_other_is_left() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        let labels = json!({ "app.kubernetes.io/name": "listener", "weft.dev/stack": "shop", "app.kubernetes.io/managed-by": "weft-operator" });
        let ending = json!({ "metadata": { "labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        state.put(&Id::shop("pods", "listener-old"), ending);
    });
    ask(&cluster, &["rabbitmq"], FIRST);
    cluster
        .eventually("it waits for the listener", |state| {
            rotated(state).is_some_and(|(_, reason, message)| {
                reason == "Rotating" && message.contains("pods move to its new user: listener")
            })
        })
        .await;
    assert_eq!(job(&cluster.state(), "rabbitmq-retire-"), None);
    cluster.act(|state| state.delete(&Id::shop("pods", "listener-old")));
    cluster.eventually("it goes on", |state| is_done(state, &["rabbitmq"], FIRST)).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_user_of_a_store_keeps_its_former_user() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| {
            stack["spec"]["services"]["authentication"]["paused"] = true.into()
        });
    });
    ask(&cluster, &["postgres"], FIRST);
    cluster
        .eventually("it waits", |state| {
            rotated(state).is_some_and(|(_, _, message)| message.contains("new user: authentication"))
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(job(&cluster.state(), "postgres-retire-"), None);
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| {
            stack["spec"]["services"]["authentication"]["paused"] = false.into()
        });
    });
    cluster.eventually("it goes on", |state| is_done(state, &["postgres"], FIRST)).await;
}

fn failing_pod(state: &mut State, words: &str) {
    let labels = json!({
        "app.kubernetes.io/name": "postgres.rotation", "weft.dev/rotates": "postgres", "weft.dev/stack": "shop",
        "app.kubernetes.io/managed-by": "weft-operator",
    });
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } });
    let last = json!({ "terminated": { "exitCode": 1, "reason": "Error", "message": words } });
    let status =
        json!({ "phase": "Running", "containerStatuses": [{ "state": waiting, "lastState": last }] });
    state.put(
        &Id::shop("pods", "postgres-grant-x"),
        json!({ "metadata": { "labels": labels }, "status": status }),
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_says_why_and_holds_nothing_else_up() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.jobs_hang = vec!["postgres-grant"];
        failing_pod(state, "authentication credentials grant: the store can't be reached\n");
    });
    ask(&cluster, &["postgres", "rabbitmq"], FIRST);
    cluster
        .eventually("it says so, and RabbitMQ's credentials change meanwhile", |state| {
            rotated(state).is_some_and(|(status, reason, message)| {
                status == "False"
                    && reason == "RotationFailing"
                    && message.contains("postgres: its next user is being made, by the Job postgres-grant-")
                    && message.contains("the store can't be reached; it is tried again")
            }) && !state.told("RotationFailing").is_empty()
                && made_for(state, "rabbitmq") == FIRST
        })
        .await;
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| stack["spec"]["services"]["logger"] = json!({ "replicas": 3 }));
    });
    let scaled = |state: &State| state.get("deployments", "logger").unwrap()["spec"]["replicas"] == 3;
    cluster.eventually("an edit is done", scaled).await;
    assert_eq!(of_secret(&cluster.state(), "postgres", "username"), "weft", "nobody moves");
    let failed = cluster.act(|state| {
        state.delete(&Id::shop("pods", "postgres-grant-x"));
        let job = job(state, "postgres-grant-").unwrap();
        state.end_job(&job, "shop", "Failed");
        job
    });
    let given_up =
        |state: &State| rotated(state).is_some_and(|(_, _, message)| message.contains("Because: of that"));
    cluster.eventually("it says that the Job was given up", given_up).await;
    // The cluster deletes it some time after its end.
    cluster.act(|state| {
        state.jobs_hang.clear();
        state.delete(&Id::shop("jobs", &failed))
    });
    cluster.eventually("it is done anew", |state| is_done(state, &["postgres", "rabbitmq"], FIRST)).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_during_a_rotation_is_taken_up_after_it() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| state.jobs_hang = vec!["postgres-grant"]);
    ask(&cluster, &["postgres"], FIRST);
    cluster.eventually("it is under way", |state| job(state, "postgres-grant-").is_some()).await;
    let next = of_secret(&cluster.state(), "postgres-next", "username");
    ask(&cluster, &["postgres"], SECOND);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(of_secret(&cluster.state(), "postgres-next", "username"), next);
    cluster.act(|state| {
        state.jobs_hang.clear();
        let job = job(state, "postgres-grant-").unwrap();
        state.end_job(&job, "shop", "Complete");
    });
    cluster.eventually("both are done", |state| is_done(state, &["postgres"], SECOND)).await;
    let state = cluster.state();
    assert_ne!(of_secret(&state, "postgres", "username"), next);
    let was = |event: &Value| event["type"] == "MODIFIED" && text(&event["object"], "username") == next;
    assert!(state.history.iter().any(|(_, id, event)| *id == Id::shop("secrets", "postgres") && was(event)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_withdrawn_changes_nothing_and_one_under_way_comes_to_its_end() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| state.jobs_hang = vec!["postgres-retire"]);
    ask(&cluster, &["postgres"], FIRST);
    cluster.eventually("it is under way", |state| job(state, "postgres-retire-").is_some()).await;
    let withdraw = |stack: &mut Value| drop(stack["spec"].as_object_mut().unwrap().remove("stores"));
    let retiring = cluster.act(|state| {
        state.edit("stacks", "shop", withdraw);
        job(state, "postgres-retire-").unwrap()
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    cluster.act(|state| state.end_job(&retiring, "shop", "Complete"));
    cluster
        .eventually("it ends", |state| {
            state.get("secrets", "postgres-next").is_none() && state.is_ready("shop")
        })
        .await;
    assert_eq!(rotated(&cluster.state()), None);
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_is_stopped_midway_goes_on_when_it_runs_again() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| state.jobs_hang = vec!["postgres-grant"]);
    ask(&cluster, &["postgres"], FIRST);
    cluster.eventually("it is under way", |state| job(state, "postgres-grant-").is_some()).await;
    let next = of_secret(&cluster.state(), "postgres-next", "username");
    let stop = |stopped: bool| {
        cluster.act(|state| {
            state.edit("stacks", "shop", |stack| stack["spec"]["stopped"] = stopped.into());
        });
    };
    stop(true);
    cluster
        .eventually("it is stopped", |state| {
            state.names("jobs").is_empty()
                && state
                    .condition("shop", "Ready")
                    .is_some_and(|(status, reason, _)| status == "True" && reason == "Stopped")
                && rotated(state).is_some_and(|(status, reason, _)| status == "False" && reason == "Stopped")
        })
        .await;
    cluster.act(|state| state.jobs_hang.clear());
    stop(false);
    cluster.eventually("it goes on", |state| is_done(state, &["postgres"], FIRST)).await;
    assert_eq!(of_secret(&cluster.state(), "postgres", "username"), next, "the same as before");
}

#[tokio::test(start_paused = true)]
async fn of_a_stack_that_is_paused_midway_nothing_is_written() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| state.jobs_hang = vec!["postgres-grant"]);
    ask(&cluster, &["postgres"], FIRST);
    cluster.eventually("it is under way", |state| job(state, "postgres-grant-").is_some()).await;
    let pause = |paused: bool| {
        cluster.act(|state| {
            state.edit("stacks", "shop", |stack| stack["spec"]["paused"] = paused.into());
        });
    };
    pause(true);
    cluster.eventually("it is paused", |state| state.condition("shop", "Paused").is_some()).await;
    cluster.act(|state| {
        state.jobs_hang.clear();
        let job = job(state, "postgres-grant-").unwrap();
        state.end_job(&job, "shop", "Complete");
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(of_secret(&cluster.state(), "postgres", "username"), "weft");
    pause(false);
    cluster.eventually("it goes on", |state| is_done(state, &["postgres"], FIRST)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_is_deleted_midway_leaves_both_secrets_and_goes_on_when_it_is_back() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| state.jobs_hang = vec!["postgres-grant"]);
    ask(&cluster, &["postgres"], FIRST);
    cluster.eventually("it is under way", |state| job(state, "postgres-grant-").is_some()).await;
    let spec = cluster.act(|state| {
        let spec = state.get("stacks", "shop").unwrap()["spec"].clone();
        state.delete(&Id::shop("stacks", "shop"));
        spec
    });
    cluster.eventually("what it ran is gone", |state| state.names("jobs").is_empty()).await;
    assert_eq!(of_secret(&cluster.state(), "postgres-next", "former"), "weft");
    cluster.act(|state| {
        state.jobs_hang.clear();
        let (id, object) = stack("shop", spec);
        state.put(&id, object);
    });
    cluster.eventually("it goes on", |state| is_done(state, &["postgres"], FIRST)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_left_alone_and_what_belongs_to_other_credentials_goes() {
    let (cluster, _operator) = ready(full()).await;
    let theirs = json!({ "data": { "username": "dGhlaXJz" } });
    cluster.act(|state| state.put(&Id::shop("secrets", "postgres-next"), theirs.clone()));
    ask(&cluster, &["postgres"], FIRST);
    cluster
        .eventually("it says what is in the way", |state| {
            rotated(state).is_some_and(|(_, reason, message)| {
                reason == "RotationFailing"
                    && message.contains("postgres-next, which does not belong to this Stack")
            })
        })
        .await;
    cluster.act(|state| {
        assert_eq!(state.get("secrets", "postgres-next").unwrap()["data"], theirs["data"]);
        let labels = json!({
            "app.kubernetes.io/managed-by": "weft-operator", "weft.dev/stack": "shop", "weft.dev/data": "true",
        });
        let stale = json!({ "metadata": { "labels": labels }, "data": { "username": "dGhlaXJz", "former": "b3RoZXI=" } });
        state.put(&Id::shop("secrets", "postgres-next"), stale);
    });
    cluster.eventually("it is made anew", |state| is_done(state, &["postgres"], FIRST)).await;
    assert!(of_secret(&cluster.state(), "postgres", "username").starts_with("weft_"));
}

#[tokio::test(start_paused = true)]
async fn where_there_are_no_passwords_the_status_says_that_nothing_changes() {
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
    ask(&cluster, &["mongodb"], FIRST);
    cluster
        .eventually("it says so", |state| {
            state.is_ready("shop")
                && rotated(state).is_some_and(|(status, reason, message)| {
                    status == "False" && reason == "NoPasswords" && message.contains("ferretdb")
                })
        })
        .await;
    assert!(cluster.state().get("secrets", "mongodb-next").is_none());
}

fn holder(name: &str, username: &str, former: Option<&str>) -> Holder {
    Holder {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        resource_version: "7".to_owned(),
        stack: Some("shop".to_owned()),
        username: username.to_owned(),
        password: format!("password-of-{username}"),
        former: former.map(str::to_owned),
        rotated_at: former.map(|_| FIRST.to_owned()),
        granted_by: None,
        granted_on: None,
        digest: ContentDigest(format!("digest-of-{name}-with-{username}")),
    }
}

/// A plan while PostgreSQL is opened by this user, and `weft_2` comes after `weft`.
fn planned(now: &str, jobs: &[(&str, JobState)]) -> Plan {
    let next = FoundNext::Kept(holder("postgres-next", "weft_2", Some("weft")));
    let rotation = FoundRotation {
        holder: holder("postgres", now, None),
        next,
        superuser: "weft_admin".to_owned(),
        volume: Some("uid-of-volume".to_owned()),
    };
    let jobs = jobs.iter().map(|(name, state)| ((*name).to_owned(), state.clone())).collect();
    let found = Found {
        postgres: FoundStore::Managed {
            credentials: Credentials::Rotating(Box::new(rotation)),
            superuser: None,
        },
        jobs,
        ..found(false)
    };
    let mut spec = full();
    spec["stores"]["postgres"]["managed"]["rotatedAt"] = FIRST.into();
    attempt(spec, found, &installation()).unwrap()
}

fn name(plan: &Plan) -> String {
    plan.jobs[0].metadata.name.clone().unwrap()
}

#[test]
fn a_job_is_the_owner_s_image_and_nobody_s_pod() {
    for (now, verb) in [("weft", "grant"), ("weft_2", "retire")] {
        let plan = planned(now, &[]);
        assert!(name(&plan).starts_with(&format!("postgres-{verb}-")));
        let job = serde_json::to_value(&plan.jobs[0]).unwrap();
        assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "the-uid");
        let template = &job["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        assert_eq!(labels["weft.dev/client-of"], "postgres", "the store's policy lets it in");
        for service in &plan.services {
            let selector = service.spec.as_ref().unwrap().selector.as_ref().unwrap();
            let takes = selector.iter().all(|(key, value)| labels[key] == value.as_str());
            assert!(!takes, "{:?} would send it calls", service.metadata.name);
        }
        let mut pod = template["spec"].clone();
        let container = &mut pod["containers"][0];
        assert_eq!(container["image"], "weft/authentication:0.1.0");
        assert_eq!(container["args"], json!(["credentials", verb]));
        assert!(!container.to_string().contains("password-of"), "it reads them from the Secrets");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            container[probe] = json!({});
        }
        restricted(verb, &pod, true);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert!(pod["serviceAccountName"].is_null());
        let policies = serde_json::to_value(&plan.network_policies).unwrap();
        let policy =
            policies.as_array().unwrap().iter().find(|one| one["metadata"]["name"] == "postgres.rotation");
        assert_eq!(policy.unwrap()["spec"]["egress"][1]["ports"][0]["port"], 5432);
    }
}

#[test]
fn what_a_job_does_is_in_its_name() {
    let plan = planned("weft", &[]);
    let done = planned("weft", &[(&name(&plan), JobState::Complete)]);
    let Stage::TakenOver(secret) = &done.rotations[0].stage else { panic!("{:?}", done.rotations) };
    let secret = serde_json::to_value(secret).unwrap();
    assert_eq!(
        text(&secret, "uri"),
        "postgres://weft_2:password-of-weft_2@postgres.shop.svc.cluster.local:5432/weft"
    );
    assert_eq!(secret["metadata"]["uid"], "uid-of-postgres", "this very Secret");
    assert_eq!(secret["metadata"]["resourceVersion"], "7", "as it was read");
    let retire = name(&planned("weft_2", &[]));
    assert_ne!(name(&plan), retire);
    let over = planned("weft_2", &[(&retire, JobState::Complete)]);
    assert!(matches!(over.rotations[0].stage, Stage::Over { is_done: true, .. }) && over.jobs.is_empty());
}

#[test]
fn no_store_s_pods_follow_from_what_its_secret_holds() {
    let (one, other) = (planned("weft", &[]), planned("weft_2", &[]));
    assert_eq!(one.stateful_sets, other.stateful_sets);
    assert_eq!(one.bases["postgres"], other.bases["postgres"]);
    assert_ne!(one.bases["authentication"], other.bases["authentication"], "but those of who uses it");
    assert_eq!(one.bases["logger"], other.bases["logger"]);
}
