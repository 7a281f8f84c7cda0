//! Publishes events to RabbitMQ.

use std::time::Duration;

use tokio::time::Instant;
use weft_events::{Event, Publisher};

use crate::reply::ApiError;
use crate::upstream;

pub(crate) struct Events {
    pub(crate) publisher: Publisher,
    /// How long RabbitMQ may take to confirm a single event.
    pub(crate) timeout: Duration,
}

impl Events {
    pub(crate) async fn publish(&self, event: &Event, deadline: Instant) -> Result<(), ApiError> {
        self.publisher.publish(event, deadline).await.map_err(|error| upstream::events(&error))
    }
}
