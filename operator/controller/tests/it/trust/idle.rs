//! G5: who has nothing to do writes nothing.

use std::time::Duration;

use crate::faults::Faults;
use crate::fixtures;
use crate::world::{self, calm, start};

const STACKS: usize = 100;
const IDLE: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_hundred_stacks_at_rest_cause_no_write_in_ten_minutes() {
    let cluster = world::cluster();
    let all = fixtures::all();
    for (number, fixture) in (0..STACKS).zip(all.iter().cycle()) {
        fixture.moved(&format!("{}-{number}", fixture.name)).put(&cluster);
    }
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    let stacks = cluster.state().objects.keys().filter(|id| id.0 == "stacks").count();
    assert!(stacks >= STACKS);
    let before = cluster.state().writes.len();
    tokio::time::sleep(IDLE).await;
    let after = cluster.state().writes.split_off(before);
    println!("G5: {stacks} Stacks, {before} writes until rest, {} in {IDLE:?}", after.len());
    assert_eq!(after, [] as [String; 0]);
    operator.stop().await;
}
