//! The SMTP server: connections that are kept for the next mail, and what went wrong with one.

mod connection;
mod error;
mod progress;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::config::SmtpConfig;
use crate::message::Outgoing;

use connection::Dialer;
pub use connection::SetupError;
pub use error::SmtpError;
pub use progress::Limits;
use progress::{Phase, Progress, bounded};

/// Servers end idle connections by themselves, some after a minute.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// A kept connection that takes longer to say that it is alive is replaced by a new one.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// What [`Smtp::check`] gives a server, which for a mail has more.
const CHECK_WITHIN: Duration = Duration::from_secs(30);
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

    /// Hands a mail to the server and returns its last reply. Calls `late` when the caller should not wait longer, although
    /// the server may still answer.
    ///
    /// # Errors
    /// When the server does not take it, now or ever, or does not say in time whether it does. Every error but
    /// [`SmtpError::Unknown`] means that the server does not have the mail.
    ///
    /// # Cancellation
    /// Closes the connection: the server then drops a mail that it does not have whole.
    pub async fn send(&self, mail: &Outgoing, limits: Limits, late: impl Fn()) -> Result<String, SmtpError> {
        let progress = Progress::new();
        let exchange = async {
            let _slot = self.slot().await;
            let mut connection = self.connection(&progress).await?;
            let reply = connection::deliver(&mut connection, mail, &progress).await?;
            self.keep(connection);
            Ok(reply)
        };
        bounded(exchange, &progress, &self.config().timeouts, limits, late).await
    }

    /// Connects and signs in.
    ///
    /// # Errors
    /// When that can't be done now.
    pub async fn check(&self) -> Result<(), SmtpError> {
        let progress = Progress::new();
        let exchange = async {
            let _slot = self.slot().await;
            let connection = self.connection(&progress).await?;
            self.keep(connection);
            Ok(())
        };
        bounded(exchange, &progress, &self.config().timeouts, Limits::within(CHECK_WITHIN), || {}).await
    }

    /// Ends the connections that nobody uses.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for mut idle in idle {
            // The server's answer changes nothing.
            let _ = timeout(QUIT_WITHIN, idle.connection.quit()).await;
        }
    }

    /// One of the connections that may be open at once.
    async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // An error means that the semaphore is closed, which it never is.
        self.0.slots.acquire().await.ok()
    }

    /// One that was kept and still answers, or a new one.
    async fn connection(&self, progress: &Progress) -> Result<AsyncSmtpConnection, SmtpError> {
        loop {
            progress.enter(Phase::Connect);
            let kept = self.idle().pop();
            let Some(Idle { mut connection, since }) = kept else {
                return self.0.dialer.open(progress).await;
            };
            let alive = since.elapsed() < KEPT_FOR
                && timeout(ALIVE_WITHIN, connection.test_connected()).await.unwrap_or(false);
            if alive {
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
