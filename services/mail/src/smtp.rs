//! Client of the SMTP server, with a pool of connections.

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

/// How long an idle connection is kept. Servers close idle connections, some after a minute.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// An idle connection that takes longer to answer NOOP is replaced by a new one.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// Timeout of [`Smtp::check`].
const CHECK_WITHIN: Duration = Duration::from_secs(30);
const QUIT_WITHIN: Duration = Duration::from_secs(1);

/// Sends mails. Clones share the pool.
///
/// Uses connections of lettre, but not its pool: that takes back a connection whose exchange was dropped before its end, and would
/// read the late reply to one mail as the reply to the next. This pool closes a connection whose exchange did not finish.
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
    /// Does not connect; the first mail or check does.
    ///
    /// # Errors
    /// When the host is not a valid name for TLS, or the system has no root certificates.
    pub fn new(config: SmtpConfig, hello: String) -> Result<Self, SetupError> {
        let slots = Semaphore::new(config.connections);
        let dialer = Dialer::new(config, hello)?;
        Ok(Self(Arc::new(Inner { dialer, slots, idle: Mutex::default() })))
    }

    /// The settings of the server.
    pub fn config(&self) -> &SmtpConfig {
        self.0.dialer.config()
    }

    /// Sends a mail and returns the server's last reply. Calls `late` when the caller should not wait longer, although the server
    /// may still answer.
    ///
    /// # Errors
    /// When the server does not accept the mail, or does not answer in time. Every error except [`SmtpError::Unknown`] means that
    /// the server does not have the mail.
    ///
    /// # Cancellation
    /// Closes the connection. The server then drops an incomplete mail.
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
    /// When one of them fails.
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

    /// Closes idle connections.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for mut idle in idle {
            // The connection is dropped anyway.
            let _ = timeout(QUIT_WITHIN, idle.connection.quit()).await;
        }
    }

    /// Waits for one of `MAIL_CONNECTIONS` slots.
    async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // Fails only when the semaphore is closed, which never happens.
        self.0.slots.acquire().await.ok()
    }

    /// Returns an idle connection that still answers, or a new one.
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
