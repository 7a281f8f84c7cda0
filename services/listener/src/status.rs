//! What `/readyz` and `/status` say of RabbitMQ, the listener's store.

use tokio::sync::watch;
use weft_events::ConsumerStatus;
use weft_runtime::{health::Condition, status::StatusBoard};

const STORE: &str = "rabbitmq";

/// Copies the consumer's status until the consumer ends.
pub(crate) async fn mirror(
    mut status: watch::Receiver<ConsumerStatus>,
    ready: Condition,
    board: StatusBoard,
) {
    loop {
        let ConsumerStatus { store, consuming } = status.borrow_and_update().clone();
        if consuming {
            ready.fulfilled();
        } else {
            ready.missing(store.message.clone().unwrap_or_else(|| "the consumer is being started".into()));
        }
        board.set(STORE, store);
        if status.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_runtime::{health::Health, status::StoreStatus};

    use super::*;

    #[tokio::test]
    async fn ready_while_it_consumes_and_with_the_reason_while_it_does_not() {
        let (tell, status) = watch::channel(ConsumerStatus::default());
        let (health, board) = (Health::default(), StatusBoard::default());
        let mirror = tokio::spawn(mirror(status, health.condition(STORE), board.clone()));

        let away = StoreStatus { message: Some("failed to connect".into()), ..StoreStatus::default() };
        tell.send_replace(ConsumerStatus { store: away.clone(), consuming: false });
        while board.all().get(STORE) != Some(&away) {
            tokio::task::yield_now().await;
        }
        assert_eq!(health.missing(), ["rabbitmq: failed to connect"]);

        let there =
            StoreStatus { reachable: true, authenticated: true, migrated: true, ..StoreStatus::default() };
        tell.send_replace(ConsumerStatus { store: there, consuming: true });
        drop(tell);
        mirror.await.unwrap();
        assert!(health.is_ready());
    }
}
