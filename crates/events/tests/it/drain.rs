use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};
use weft_events::{ConsumerOptions, Handler, Outcome, Queue, Received};

use crate::helpers::{Place, event, soon};

/// Notifies `begun`, and ends when `go` has a permit.
struct Held {
    begun: Arc<Notify>,
    go: Arc<Semaphore>,
}

#[async_trait]
impl Handler for Held {
    async fn handle(&self, _: &Received) -> Outcome {
        self.begun.notify_one();
        self.go.acquire().await.unwrap().forget();
        Outcome::Done
    }
}

fn held() -> (Held, Arc<Notify>, Arc<Semaphore>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    (Held { begun: begun.clone(), go: go.clone() }, begun, go)
}

#[tokio::test]
async fn a_drain_finishes_messages_in_hand_and_takes_no_new_ones() {
    let place = Place::new().await;
    let (handler, begun, go) = held();
    let running = place
        .consume(ConsumerOptions { prefetch: 1, ..ConsumerOptions::default() }, handler)
        .consuming()
        .await;
    for _ in 0..3 {
        running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    }
    begun.notified().await;
    running.shutdown.request();
    go.add_permits(1);
    running.end().await;
    place.channel().await.until_waiting(Queue::Log.name(), 2).await;
}

#[tokio::test]
async fn a_cut_drain_returns_messages_to_the_queue() {
    let place = Place::new().await;
    let (handler, begun, _never) = held();
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    begun.notified().await;
    running.shutdown.request();
    running.crash().await;
    place.channel().await.until_waiting(Queue::Log.name(), 1).await;
}
