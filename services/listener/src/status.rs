//! RabbitMQ's state in `/readyz` and `/status`.

use futures::future::select_all;
use tokio::sync::watch;
use weft_events::ConsumerStatus;
use weft_runtime::{health::Condition, status::StatusBoard};

const STORE: &str = "rabbitmq";

/// Publishes the consumers' statuses until a consumer ends. Ready while all consume; otherwise with the reason of the first that
/// does not.
pub(crate) async fn mirror<const N: usize>(
    mut statuses: [watch::Receiver<ConsumerStatus>; N],
    ready: Condition,
    board: StatusBoard,
) {
    loop {
        let seen = statuses.each_mut().map(|status| status.borrow_and_update().clone());
        let worst = seen.iter().find(|status| !status.consuming).or(seen.first());
        if let Some(ConsumerStatus { store, consuming }) = worst {
            if *consuming {
                ready.fulfilled();
            } else {
                ready.missing(store.message.clone().unwrap_or_else(|| "the consumer is starting".into()));
            }
            board.set(STORE, store.clone());
        }
        let changes = statuses.iter_mut().map(|status| Box::pin(status.changed()));
        if select_all(changes).await.0.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use weft_runtime::{health::Health, status::StoreStatus};

    use super::*;

    #[tokio::test]
    async fn is_ready_while_all_consumers_consume() {
        let ((log, of_log), (mail, of_mail)) =
            (watch::channel(ConsumerStatus::default()), watch::channel(ConsumerStatus::default()));
        let (health, board) = (Health::default(), StatusBoard::default());
        let mirror = tokio::spawn(mirror([of_log, of_mail], health.condition(STORE), board.clone()));

        let there =
            StoreStatus { reachable: true, authenticated: true, migrated: true, ..StoreStatus::default() };
        let away = StoreStatus { message: Some("failed to connect".into()), ..StoreStatus::default() };
        log.send_replace(ConsumerStatus { store: there.clone(), consuming: true });
        mail.send_replace(ConsumerStatus { store: away.clone(), consuming: false });
        while board.all().get(STORE) != Some(&away) {
            tokio::task::yield_now().await;
        }
        assert_eq!(health.missing(), ["rabbitmq: failed to connect"]);

        mail.send_replace(ConsumerStatus { store: there, consuming: true });
        drop(mail);
        mirror.await.unwrap();
        assert!(health.is_ready());
    }
}
