use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use weft_events::Queue;

use crate::helpers::{Place, event, soon};

const EVENTS: usize = 5_000;
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn well_over_a_thousand_events_a_second_are_confirmed() {
    let place = Place::own().await;
    let publisher = place.publisher();
    publisher.publish(&event("log.INFO"), soon()).await.unwrap();

    let start = Instant::now();
    let publications = stream::iter((0..EVENTS).map(|_| {
        let publisher = publisher.clone();
        async move {
            let start = Instant::now();
            publisher.publish(&event("log.INFO"), start + Duration::from_secs(30)).await.unwrap();
            start.elapsed()
        }
    }));
    let mut times: Vec<_> = publications.buffer_unordered(AT_ONCE).collect().await;
    let elapsed = start.elapsed();
    times.sort();
    let rate = EVENTS as f64 / elapsed.as_secs_f64();
    eprintln!(
        "{rate:.0} confirmed events/s, p50 {:?}, p99 {:?}",
        times[EVENTS / 2],
        times[EVENTS * 99 / 100]
    );
    assert!(rate > 1_000.0, "{rate:.0}/s");
    place.channel().await.until_waiting(Queue::Log.name(), EVENTS as u32 + 1).await;
}
