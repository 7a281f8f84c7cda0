//! Publishes events with confirmation.

use std::{sync::Arc, time::Duration};

use lapin::{Confirmation, ErrorKind};
use opentelemetry::global;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use weft_runtime::status::StoreStatus;

use crate::{
    Amqp, Event,
    amqp::PUBLISHER_FRAME_BYTES,
    event::EventError,
    headers::Headers,
    lane::{Lanes, Message},
    link::{Link, Session, State, up},
    metrics::{EventMetrics, Outcome},
    spans,
    topology::EXCHANGE,
};

/// Maximum number of publications in flight; others wait. Well below RabbitMQ's limit of 2,047 channels.
const IN_FLIGHT: usize = 256;
/// After an error: how long to wait for the link to detect a lost connection before the next attempt.
const NOTICE_WITHIN: Duration = Duration::from_millis(200);

/// Publishes events. Clones share one connection. It is closed by [`Publisher::close`], or when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Publisher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    amqp: Amqp,
    link: Link,
    lanes: Lanes,
    turns: Semaphore,
    metrics: EventMetrics,
}

/// Why an event was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The event is invalid.
    #[error(transparent)]
    Invalid(#[from] EventError),
    /// The stored properties of a dead letter can't be decoded.
    #[error("the stored properties of the dead letter are not valid AMQP")]
    Malformed,
    /// No queue is bound for it; RabbitMQ dropped the event.
    #[error("no queue is bound for event type `{key}` (exchange `{exchange}`): {reason}")]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        key: String,
        /// The reason that RabbitMQ gave.
        reason: String,
    },
    /// RabbitMQ answered with a negative confirm.
    #[error("RabbitMQ refused to store the event (a negative confirm): a queue is full or has no quorum")]
    Refused,
    /// RabbitMQ blocks publishing because it is short of memory or disk. The event was not sent.
    #[error("RabbitMQ blocks publishing: {reason}")]
    Blocked {
        /// The reason that RabbitMQ gave.
        reason: String,
    },
    /// RabbitMQ is unreachable. The event was not sent.
    #[error("RabbitMQ is unavailable: {reason}")]
    Unavailable {
        /// The cause.
        reason: String,
    },
    /// The event was sent, but not confirmed in time. RabbitMQ may have stored it.
    #[error("RabbitMQ did not confirm the event in time: {reason}")]
    Unconfirmed {
        /// The cause.
        reason: String,
    },
}

impl PublishError {
    /// Whether publishing the same event, with the same id, may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Blocked { .. } | Self::Unavailable { .. } | Self::Unconfirmed { .. }
        )
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Malformed => "invalid",
            Self::Unroutable { .. } => "unroutable",
            Self::Refused => "refused",
            Self::Blocked { .. } => "blocked",
            Self::Unavailable { .. } | Self::Unconfirmed { .. } => "unavailable",
        }
    }
}

impl Publisher {
    /// Connects in the background. Needs a Tokio runtime; does not wait for RabbitMQ.
    #[must_use]
    pub fn start(amqp: Amqp, metrics: EventMetrics) -> Self {
        let link = Link::start(amqp.clone().with_frame(PUBLISHER_FRAME_BYTES), "publisher", false, &metrics);
        Self(Arc::new(Inner {
            amqp,
            link,
            lanes: Lanes::default(),
            turns: Semaphore::new(IN_FLIGHT),
            metrics,
        }))
    }

    /// Publishes an event. Returns when RabbitMQ has it on disk in a queue.
    ///
    /// # Errors
    /// When the event is refused, or not confirmed by the deadline. After [`PublishError::Unconfirmed`] RabbitMQ may have the
    /// event: publish it again with the same id.
    ///
    /// # Cancellation
    /// When the future is dropped, it is unknown whether RabbitMQ has the event.
    pub async fn publish(&self, event: &Event, deadline: Instant) -> Result<(), PublishError> {
        let span = spans::send(&self.0.amqp, EXCHANGE, &event.kind, &event.id, event.data.len());
        let published = async {
            let mut headers = Headers::default();
            global::get_text_map_propagator(|propagator| {
                propagator.inject_context(&span.context(), &mut headers)
            });
            let (key, properties) = (event.key()?, event.properties(headers)?);
            let message = Message { exchange: EXCHANGE, key, properties, body: &event.data };
            self.0.counted(&message, deadline).await
        };
        let published = published.instrument(span.clone()).await;
        spans::failed(&span, published.as_ref().err().map(|error| (error.label(), error.to_string())));
        published
    }

    /// State of the connection to RabbitMQ.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.0.link.status()
    }

    /// Closes the connection. Later publications fail.
    pub async fn close(&self) {
        self.0.link.close().await;
    }

    pub(crate) fn amqp(&self) -> &Amqp {
        &self.0.amqp
    }

    pub(crate) async fn send(&self, message: &Message<'_>, deadline: Instant) -> Result<(), PublishError> {
        self.0.counted(message, deadline).await
    }
}

impl Inner {
    async fn counted(&self, message: &Message<'_>, deadline: Instant) -> Result<(), PublishError> {
        let start = Instant::now();
        let sent = self.send(message, deadline).await;
        self.metrics.publish_time.observe(start.elapsed().as_secs_f64());
        let outcome = sent.as_ref().err().map_or("confirmed", PublishError::label);
        self.metrics.published.get_or_create(&Outcome { outcome }).inc();
        sent
    }

    async fn send(&self, message: &Message<'_>, deadline: Instant) -> Result<(), PublishError> {
        let Ok(_turn) = timeout_at(deadline, self.turns.acquire()).await else {
            let reason = format!("{IN_FLIGHT} publications are in flight already");
            return Err(PublishError::Unavailable { reason });
        };
        let lost = || PublishError::Unconfirmed {
            reason: "the connection was lost before the confirmation".to_owned(),
        };
        let (mut declared_again, mut sent) = (false, false);
        loop {
            let session = self.session(deadline).await.map_err(|error| if sent { lost() } else { error })?;
            let began = Instant::now();
            let confirmed = match timeout_at(deadline, self.lanes.publish(&session, message)).await {
                Ok(confirmed) => confirmed,
                Err(_) => return Err(self.unconfirmed(&session)),
            };
            match confirmed {
                Ok(confirmation) => match result_of(confirmation, message) {
                    // The queue or binding may have been deleted.
                    Err(error @ PublishError::Unroutable { .. }) if !declared_again => {
                        declared_again = true;
                        if !declare_again(&session, began, deadline).await {
                            return Err(error);
                        }
                    }
                    result => return result,
                },
                Err(error) => self.prepare_retry(&session, &error, began, deadline).await,
            }
            sent = true;
            if Instant::now() >= deadline {
                return Err(lost());
            }
        }
    }

    /// Waits for a connection that does not block publishing.
    async fn session(&self, deadline: Instant) -> Result<Arc<Session>, PublishError> {
        let mut state = self.link.watch();
        loop {
            let session = match timeout_at(deadline, up(&mut state)).await {
                Ok(Some(session)) => session,
                Ok(None) | Err(_) => return Err(PublishError::Unavailable { reason: self.outage() }),
            };
            let Some(reason) = session.blocked() else { return Ok(session) };
            tokio::select! {
                () = session.unblocked() => {}
                // The connection was lost; the next one may not be blocked.
                _ = state.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Err(PublishError::Blocked { reason }),
            }
        }
    }

    /// Called before the same message is published again.
    async fn prepare_retry(
        &self,
        session: &Arc<Session>,
        error: &lapin::Error,
        began: Instant,
        deadline: Instant,
    ) {
        tracing::debug!(%error, "publishing again after an error");
        if session.connection.status().connected() && matches!(error.kind(), ErrorKind::ProtocolError(_)) {
            // RabbitMQ closed only the channel: most likely the exchange does not exist.
            declare_again(session, began, deadline).await;
        }
        let mut state = self.link.watch();
        let other = state.wait_for(|state| !matches!(state, State::Up(now) if now.number == session.number));
        let until = (Instant::now() + NOTICE_WITHIN).min(deadline);
        // If the state does not change, the same connection is used again.
        let _ = timeout_at(until, other).await;
    }

    fn outage(&self) -> String {
        match &*self.link.watch().borrow() {
            State::Down(outage) => outage.reason.clone(),
            State::Up(_) => "the connection was established only now".into(),
        }
    }

    fn unconfirmed(&self, session: &Session) -> PublishError {
        match session.blocked() {
            Some(reason) => PublishError::Blocked { reason },
            None => {
                PublishError::Unconfirmed { reason: "the event was sent, but no confirmation arrived".into() }
            }
        }
    }
}

/// Declares the topology again, unless that was done after `since`. Returns whether it is declared now.
async fn declare_again(session: &Session, since: Instant, deadline: Instant) -> bool {
    match timeout_at(deadline, session.redeclare(since)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "failed to declare exchanges and queues again");
            false
        }
        Err(_) => false,
    }
}

fn result_of(confirmation: Confirmation, message: &Message<'_>) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(PublishError::Unroutable {
                exchange: message.exchange.into(),
                key: message.key.to_string(),
                reason: returned.reply_text.to_string(),
            })
        }
        // `NotRequested` can't happen, because every channel is in confirm mode.
        Confirmation::Nack(None) | Confirmation::NotRequested => Err(PublishError::Refused),
    }
}
