//! Someone else edits every object again and again: what is ours is put back, what is theirs stays.

use serde_json::{Value, json};

use crate::fake::{CHANGEABLE, Cluster, Id, Path, Step, get, get_mut};
use crate::faults::Faults;
use crate::fixtures;
use crate::world::{self, calm, start};

const ROUNDS: usize = 5;
const MANAGER: &str = "weft-operator";

#[tokio::test(start_paused = true)]
async fn what_a_second_actor_does_to_every_object_is_put_back_and_what_it_adds_stays() {
    let (mut objects, mut fields) = (0, 0);
    for name in ["traced", "external-parts", "tuned"] {
        let fixture = fixtures::named(name);
        let cluster = world::cluster_with(&fixture);
        let operator = start(&cluster, &Faults::default()).await;
        calm(&cluster).await;
        let before = cluster.state().objects.clone();
        let ours: Vec<Id> = before
            .iter()
            .filter(|(id, object)| id.0 != "pods" && is_ours(object))
            .map(|(id, _)| id.clone())
            .collect();
        objects += ours.len();
        for round in 0..ROUNDS {
            for id in &ours {
                if round % 3 == 2 && before[id]["metadata"]["ownerReferences"].is_array() {
                    cluster.act(|state| state.delete(id).unwrap());
                    calm(&cluster).await;
                }
                let owned = spoil(&cluster, id);
                calm(&cluster).await;
                let now = cluster.state().objects[id].clone();
                for path in &owned {
                    assert_eq!(get(&now, path), get(&before[id], path), "{id:?} {path:?}");
                }
                assert_eq!(foreign(&now), vec![json!("theirs"); 2], "{id:?}");
                fields += owned.len();
            }
        }
        let stack = cluster.state().objects[&fixture.id()].clone();
        assert_eq!(world::reason(&stack), "Ready");
        operator.stop().await;
    }
    println!("a second actor: {objects} objects, {fields} fields put back");
    assert!(fields > 5_000, "{fields}");
}

fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == MANAGER
        && object["metadata"]["ownerReferences"].is_array()
}

/// Changes every field that the operator owns and that can be changed, and adds some that it does not.
fn spoil(cluster: &Cluster, id: &Id) -> Vec<Path> {
    cluster.act(|state| {
        let owned: Vec<Path> =
            state.owned_by(id, MANAGER).into_iter().filter(|path| may_change(&id.0, path)).collect();
        state.edit_at(id, |object| {
            for path in &owned {
                match get_mut(object, path) {
                    Some(Value::String(text)) => text.push_str("-evil"),
                    Some(Value::Bool(truth)) => *truth = !*truth,
                    Some(number @ Value::Number(_)) => *number = (number.as_i64().unwrap() + 1).into(),
                    Some(list @ Value::Array(_)) => *list = json!(["evil"]),
                    _ => {}
                }
            }
            object["metadata"]["labels"]["team"] = "theirs".into();
            object["metadata"]["annotations"]["team"] = "theirs".into();
        });
        owned
    })
}

/// The API server itself refuses to change these, or they tell one item of a list from another.
fn may_change(plural: &str, path: &[Step]) -> bool {
    let field = |index: usize| match path.get(index) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    let immutable = match plural {
        "deployments" => field(1) == "selector",
        "statefulsets" => field(0) == "spec" && !CHANGEABLE.contains(&field(1)),
        "secrets" => field(0) == "type",
        "controllerrevisions" => field(0) == "data",
        _ => false,
    };
    let inside_item = path.iter().rev().nth(1).is_some_and(|step| matches!(step, Step::Item(_)));
    let key =
        inside_item && ["name", "mountPath", "containerPort", "port", "uid"].contains(&field(path.len() - 1));
    // An owner of another name is no owner: the garbage collector would take the object.
    let owner = field(1) == "ownerReferences";
    let label = plural == "deployments" && field(1) == "template" && field(3) == "labels";
    !immutable && !key && !label && !owner && !matches!(path.last(), Some(Step::Item(_)))
}

fn foreign(object: &Value) -> Vec<Value> {
    ["labels", "annotations"].map(|kind| object["metadata"][kind]["team"].clone()).into()
}
