//! The messages that nobody could handle, for a person to look at, replay or discard. By AMQP alone.
//!
//! AMQP has no way to look at a queue without taking from it. So each operation takes what is there (at most 10,000
//! messages, in 20 s), without acknowledging, chooses, and gives the rest back. While it does, another would see nothing
//! and take that for an answer: a mutex keeps operations of this process apart, an exclusive queue those of others.
//! Whatever ends an operation early ends its connection, and RabbitMQ puts back what it had taken.

mod death;
mod letter;
mod look;
mod replay;

#[cfg(test)]
pub(crate) use self::replay::fuzzed;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tracing::Instrument;

use self::look::{Held, Want};
use crate::{Amqp, PublishError, Publisher, Queue, amqp::CONSUMER_FRAME_BYTES};

/// How long one operation may take until it has found what it wants.
const WITHIN: Duration = Duration::from_secs(20);
/// How long the confirmation of a replayed message may take.
const REPLAY_WITHIN: Duration = Duration::from_secs(10);

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue whose consumer could not handle it.
    pub queue: Queue,
    /// The message's id, by which it is found again. A message without one gets an id that follows from its type and
    /// body: two that are alike have the same one, and either stands for both.
    pub id: String,
    /// The first routing key that it was published with, such as `log.INFO`.
    pub kind: String,
    /// Who published it; empty in a plain message.
    pub source: String,
    /// When it happened, where the message says so.
    pub time: Option<Timestamp>,
    /// The body, whatever it is: JSON or not, and of any size.
    pub data: Vec<u8>,
    /// Why it is here; absent when somebody else has put it here.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
}

/// Why an operation on dead letters has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// RabbitMQ can't be reached, or went away on the way.
    #[error("failed to reach the dead letters: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// Another operation on the same queue, here or in another process, did not end in time.
    #[error("the dead letters of {queue} are in other hands: try again")]
    Busy {
        /// Whose dead letters.
        queue: Queue,
    },
    /// There was not enough time to look at all of them.
    #[error("failed to look at all dead letters of {queue} in {} s: {looked_at} were looked at", WITHIN.as_secs())]
    Late {
        /// Whose dead letters.
        queue: Queue,
        /// How far it came.
        looked_at: usize,
    },
    /// It is not among the first, and there are more than are looked at.
    #[error(
        "the first {looked_at} dead letters of {queue} do not have it and there are more: replay or discard some of them"
    )]
    Beyond {
        /// Whose dead letters.
        queue: Queue,
        /// How far it came.
        looked_at: usize,
    },
    /// It could not be published again; it is still a dead letter.
    #[error("failed to replay the dead letter")]
    Publish(#[from] PublishError),
}

impl DeadLetterError {
    /// True when the same operation may work later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Busy { .. } | Self::Late { .. } => true,
            Self::Beyond { .. } => false,
            Self::Publish(error) => error.is_transient(),
        }
    }
}

impl From<lapin::Error> for DeadLetterError {
    fn from(error: lapin::Error) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

/// The dead letters of every queue. It keeps no connection: each operation makes one of its own, which ends with it.
#[derive(Debug, Clone)]
pub struct DeadLetters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    amqp: Amqp,
    publisher: Publisher,
    /// In the order of [`Queue::ALL`].
    turns: [Mutex<()>; Queue::ALL.len()],
}

impl DeadLetters {
    /// Does nothing yet. The publisher sends what is replayed.
    #[must_use]
    pub fn new(amqp: Amqp, publisher: Publisher) -> Self {
        let amqp = amqp.with_frame(CONSUMER_FRAME_BYTES);
        Self(Arc::new(Inner { amqp, publisher, turns: Default::default() }))
    }

    /// The dead letters that came first, oldest first: at most so many, and at most 64 MiB of bodies (but at least
    /// one letter).
    ///
    /// # Errors
    /// When RabbitMQ can't be reached, or others do not let go of the queue in time.
    pub async fn list(&self, queue: Queue, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let inner = self.0.clone();
        to_its_end(async move { inner.list(queue, limit).await }).await
    }

    /// The dead letter with this id.
    ///
    /// # Errors
    /// As [`DeadLetters::list`]; and when there are more than 10,000 and the first do not have it.
    pub async fn get(&self, queue: Queue, id: &str) -> Result<Option<DeadLetter>, DeadLetterError> {
        let (inner, id) = (self.0.clone(), id.to_owned());
        to_its_end(async move { inner.get(queue, id).await }).await
    }

    /// Publishes the dead letter with this id again, to the queue that it came from and no other, as if it had never been
    /// tried; then removes it here. `false` when there is none.
    ///
    /// Type, id and trace are the same as before. When it is cut between both steps, the message is in both places: a second
    /// replay is recognised by its id. A message without an id stays without, so that two alike are two events.
    ///
    /// # Errors
    /// As [`DeadLetters::get`]; and when it can't be published: then it is still a dead letter. After
    /// [`DeadLetterError::Unavailable`] it may have been replayed.
    ///
    /// # Cancellation
    /// It goes on to its end.
    pub async fn replay(&self, queue: Queue, id: &str) -> Result<bool, DeadLetterError> {
        let (inner, id) = (self.0.clone(), id.to_owned());
        to_its_end(async move { inner.replay(queue, id).await }).await
    }

    /// Removes the dead letter with this id for good. `false` when there is none.
    ///
    /// # Errors
    /// As [`DeadLetters::get`]. After [`DeadLetterError::Unavailable`] it may have been removed.
    ///
    /// # Cancellation
    /// It goes on to its end.
    pub async fn discard(&self, queue: Queue, id: &str) -> Result<bool, DeadLetterError> {
        let (inner, id) = (self.0.clone(), id.to_owned());
        to_its_end(async move { inner.discard(queue, id).await }).await
    }
}

/// A caller that goes away must not leave a message both replayed and here, or the queue in nobody's hands.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, DeadLetterError>> + Send + 'static,
) -> Result<T, DeadLetterError> {
    let ended = tokio::spawn(work.in_current_span()).await;
    ended.unwrap_or_else(|error| Err(DeadLetterError::Unavailable { reason: error.to_string() }))
}

impl Inner {
    async fn list(&self, queue: Queue, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (_turn, mut held) = self.take(queue, Want::first(limit)).await?;
        let found = held.found();
        held.give_back_or_drop().await;
        Ok(found.into_iter().map(|found| found.letter(queue)).collect())
    }

    async fn get(&self, queue: Queue, id: String) -> Result<Option<DeadLetter>, DeadLetterError> {
        let (_turn, mut held) = self.take(queue, Want::id(id)).await?;
        let found = held.found_one();
        held.give_back_or_drop().await;
        found.map(|found| found.map(|found| found.letter(queue)))
    }

    async fn replay(&self, queue: Queue, id: String) -> Result<bool, DeadLetterError> {
        let (_turn, mut held) = self.take(queue, Want::id(id)).await?;
        let replayed = match held.found_one() {
            Ok(None) => Ok(false),
            Err(error) => Err(error),
            Ok(Some(found)) => {
                let deadline = Instant::now() + REPLAY_WITHIN;
                match replay::publish(&self.publisher, queue, &found, deadline).await {
                    Ok(()) => held.remove(&found).await.map(|()| true),
                    Err(error) => Err(error.into()),
                }
            }
        };
        end(held, replayed).await
    }

    async fn discard(&self, queue: Queue, id: String) -> Result<bool, DeadLetterError> {
        let (_turn, mut held) = self.take(queue, Want::id(id)).await?;
        let discarded = match held.found_one() {
            Ok(None) => Ok(false),
            Err(error) => Err(error),
            Ok(Some(found)) => held.remove(&found).await.map(|()| true),
        };
        end(held, discarded).await
    }

    /// Takes what is in the queue; the turn ends when both are dropped.
    async fn take(
        &self,
        queue: Queue,
        want: Want,
    ) -> Result<(tokio::sync::MutexGuard<'_, ()>, Held), DeadLetterError> {
        let deadline = Instant::now() + WITHIN;
        let place = Queue::ALL.iter().position(|other| *other == queue).unwrap_or_default();
        let turn = self.turns[place].lock();
        let turn = timeout_at(deadline, turn).await.map_err(|_| DeadLetterError::Busy { queue })?;
        Ok((turn, Held::take(&self.amqp, queue, want, deadline).await?))
    }
}

/// The outcome counts only once RabbitMQ has everything else back: until then the removal is not certain either.
async fn end(held: Held, outcome: Result<bool, DeadLetterError>) -> Result<bool, DeadLetterError> {
    match outcome {
        Ok(true) => held.give_back().await.map(|()| true),
        other => {
            held.give_back_or_drop().await;
            other
        }
    }
}
