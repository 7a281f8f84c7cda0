//! G1: a crash after any write, and any write that fails, change nothing in the end.

use futures::FutureExt as _;
use serde_json::Value;

use crate::fake::Cluster;
use crate::faults::{Fault, Faults, Script};
use crate::fixtures::{self, Fixture};
use crate::world::{self, Shape, assert_data_untouched, assert_same, calm, shape, start, undisturbed};

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_of_an_install_changes_nothing_in_the_end() {
    let (mut plans, mut crashes) = (0, 0);
    for fixture in fixtures::all() {
        let (wanted, writes) = undisturbed(&fixture).await;
        for number in 1..=writes {
            let what = format!("{}, a crash after write {number}", fixture.name);
            let cluster = world::cluster_with(&fixture);
            let faults = Faults::of(Script { crash_after: Some(number), ..Script::default() });
            let operator = start(&cluster, &faults).await;
            crashes += usize::from(crashed_or_calm(&cluster, &faults).await);
            operator.crash().await;
            again(&cluster, &fixture.name, &wanted, &what).await;
        }
        plans += 1;
    }
    println!("G1: {plans} installs, {crashes} crashes");
    assert!(crashes > 300, "{crashes}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_of_an_edit_changes_nothing_in_the_end() {
    let good = fixtures::good();
    let (mut plans, mut crashes) = (0, 0);
    for (from, to) in good.iter().zip(good.iter().cycle().skip(1)) {
        let cluster = edited(from, to).await;
        let before = cluster.state().writes.len();
        let operator = start(&cluster, &Faults::default()).await;
        calm(&cluster).await;
        let (wanted, most) = (shape(&cluster, &from.name), cluster.state().writes.len() - before);
        operator.stop().await;
        for number in 1..=most {
            let what = format!("{} becomes {}, a crash after write {number}", from.name, to.name);
            let cluster = edited(from, to).await;
            let faults = Faults::of(Script { crash_after: Some(number), ..Script::default() });
            let operator = start(&cluster, &faults).await;
            crashes += usize::from(crashed_or_calm(&cluster, &faults).await);
            operator.crash().await;
            again(&cluster, &from.name, &wanted, &what).await;
        }
        plans += 1;
    }
    println!("G1: {plans} edits, {crashes} crashes");
    assert!(crashes > 100, "{crashes}");
}

/// The second: its former user is not the one that the store was made with.
#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_of_a_rotation_changes_nothing_in_the_end() {
    let fixture = fixtures::named("rotated");
    let cluster = rotated_again(&fixture).await;
    let before = cluster.state().writes.len();
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    operator.stop().await;
    let (wanted, most) = (shape(&cluster, &fixture.name), cluster.state().writes.len() - before);
    assert_eq!(world::ends(&cluster, &fixture), "Ready");
    for number in 1..=most {
        let what = format!("a second rotation, a crash after write {number}");
        let cluster = rotated_again(&fixture).await;
        let faults = Faults::of(Script { crash_after: Some(number), ..Script::default() });
        let operator = start(&cluster, &faults).await;
        crashed_or_calm(&cluster, &faults).await;
        operator.crash().await;
        again(&cluster, &fixture.name, &wanted, &what).await;
    }
    println!("G1: a rotation of three stores, {most} crashes");
    assert!(most > 20, "{most}");
}

/// A Stack whose stores have been rotated once, and that asks for it again while no operator runs.
async fn rotated_again(fixture: &Fixture) -> Cluster {
    let cluster = world::cluster_with(fixture);
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    operator.stop().await;
    cluster.act(|state| {
        state.edit_at(&fixture.id(), |stack| {
            for store in ["mongodb", "postgres", "rabbitmq"] {
                stack["spec"]["stores"][store]["managed"]["rotatedAt"] = "2026-11-26T15:00:00Z".into();
            }
        });
    });
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_in_any_way_is_made_up_for() {
    let kinds = [
        Fault::Refused(500),
        Fault::Refused(409),
        Fault::Refused(429),
        Fault::Refused(403),
        Fault::Unanswered,
        Fault::Late,
    ];
    let mut failures = 0;
    for (index, fixture) in fixtures::all().into_iter().enumerate() {
        let (wanted, writes) = undisturbed(&fixture).await;
        for number in 0..writes {
            let fault = kinds[(number + index) % kinds.len()];
            let what = format!("{}, write {number}: {fault:?}", fixture.name);
            let cluster = world::cluster_with(&fixture);
            let faults = Faults::of(Script { write: Some((number, fault)), ..Script::default() });
            let operator = start(&cluster, &faults).await;
            calm(&cluster).await;
            assert_same(&shape(&cluster, &fixture.name), &wanted, &what);
            assert_data_untouched(&cluster, &what);
            operator.stop().await;
            failures += 1;
        }
    }
    println!("{failures} failed writes");
    assert!(failures > 300, "{failures}");
}

/// A cluster with one Stack at rest, edited while no operator ran.
async fn edited(from: &Fixture, to: &Fixture) -> Cluster {
    let cluster = world::cluster_with(&to.moved(&from.name));
    let stacks: Vec<_> =
        cluster.act(|state| state.objects.keys().filter(|id| id.0 == "stacks").cloned().collect());
    cluster.act(|state| stacks.iter().for_each(|stack| drop(state.delete(stack))));
    from.put(&cluster);
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    operator.stop().await;
    let spec: Value = to.spec();
    cluster.act(|state| state.edit_at(&from.id(), |stack| stack["spec"] = spec));
    cluster
}

async fn crashed_or_calm(cluster: &Cluster, faults: &Faults) -> bool {
    futures::select! {
        () = faults.crashed().fuse() => true,
        () = calm(cluster).fuse() => false,
    }
}

/// A new operator brings it to where it would have been, and a third finds nothing to change.
async fn again(cluster: &Cluster, namespace: &str, wanted: &Shape, what: &str) {
    let operator = start(cluster, &Faults::default()).await;
    calm(cluster).await;
    operator.stop().await;
    assert_same(&shape(cluster, namespace), wanted, what);
    assert_data_untouched(cluster, what);
}
