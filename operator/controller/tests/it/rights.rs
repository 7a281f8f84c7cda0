//! The chart's rules against what the operator really asks the API server for: nothing is missing, nothing is too much.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use weft_operator::cache::SECRETS;
use weft_operator::leader::{Candidate, Surroundings, Timing};
use weft_operator::metrics::OperatorMetrics;
use weft_runtime::clock::SystemClock;
use weft_runtime::health::Health;
use weft_runtime::metrics::Metrics;

use crate::chart::{helm, rendered};
use crate::fake::{Asked, Cluster, Id, State};
use crate::harness::{full, ready};
use crate::life::{allow, claims, owned};

/// A verb, the API group and the resource.
type Right = (String, String, String);

/// Stacks that between them use every right: each is edited into the next.
fn lives() -> Vec<Value> {
    let parts = json!({ "external": { "secretRef": { "name": "of-mine" } } });
    let mut external = full();
    external["stores"] = json!({ "rabbitmq": parts });
    let mut back = full();
    back["stores"] = json!({ "rabbitmq": { "managed": { "leaveData": true } } });
    let mut templates = full();
    templates["mail"] = json!({ "templates": { "configMap": "letters" } });
    let mut wide = full();
    wide["services"]["logger"] = json!({ "autoscaling": { "minReplicas": 2, "maxReplicas": 3 } });
    wide["expose"] = json!({ "host": "shop.example.com" });
    let mut workload = full();
    let from = json!([{ "configMapRef": { "name": "letters" } }, { "secretRef": { "name": "of-mine" } }]);
    workload["workloads"] = json!([{ "name": "orders", "image": "orders:3", "envFrom": from }]);
    let quiet = json!({ "version": "0.1.0", "services": {
        "broker": { "enabled": false }, "listener": { "enabled": false }, "frontend": { "enabled": false },
    } });
    let mut rotated = full();
    rotated["stores"] = json!({ "postgres": { "managed": { "rotatedAt": "2026-11-25T15:00:00Z" } } });
    vec![full(), external, back, rotated, templates, wide, workload, quiet]
}

fn prepare(state: &mut State) {
    let secret = json!({ "data": {
        "host": "cmFiYml0", "port": "NTY3Mg==", "username": "bWU=", "password": "c2VjcmV0",
    } });
    state.put(&Id::shop("secrets", "of-mine"), secret);
    state.put(&Id::shop("configmaps", "letters"), json!({ "data": {} }));
}

async fn asked() -> BTreeSet<Asked> {
    let mut lives = lives().into_iter();
    let (cluster, operator) = ready(lives.next().unwrap()).await;
    cluster.act(prepare);
    for spec in lives {
        cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"] = spec));
        let settled = |state: &State| {
            let stack = state.get("stacks", "shop").unwrap();
            stack["status"]["observedGeneration"] == stack["metadata"]["generation"] && state.is_ready("shop")
        };
        cluster.eventually("the Stack is as it now says", settled).await;
    }
    give_data_to_its_stack(&cluster).await;
    operator.stop().await;
    elect(&cluster).await;
    cluster.state().requests.clone()
}

async fn give_data_to_its_stack(cluster: &Cluster) {
    cluster.act(|state| {
        claims(state);
        state.edit("stacks", "shop", |stack| {
            stack["spec"] = full();
            stack["spec"]["deletionPolicy"] = "Delete".into();
            allow(stack, true);
        });
    });
    cluster.eventually("data is the Stack's", |state| owned(state) == 10 && state.is_ready("shop")).await;
}

/// Makes the Lease, renews it, gives it back.
async fn elect(cluster: &Cluster) {
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        metrics: OperatorMetrics::register(&Metrics::default()),
        condition: Health::default().condition("lease"),
    };
    let timing = Timing::default();
    let client = cluster.client();
    let mut candidate = Candidate::new(&client, "weft-operator", "a".to_owned(), timing, surroundings);
    let mut leadership = candidate.leadership();
    tokio::select! {
        () = candidate.campaign() => {}
        () = leadership.gained() => {}
    }
    candidate.resign().await;
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Every right in these rules, and for each the names that it is bound to (none: all).
fn granted(rules: &[Value]) -> Vec<(Right, Vec<String>)> {
    let mut granted = Vec::new();
    for rule in rules {
        for verb in texts(&rule["verbs"]) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let right = (verb.clone(), group.clone(), resource);
                    granted.push((right, texts(&rule["resourceNames"])));
                }
            }
        }
    }
    granted
}

fn rules(arguments: &[&str]) -> Option<Vec<Value>> {
    let objects = rendered(&helm()?, arguments);
    let kinds = ["ClusterRole", "Role"];
    let roles = objects.iter().filter(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    Some(roles.flat_map(|role| role["rules"].as_array().unwrap().clone()).collect())
}

#[tokio::test]
async fn the_chart_grants_what_the_operator_asks_for_and_nothing_else() {
    let Some(rules) = rules(&[]) else { return };
    let (granted, asked) = (granted(&rules), asked().await);
    for Asked { verb, group, resource, name } in &asked {
        let right = ((*verb).to_owned(), group.clone(), resource.clone());
        let may =
            |names: &Vec<String>| names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name));
        let fits = granted.iter().any(|(granted, names)| *granted == right && may(names));
        assert!(fits, "the operator may not {verb} {resource} {name:?} of group `{group}`");
    }
    for ((verb, group, resource), _) in &granted {
        let used = asked
            .iter()
            .any(|asked| asked.verb == verb && asked.group == *group && asked.resource == *resource);
        assert!(
            used,
            "no test makes the operator {verb} {resource} of group `{group}`: is the right needed?"
        );
    }
}

#[test]
fn secrets_are_listed_and_watched_by_name_only() {
    let Some(rules) = rules(&[]) else { return };
    for ((verb, _, resource), names) in granted(&rules) {
        if resource == "secrets" && !["get", "create"].contains(&verb.as_str()) {
            assert_eq!(names, SECRETS, "{verb}");
        }
    }
}

#[test]
fn chosen_namespaces_have_the_same_rules_less_that_on_namespaces() {
    let (Some(everywhere), Some(chosen)) = (rules(&[]), rules(&["--set=watch.namespaces={a}"])) else {
        return;
    };
    let of = |rules: &[Value]| granted(rules).into_iter().collect::<BTreeSet<_>>();
    let less: Vec<_> =
        of(&everywhere).difference(&of(&chosen)).map(|((.., resource), _)| resource.clone()).collect();
    assert_eq!(less, ["namespaces", "namespaces"]);
    assert!(of(&chosen).is_subset(&of(&everywhere)));
}

/// `kubectl` users read the rules before they install: each verb says what it is for.
#[test]
fn each_verb_in_the_chart_has_its_reason() {
    let folder = crate::chart::chart().join("templates");
    let mut verbs = 0;
    for name in ["_helpers.tpl", "rbac.yaml"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let mut inside = false;
        for line in text.lines() {
            assert!(
                !line.trim_start().starts_with("verbs: ["),
                "{name}: one verb a line, with its reason: {line}"
            );
            let is_verb = inside && line.starts_with("  - ");
            if is_verb {
                verbs += 1;
                let reason = line.split_once(" # ").map(|(_, reason)| reason.trim()).unwrap_or_default();
                assert!(reason.len() > 10, "{name}: no reason for {line}");
            }
            inside = is_verb || line == "  verbs:";
        }
    }
    assert!(verbs > 20, "this does not see the rules: {verbs} verbs");
}
