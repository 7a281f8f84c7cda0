//! G6: the same writes, whatever the order in which events come.

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::fake::Cluster;
use crate::faults::{Faults, Script};
use crate::fixtures;
use crate::world::{self, assert_same, calm, shape, start, undisturbed};

const SEEDS: u64 = 6;

#[tokio::test(start_paused = true)]
async fn the_order_of_events_makes_no_difference_to_what_is_written() {
    let mut fixtures = fixtures::all();
    // Which of two is the elder is a matter of order.
    fixtures.retain(|fixture| fixture.name != "two");
    let mut wanted = Vec::new();
    for fixture in &fixtures {
        let cluster = world::cluster_with(fixture);
        let operator = start(&cluster, &Faults::default()).await;
        calm(&cluster).await;
        operator.stop().await;
        wanted.push((fixture.clone(), undisturbed(fixture).await.0, writes(&cluster, &fixture.name)));
    }
    for seed in 0..SEEDS {
        let cluster = world::cluster();
        let faults = Faults::of(Script { shuffle: Some(seed), ..Script::default() });
        let operator = start(&cluster, &faults).await;
        fixtures.shuffle(&mut StdRng::seed_from_u64(seed));
        fixtures.iter().for_each(|fixture| fixture.put(&cluster));
        calm(&cluster).await;
        operator.stop().await;
        for (fixture, end, writes) in &wanted {
            let what = format!("{}, seed {seed}", fixture.name);
            assert_same(&shape(&cluster, &fixture.name), end, &what);
            assert_eq!(self::writes(&cluster, &fixture.name), *writes, "{what}");
        }
    }
    println!("G6: {} Stacks in {SEEDS} orders", wanted.len());
}

/// Which of several stores has its new user first is a matter of order: not compared are the templates on the way there, each of
/// which is kept under a digest of its own.
fn writes(cluster: &Cluster, namespace: &str) -> BTreeSet<String> {
    let mut all = world::writes_in(cluster, namespace);
    if ["earlier", "rotated"].contains(&namespace) {
        all.retain(|write| !write.contains(" controllerrevisions/templates-"));
    }
    all
}
