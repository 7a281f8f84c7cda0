//! Taking a queue's dead letters into our hands, and giving them back.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer, ErrorKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{DeadLetterError, letter::Found};
use crate::{Amqp, Queue, link, topology};

/// So many are looked at.
const AT_MOST: u16 = 10_000;
/// Bodies that one list may have, in bytes.
const MAX_LISTED_BYTES: usize = 64 * 1024 * 1024;
/// After as many as RabbitMQ has counted, more may come: those that a process had which has just been killed.
const QUIET: Duration = Duration::from_millis(100);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(10);
const GIVEN_BACK_PAUSE: Duration = Duration::from_millis(5);

/// Which dead letters are wanted, and those found so far, oldest first.
#[derive(Debug)]
pub(super) struct Want {
    id: Option<String>,
    limit: usize,
    found: BTreeMap<(Timestamp, u64), Found>,
    bytes: usize,
}

impl Want {
    pub(super) fn first(limit: usize) -> Self {
        Self { id: None, limit, found: BTreeMap::new(), bytes: 0 }
    }

    pub(super) fn id(id: String) -> Self {
        Self { id: Some(id), ..Self::first(1) }
    }

    fn look_at(&mut self, delivery: Delivery) {
        let tag = delivery.delivery_tag;
        let found = Found::new(delivery);
        if self.id.as_ref().is_some_and(|id| *id != found.id) {
            return;
        }
        self.bytes += found.delivery.data.len();
        self.found.insert((found.since(), tag), found);
        while self.found.len() > 1 && (self.found.len() > self.limit || self.bytes > MAX_LISTED_BYTES) {
            if let Some((_, newest)) = self.found.pop_last() {
                self.bytes -= newest.delivery.data.len();
            }
        }
    }
}

/// Dead letters that are taken and not acknowledged. Dropped, it gives them back by the end of its connection.
pub(super) struct Held {
    queue: Queue,
    connection: Connection,
    channel: Channel,
    want: Want,
    taken: usize,
    removed: usize,
    /// Whether there are more than are looked at.
    more: bool,
}

impl Held {
    pub(super) async fn take(
        amqp: &Amqp,
        queue: Queue,
        want: Want,
        deadline: Instant,
    ) -> Result<Self, DeadLetterError> {
        let properties = ConnectionProperties::default().with_connection_name("dead letters".into());
        let connecting = Connection::connect_uri(amqp.0.clone(), properties);
        let connection = match timeout_at(deadline, connecting).await {
            Ok(connected) => connected
                .map_err(|error| DeadLetterError::Unavailable { reason: link::refused(&error).reason })?,
            Err(_) => return Err(no_answer()),
        };
        let locked = timeout_at(deadline, lock(&connection, queue)).await;
        let channel = locked.map_err(|_| DeadLetterError::Busy { queue })??;
        let mut held = Self { queue, connection, channel, want, taken: 0, removed: 0, more: false };
        let looked_at = timeout_at(deadline, held.look()).await;
        looked_at.map_err(|_| DeadLetterError::Late { queue, looked_at: held.taken })??;
        Ok(held)
    }

    async fn look(&mut self) -> Result<(), DeadLetterError> {
        // Also makes the queue where somebody has deleted it.
        let counted = topology::declare_dead(&self.channel, self.queue).await?;
        let counted = usize::try_from(counted).unwrap_or(usize::MAX);
        let expected = counted.min(AT_MOST.into());
        let mut deliveries = self.consume().await?;
        while self.taken < AT_MOST.into() {
            let next = deliveries.next();
            let next = if self.taken < expected {
                next.await
            } else {
                match timeout(QUIET, next).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            };
            self.look_at(next.ok_or_else(cancelled)??);
        }
        self.channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default()).await?;
        while let Some(delivery) = deliveries.next().await {
            self.look_at(delivery?);
        }
        self.more = self.taken >= AT_MOST.into() && self.waiting().await? > 0;
        Ok(())
    }

    async fn consume(&self) -> lapin::Result<Consumer> {
        self.channel.basic_qos(AT_MOST, BasicQosOptions { global: false }).await?;
        let (tag, options) = ("".into(), BasicConsumeOptions::default());
        self.channel.basic_consume(self.queue.dead().into(), tag, options, FieldTable::default()).await
    }

    fn look_at(&mut self, delivery: Delivery) {
        self.taken += 1;
        self.want.look_at(delivery);
    }

    /// What was wanted, oldest first.
    pub(super) fn found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.want.found).into_values().collect()
    }

    /// The one that was wanted.
    ///
    /// # Errors
    /// When it may be among those that were not looked at.
    pub(super) fn found_one(&mut self) -> Result<Option<Found>, DeadLetterError> {
        match self.want.found.pop_first() {
            Some((_, found)) => Ok(Some(found)),
            None if self.more => Err(DeadLetterError::Beyond { queue: self.queue, looked_at: self.taken }),
            None => Ok(None),
        }
    }

    /// Removes it from the queue; that is certain only after [`Held::give_back`].
    pub(super) async fn remove(&mut self, found: &Found) -> Result<(), DeadLetterError> {
        self.channel.basic_ack(found.delivery.delivery_tag, BasicAckOptions::default()).await?;
        self.removed += 1;
        Ok(())
    }

    /// Returns when RabbitMQ has them again, and lets go of the queue.
    pub(super) async fn give_back(self) -> Result<(), DeadLetterError> {
        timeout(GIVE_BACK_WITHIN, self.until_given_back()).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// As [`Held::give_back`], where nothing hangs on its success: the end of the connection gives them back too.
    pub(super) async fn give_back_or_drop(self) {
        let queue = self.queue.name();
        if let Err(error) = self.give_back().await {
            tracing::warn!(queue, %error, "dead letters were not given back in order");
        }
    }

    async fn until_given_back(self) -> Result<(), DeadLetterError> {
        let in_hand = u32::try_from(self.taken - self.removed).unwrap_or(u32::MAX);
        if in_hand > 0 {
            let others = self.waiting().await?;
            const ALL: u64 = 0;
            self.channel.basic_nack(ALL, BasicNackOptions { multiple: true, requeue: true }).await?;
            // AMQP does not answer to that; who comes next must not see less than there is.
            while self.waiting().await? < others.saturating_add(in_hand) {
                sleep(GIVEN_BACK_PAUSE).await;
            }
        }
        self.channel.close(200, "done".into()).await?;
        Ok(self.connection.close(200, "done".into()).await?)
    }

    /// How many are in the queue and not in our hands.
    async fn waiting(&self) -> lapin::Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(self.queue.dead().into(), passive, FieldTable::default());
        Ok(declared.await?.message_count())
    }
}

/// Waits until no other process works on this queue's dead letters. The lock is a queue that belongs to one connection alone
/// and ends with it, however that ends. (Quorum queues do not keep to one exclusive consumer.)
async fn lock(connection: &Connection, queue: Queue) -> Result<Channel, DeadLetterError> {
    loop {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let name = format!("{}.lock", queue.dead());
        match channel.queue_declare(name.into(), options, FieldTable::default()).await {
            Ok(_) => return Ok(channel),
            Err(error) if is_held(&error) => sleep(LOCK_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_held(error: &lapin::Error) -> bool {
    /// Not found: it ends at this very moment.
    const HELD: [u16; 2] = [404, 405];
    matches!(error.kind(), ErrorKind::ProtocolError(error) if HELD.contains(&error.get_id()))
}

fn no_answer() -> DeadLetterError {
    DeadLetterError::Unavailable { reason: "RabbitMQ gives no answer".into() }
}

fn cancelled() -> DeadLetterError {
    DeadLetterError::Unavailable { reason: "the queue was deleted or has no leader".into() }
}
