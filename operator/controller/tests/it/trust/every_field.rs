//! G4: every field of the definition, whichever there are: changed, it is reached or refused by name; changed back, all is as it
//! was. And from every error a right Stack recovers.

use serde_json::{Value, json};

use crate::fake::{Cluster, Id};
use crate::faults::Faults;
use crate::fixtures;
use crate::schema::{Pair, pairs, spec_with, written};
use crate::world::{self, Shape, assert_same, calm, reason, shape, start};

/// Fields whose change shows nowhere, by the end of their path, and why.
const NO_EFFECT: [(&str, &str); 4] = [
    ("admin.email", "the Secret of the first user is made once: it tells whom the data already has"),
    (
        ".leaveData",
        "it is a word given for a switch between managed and external, and `switch` has the tests of that",
    ),
    ("services.listener.allowFrom", "the listener serves nobody"),
    ("services.listener.allowFrom[]", "the listener serves nobody"),
];
/// What brings new credentials at each change, and never the former ones again: `rotate` has the tests of it.
pub(crate) const NEVER_AS_BEFORE: &str = ".rotatedAt";
/// What the definition's rules do not let change: `real` has the test of it.
const NEVER_CHANGED: &str = "managed.storage";
/// What a Stack is instead of Ready, where it is asked for.
const ASKED_FOR: [(&str, &str); 2] = [("\"paused\":true", "Paused"), ("\"stopped\":true", "Stopped")];

const SPACE: &str = "shop";

#[tokio::test(start_paused = true)]
async fn every_field_that_is_changed_is_reached_and_changed_back() {
    let mut reached = 0;
    for Pair { path, one, other } in pairs() {
        let field = written(&path);
        let [one, other] = [one, other].map(|value| spec_with(&path, value));
        let cluster = surroundings();
        let operator = start(&cluster, &Faults::default()).await;
        let before = becomes(&cluster, &field, &one).await;
        if !field.ends_with(NEVER_CHANGED) {
            let after = becomes(&cluster, &field, &other).await;
            let shows = what_runs(&before) != what_runs(&after);
            let known = NO_EFFECT.iter().any(|(known, _)| field.ends_with(known));
            assert!(
                shows != known,
                "{field}: from {one} to {other} changes {}",
                if shows { "something" } else { "nothing" }
            );
            let back = becomes(&cluster, &field, &one).await;
            if !field.ends_with(NEVER_AS_BEFORE) {
                assert_same(&back, &before, &format!("{field} changed back"));
            }
            reached += 1;
        }
        operator.stop().await;
    }
    println!("G4: {reached} fields reached and changed back");
    assert!(reached > 60, "{reached}");
}

/// A field that is set, and then is not, leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn every_field_that_is_taken_away_again_leaves_nothing_behind() {
    let cluster = surroundings();
    let operator = start(&cluster, &Faults::default()).await;
    let nothing = json!({ "version": "0.1.0" });
    let before = becomes(&cluster, "nothing", &nothing).await;
    let mut pairs = pairs();
    // From outside to managed is refused while data would be left behind: `switch` has the tests of that.
    pairs.retain(|pair| {
        let field = written(&pair.path);
        let is_switched = field.contains(".external")
            && ["mongodb", "rabbitmq", "postgres"].iter().any(|store| field.contains(store));
        // Nor does a volume get another size than it was made with (issue 12, point 4).
        !is_switched && !field.ends_with(NEVER_AS_BEFORE) && !field.ends_with(NEVER_CHANGED)
    });
    for Pair { path, other, .. } in &pairs {
        let field = written(path);
        becomes(&cluster, &field, &spec_with(path, other.clone())).await;
        let mut after = becomes(&cluster, &field, &nothing).await;
        // What a managed store was given once is kept, as is what says where an external one was.
        after.retain(|id, _| before.contains_key(id) || id.0 != "secrets");
        assert_same(&after, &before, &format!("{field} taken away"));
    }
    println!("G4: {} fields set and taken away", pairs.len());
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn from_every_error_a_right_stack_recovers() {
    let mut errors = 0;
    for fixture in fixtures::all().into_iter().filter(|fixture| !fixture.is_good()) {
        let cluster = world::cluster_with(&fixture);
        let operator = start(&cluster, &Faults::default()).await;
        calm(&cluster).await;
        assert_eq!(world::ends(&cluster, &fixture), fixture.expect, "{}", fixture.name);
        let right = json!({ "version": "0.1.0", "services": { "logger": { "enabled": false } } });
        cluster.act(|state| state.edit_at(&fixture.id(), |stack| stack["spec"] = right));
        calm(&cluster).await;
        assert_eq!(world::ends(&cluster, &fixture), "Ready", "{}", fixture.name);
        operator.stop().await;
        errors += 1;
    }
    assert!(errors >= 5, "{errors}");
}

/// A cluster that has everything that a spec's names may name.
fn surroundings() -> Cluster {
    let cluster = world::cluster();
    // Data that would be left behind is a matter of tests of its own.
    cluster.act(|state| state.volumes = false);
    for (plural, name, object) in world::surroundings() {
        cluster.act(|state| state.put(&Id::shop(plural, &name), object));
    }
    cluster
}

/// Gives the Stack this spec, and tells what everything then is.
async fn becomes(cluster: &Cluster, field: &str, spec: &Value) -> Shape {
    let (id, object) = crate::harness::stack("shop", spec.clone());
    let there = cluster.state().objects.get(&id).cloned();
    let mut object = there.unwrap_or(object);
    object["spec"] = spec.clone();
    cluster.act(|state| state.put(&id, object));
    calm(cluster).await;
    let stack = cluster.state().objects[&id].clone();
    let (told, written) = (reason(&stack), spec.to_string());
    let asked_for = ASKED_FOR.iter().any(|(asked, reason)| told == *reason && written.contains(asked));
    assert!(told == "Ready" || asked_for, "{field}: {spec}\n{}", stack["status"]);
    assert_eq!(stack["status"]["observedGeneration"], stack["metadata"]["generation"], "{field}");
    let mut found = shape(cluster, SPACE);
    found.get_mut(&id).unwrap()["spec"] = Value::Null;
    found
}

/// All but what the user wrote.
fn what_runs(shape: &Shape) -> Vec<(&Id, &Value)> {
    shape.iter().filter(|(id, _)| id.0 != "pods").collect()
}
