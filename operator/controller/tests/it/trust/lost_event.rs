//! G3: any one watch event may be lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fake::{Cluster, Id, State};
use crate::faults::{Faults, Script};
use crate::fixtures::{self, Fixture};
use crate::world::{self, LONG, Shape, assert_same, calm, ends, shape, start};

#[tokio::test(start_paused = true)]
async fn any_event_of_an_install_may_be_lost() {
    let mut lost = 0;
    for name in ["small", "external-parts", "relay", "two"] {
        let fixture = fixtures::named(name);
        let (wanted, events) = installed(&fixture, None).await;
        for number in 0..events {
            installed(&fixture, Some((number, &wanted))).await;
            lost += 1;
        }
    }
    println!("G3: {lost} events lost in installs");
    assert!(lost > 100, "{lost}");
}

/// Installs it, with or without the event of this number; then it has to end as it would have with it.
async fn installed(fixture: &Fixture, without: Option<(usize, &Shape)>) -> (Shape, usize) {
    let lost_event = without.map(|(number, _)| number);
    let (cluster, faults) = (world::cluster(), Faults::of(Script { lost_event, ..Script::default() }));
    let operator = start(&cluster, &faults).await;
    fixture.put(&cluster);
    calm(&cluster).await;
    if let Some((number, wanted)) = without {
        let started = Instant::now();
        while shape(&cluster, &fixture.name) != *wanted && started.elapsed() < LONG {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        let lost = faults.script().lost.take();
        let what = format!("{}, without event {number}, {lost:?}", fixture.name);
        assert_same(&shape(&cluster, &fixture.name), wanted, &what);
    }
    operator.stop().await;
    let events = faults.script().events;
    (shape(&cluster, &fixture.name), events)
}

/// Whatever someone does to an object of a Stack at rest.
#[tokio::test(start_paused = true)]
async fn the_event_of_any_change_by_hand_may_be_lost() {
    let fixture = fixtures::named("traced");
    let (cluster, faults) = (world::cluster_with(&fixture), Faults::default());
    let operator = start(&cluster, &faults).await;
    calm(&cluster).await;
    let wanted = shape(&cluster, &fixture.name);
    let owned = |id: &&Id| id.0 != "pods" && wanted[*id]["metadata"]["ownerReferences"].is_array();
    let owned: Vec<Id> = wanted.keys().filter(owned).cloned().collect();
    assert!(owned.len() > 30, "{owned:?}");
    for id in &owned {
        for change in [remove as fn(&mut State, &Id), spoil] {
            lose_next(&faults);
            cluster.act(|state| change(state, id));
            tokio::time::sleep(LONG).await;
            let lost = faults.script().lost.take();
            assert!(lost.is_some(), "no event of {id:?} was lost");
            assert_same(&shape(&cluster, &fixture.name), &wanted, &format!("{id:?}, without {lost:?}"));
        }
    }
    println!("G3: {} events lost of changes by hand", 2 * owned.len());
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_event_of_an_edit_of_the_stack_may_be_lost() {
    let fixture = fixtures::named("small");
    let (cluster, faults) = (world::cluster_with(&fixture), Faults::default());
    let operator = start(&cluster, &faults).await;
    calm(&cluster).await;
    lose_next(&faults);
    let more = |stack: &mut Value| stack["spec"]["services"]["broker"] = json!({ "replicas": 4 });
    cluster.act(|state| state.edit_at(&fixture.id(), more));
    let broker = fixture.within("deployments", "broker");
    world::in_time(&cluster, || cluster.state().objects[&broker]["spec"]["replicas"] == 4).await;
    assert!(faults.script().lost.is_some());
    lose_next(&faults);
    cluster.act(|state| state.delete(&fixture.id()));
    tokio::time::sleep(LONG).await;
    let before: Cluster = cluster.clone();
    fixture.put(&cluster);
    world::in_time(&before, || ends(&cluster, &fixture) == "Ready").await;
    operator.stop().await;
}

/// The next event is not told.
fn lose_next(faults: &Faults) {
    let mut script = faults.script();
    script.lost_event = Some(script.events);
}

fn remove(state: &mut State, id: &Id) {
    let pods_run = std::mem::take(&mut state.pods_run);
    state.delete(id).unwrap();
    state.pods_run = pods_run;
}

fn spoil(state: &mut State, id: &Id) {
    let spoil = |object: &mut Value| match id.0.as_str() {
        "deployments" | "statefulsets" => {
            object["spec"]["template"]["spec"]["serviceAccountName"] = "evil".into();
        }
        "services" => object["spec"]["selector"] = json!({ "app": "evil" }),
        "configmaps" | "secrets" => {
            let data = object["data"].as_object_mut().unwrap();
            data.values_mut().for_each(|value| *value = "ZXZpbA==".into());
        }
        _ => object["metadata"]["labels"]["weft.dev/stack"] = "evil".into(),
    };
    // Pods that run are told of by events of their own.
    let pods_run = std::mem::take(&mut state.pods_run);
    state.edit_at(id, spoil);
    state.pods_run = pods_run;
}
