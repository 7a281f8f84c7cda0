//! A pool of channels for publishing, with one message in flight on each.
//!
//! lapin attaches a returned message to the next confirmation on its channel. With one message in flight, that confirmation is
//! the right one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use crate::link::Session;

/// A message to publish.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) exchange: &'static str,
    pub(crate) key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: &'a [u8],
}

/// Idle channels of the current connection.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    session: u64,
    channels: Vec<Channel>,
}

impl Lanes {
    /// Publishes a message and waits for its confirmation.
    ///
    /// # Cancellation
    /// Dropping the future closes the channel, so that a late confirmation is not attached to another message.
    pub(crate) async fn publish(
        &self,
        session: &Arc<Session>,
        message: &Message<'_>,
    ) -> lapin::Result<Confirmation> {
        let channel = match self.take(session.number) {
            Some(channel) => channel,
            None => {
                let channel = session.connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                channel
            }
        };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let Message { exchange, key, properties, body } = message;
        let sent =
            channel.basic_publish((*exchange).into(), key.clone(), options, body, properties.clone()).await?;
        let confirmation = sent.await?;
        self.put(session.number, channel);
        Ok(confirmation)
    }

    fn take(&self, session: u64) -> Option<Channel> {
        let mut idle = self.idle(session)?;
        while let Some(channel) = idle.channels.pop() {
            if channel.status().connected() {
                return Some(channel);
            }
        }
        None
    }

    fn put(&self, session: u64, channel: Channel) {
        if let Some(mut idle) = self.idle(session) {
            idle.channels.push(channel);
        }
    }

    /// The idle channels of `session`, or `None` if a later session has replaced it.
    fn idle(&self, session: u64) -> Option<MutexGuard<'_, Idle>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.session < session {
            *idle = Idle { session, channels: Vec::new() };
        }
        (idle.session == session).then_some(idle)
    }
}
