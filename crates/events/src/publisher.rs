//! Publications that are confirmed, or say why not.

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

/// Publications in flight at once; more wait for their turn. Well below the 2,047 channels that RabbitMQ allows.
const IN_FLIGHT: usize = 256;
/// How long a lost connection may take to be noticed as such before the next try.
const NOTICE_WITHIN: Duration = Duration::from_millis(200);

/// Publishes events. Clones share one connection; it is closed by [`Publisher::close`] or with the last clone.
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

/// Why an event is not known to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It can't be published as it is.
    #[error(transparent)]
    Invalid(#[from] EventError),
    /// A stored dead letter whose properties can't be read.
    #[error("the stored properties of the dead letter are not valid AMQP")]
    Malformed,
    /// No queue wants it; RabbitMQ has dropped it.
    #[error("no queue is bound for event type `{key}` (exchange `{exchange}`): {reason}")]
    Unroutable {
        /// Where it was published.
        exchange: String,
        /// With which key.
        key: String,
        /// In RabbitMQ's words.
        reason: String,
    },
    /// RabbitMQ has not taken it.
    #[error("RabbitMQ refused to store the event (a negative confirm): a queue is full or has no quorum")]
    Refused,
    /// RabbitMQ takes no publications, since it lacks memory or disk; it was not sent.
    #[error("RabbitMQ takes no publications now: {reason}")]
    Blocked {
        /// In RabbitMQ's words.
        reason: String,
    },
    /// RabbitMQ can't be reached, or gave no confirmation in time; then it may have the event all the same.
    #[error("RabbitMQ did not confirm the event in time: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
}

impl PublishError {
    /// True when the same publication, with the same id, may work later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused | Self::Blocked { .. } | Self::Unavailable { .. })
    }

    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Malformed => "invalid",
            Self::Unroutable { .. } => "unroutable",
            Self::Refused => "refused",
            Self::Blocked { .. } => "blocked",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

impl Publisher {
    /// Starts connecting in the background. Needs a Tokio runtime; does not need RabbitMQ.
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

    /// Publishes an event and returns when RabbitMQ has it on disk in a queue.
    ///
    /// # Errors
    /// When that is not known at the deadline, or will never be. After [`PublishError::Unavailable`] RabbitMQ may have
    /// the event: publish it again with the same id.
    ///
    /// # Cancellation
    /// When the future is dropped, it is open whether RabbitMQ has the event.
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

    /// What is known of RabbitMQ.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.0.link.status()
    }

    /// Closes the connection. Publications after it fail.
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
        let unavailable = |reason: String| PublishError::Unavailable { reason };
        let Ok(_turn) = timeout_at(deadline, self.turns.acquire()).await else {
            return Err(unavailable(format!("{IN_FLIGHT} publications are in flight already")));
        };
        let mut declared_again = false;
        loop {
            let session = self.session(deadline).await?;
            let began = Instant::now();
            let confirmed = match timeout_at(deadline, self.lanes.publish(&session, message)).await {
                Ok(confirmed) => confirmed,
                Err(_) => return Err(self.unconfirmed(&session)),
            };
            match confirmed {
                Ok(confirmation) => match judge(confirmation, message) {
                    // Its queue or binding may have been deleted.
                    Err(error @ PublishError::Unroutable { .. }) if !declared_again => {
                        declared_again = true;
                        if !declare_again(&session, began, deadline).await {
                            return Err(error);
                        }
                    }
                    judged => return judged,
                },
                Err(error) => self.after(&session, &error, began, deadline).await,
            }
            if Instant::now() >= deadline {
                return Err(unavailable("the connection was lost before the confirmation".into()));
            }
        }
    }

    /// The present connection, once it takes publications.
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
                // Lost while it was blocked: the next one may be free.
                _ = state.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Err(PublishError::Blocked { reason }),
            }
        }
    }

    /// Before the same message is published again.
    async fn after(&self, session: &Arc<Session>, error: &lapin::Error, began: Instant, deadline: Instant) {
        tracing::debug!(%error, "publishing again after an error");
        if session.connection.status().connected() && matches!(error.kind(), ErrorKind::ProtocolError(_)) {
            // RabbitMQ closed this channel only: most likely the exchange is gone.
            declare_again(session, began, deadline).await;
        }
        let mut state = self.link.watch();
        let other = state.wait_for(|state| !matches!(state, State::Up(now) if now.number == session.number));
        let until = (Instant::now() + NOTICE_WITHIN).min(deadline);
        // Without news the old connection is tried again.
        let _ = timeout_at(until, other).await;
    }

    fn outage(&self) -> String {
        match &*self.link.watch().borrow() {
            State::Down(outage) => outage.reason.clone(),
            State::Up(_) => "the connection has only just been made".into(),
        }
    }

    fn unconfirmed(&self, session: &Session) -> PublishError {
        match session.blocked() {
            Some(reason) => PublishError::Blocked { reason },
            None => PublishError::Unavailable { reason: "it was sent and no confirmation came".into() },
        }
    }
}

/// Declares exchanges, queues and bindings again, unless that was done since `since`, and returns whether they are declared now.
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

fn judge(confirmation: Confirmation, message: &Message<'_>) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(PublishError::Unroutable {
                exchange: message.exchange.into(),
                key: message.key.to_string(),
                reason: returned.reply_text.to_string(),
            })
        }
        // `NotRequested` can't be: every lane asks for confirms. It is no success either.
        Confirmation::Nack(None) | Confirmation::NotRequested => Err(PublishError::Refused),
    }
}
