//! The SMTP server: connections that are kept for the next mail, and what went wrong with one.

mod connection;
mod error;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use weft_mesh::Deadline;

use crate::config::SmtpConfig;
use crate::message::Outgoing;

use connection::Dialer;
pub use connection::SetupError;
pub use error::SmtpError;

/// Servers end idle connections by themselves, some after a minute.
const KEPT_FOR: Duration = Duration::from_secs(30);
const QUIT_WITHIN: Duration = Duration::from_secs(1);

/// Sends mails. Clones share the connections.
///
/// The connections are lettre's, their keeping is not: lettre's own pool takes back a connection whose exchange was
/// dropped half way, and would read the late reply to one mail as the reply to the next. Here a connection that did not
/// finish is closed.
#[derive(Clone)]
pub struct Smtp(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    slots: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Smtp").field(self.config()).finish()
    }
}

impl Smtp {
    /// Connects when there is a mail to send, not before.
    ///
    /// # Errors
    /// When the host can't be one that TLS knows, or no roots of trust are there.
    pub fn new(config: SmtpConfig, hello: String) -> Result<Self, SetupError> {
        let slots = Semaphore::new(config.connections);
        let dialer = Dialer::new(config, hello)?;
        Ok(Self(Arc::new(Inner { dialer, slots, idle: Mutex::default() })))
    }

    /// The server.
    pub fn config(&self) -> &SmtpConfig {
        self.0.dialer.config()
    }

    /// Hands a mail to the server and returns its last reply.
    ///
    /// # Errors
    /// When the server does not take it, now or ever; or the call's deadline or `MAIL_SMTP_TIMEOUT` passes, and then the
    /// server may have taken it all the same.
    ///
    /// # Cancellation
    /// Closes the connection: the server then drops a mail that it does not have whole.
    pub async fn send(&self, mail: &Outgoing) -> Result<String, SmtpError> {
        self.in_time(async {
            let mut connection = self.connection().await?;
            let reply = connection::deliver(&mut connection, mail).await?;
            self.keep(connection);
            Ok(reply)
        })
        .await
    }

    /// Connects and signs in.
    ///
    /// # Errors
    /// When that can't be done now.
    pub async fn check(&self) -> Result<(), SmtpError> {
        self.in_time(async {
            let connection = self.connection().await?;
            self.keep(connection);
            Ok(())
        })
        .await
    }

    /// Ends the connections that nobody uses.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for mut idle in idle {
            // The server's answer changes nothing.
            let _ = timeout(QUIT_WITHIN, idle.connection.quit()).await;
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, SmtpError>>) -> Result<T, SmtpError> {
        let started = Instant::now();
        let deadline = Deadline::within(self.config().timeout).instant();
        let within = deadline.saturating_duration_since(started);
        let with_slot = async {
            let slot = timeout_at(deadline, self.0.slots.acquire()).await;
            let Ok(Ok(_slot)) = slot else { return Err(SmtpError::Busy(within)) };
            timeout_at(deadline, work).await.unwrap_or(Err(SmtpError::TimedOut(within)))
        };
        with_slot.await
    }

    /// One that was kept and still answers, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        loop {
            let kept = self.idle().pop();
            let Some(Idle { mut connection, since }) = kept else { return self.0.dialer.open().await };
            if since.elapsed() < KEPT_FOR && connection.test_connected().await {
                return Ok(connection);
            }
        }
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        self.idle().push(Idle { connection, since: Instant::now() });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
