use futures::{StreamExt, stream};
use weft_events::Queue;

use crate::helpers::{Place, event, soon};

const EVENTS: u32 = 5_000;
const AT_ONCE: usize = 64;

/// How many a second is for `make bench` to say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_concurrent_publications_are_each_confirmed_and_stored() {
    let place = Place::own().await;
    let publisher = place.publisher();
    let publications =
        (0..EVENTS).map(|_| async { publisher.publish(&event("log.INFO"), soon()).await.unwrap() });
    stream::iter(publications).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    place.channel().await.until_waiting(Queue::Log.name(), EVENTS).await;
}
