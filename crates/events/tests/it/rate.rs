use futures::{StreamExt, stream};
use weft_events::Queue;

use crate::helpers::{Place, event, soon};

const EVENTS: u32 = 5_000;
const AT_ONCE: usize = 64;

/// Checks correctness only; `make bench` measures the rate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirms_and_stores_thousands_of_concurrent_publications() {
    let place = Place::own().await;
    let publisher = place.publisher();
    let publications =
        (0..EVENTS).map(|_| async { publisher.publish(&event("log.INFO"), soon()).await.unwrap() });
    stream::iter(publications).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    place.channel().await.until_waiting(Queue::Log.name(), EVENTS).await;
}
