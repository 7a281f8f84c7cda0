//! Status of the services and of RabbitMQ in `/status`. The broker's readiness does not depend on them. The operator reads the status
//! so that a Stack is Ready only once the first call can succeed.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;
use weft_events::Publisher;
use weft_mesh::Channel;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::status::{StatusBoard, StoreStatus};

const INTERVAL: Duration = Duration::from_secs(1);
const RABBITMQ: &str = "rabbitmq";

/// Updates `/status` until shutdown is requested. All callees are listed from the start, so that a missing one does not look like one
/// that the broker does not call.
pub(crate) fn watch(
    services: Vec<(&'static str, Channel)>,
    publisher: Publisher,
    board: StatusBoard,
    shutdown: Shutdown,
) {
    for name in services.iter().map(|(name, _)| *name).chain([RABBITMQ]) {
        let message = Some("not checked yet".to_owned());
        board.set(name, StoreStatus { message, ..StoreStatus::default() });
    }
    tokio::spawn(async move {
        tokio::select! {
            never = update(&services, &publisher, &board) => match never {},
            () = shutdown.requested() => {}
        }
    });
}

async fn update(
    services: &[(&'static str, Channel)],
    publisher: &Publisher,
    board: &StatusBoard,
) -> Infallible {
    loop {
        board.set(RABBITMQ, publisher.status());
        let checks = services.iter().map(|(name, channel)| async move { (*name, check(channel).await) });
        join_all(checks).await.into_iter().for_each(|(name, status)| board.set(name, status));
        sleep(INTERVAL).await;
    }
}

/// Services do not authenticate callers yet and have nothing to migrate: these fields follow `reachable`.
async fn check(channel: &Channel) -> StoreStatus {
    let message = channel.probe().await.err().map(|error| format!("failed to connect: {error}"));
    let reachable = message.is_none();
    StoreStatus { reachable, authenticated: reachable, migrated: reachable, version: None, message }
}
