//! What `/status` says of the services and of RabbitMQ, which the broker calls. Its readiness does not depend on them; the
//! operator reads it to say that a Stack is ready only once the first call can succeed.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use weft_events::Publisher;
use weft_mesh::Channel;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::status::{StatusBoard, StoreStatus};

/// `/status` is never much older than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RABBITMQ: &str = "rabbitmq";

/// Keeps `/status` until shutdown is requested. All of them are on it at once, so that none seems not to be called.
pub(crate) fn watch(
    services: Vec<(&'static str, Channel)>,
    publisher: Publisher,
    board: StatusBoard,
    shutdown: Shutdown,
) {
    for name in services.iter().map(|(name, _)| *name).chain([RABBITMQ]) {
        let message = Some("not looked at yet".to_owned());
        board.set(name, StoreStatus { message, ..StoreStatus::default() });
    }
    tokio::spawn(async move {
        tokio::select! {
            never = look_on(&services, &publisher, &board) => match never {},
            () = shutdown.requested() => {}
        }
    });
}

async fn look_on(
    services: &[(&'static str, Channel)],
    publisher: &Publisher,
    board: &StatusBoard,
) -> Infallible {
    loop {
        board.set(RABBITMQ, publisher.status());
        let looks = services.iter().map(|(name, channel)| async move { (*name, look(channel).await) });
        join_all(looks).await.into_iter().for_each(|(name, status)| board.set(name, status));
        sleep(LOOK_EVERY).await;
    }
}

/// A service has no credentials yet and nothing to migrate.
async fn look(channel: &Channel) -> StoreStatus {
    let message = channel.probe().await.err().map(|error| format!("failed to connect: {error}"));
    let reachable = message.is_none();
    StoreStatus { reachable, authenticated: reachable, migrated: reachable, version: None, message }
}
