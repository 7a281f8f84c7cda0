//! Keeps the SMTP server's entry in `/status`. Readiness does not depend on the SMTP server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::status::{StatusBoard, StoreStatus};

use crate::smtp::{Smtp, SmtpError};

/// Name of the entry in `/status`.
pub const STORE: &str = "smtp";

const CHECK_AGAIN: Duration = Duration::from_secs(2);
/// Upper bound of the back-off after a refused login, because some servers lock an account after several.
const CHECK_AGAIN_REFUSED: Duration = Duration::from_secs(60);

/// Updates `/status`. Checks the server at start, and after an error until a check succeeds.
#[derive(Debug, Clone)]
pub struct Watch {
    board: StatusBoard,
    failed: Arc<Notify>,
    /// The server accepts sessions but no mail from this service. Only a mail can show that this has changed.
    misconfigured: Arc<AtomicBool>,
}

impl Watch {
    /// Creates the entry.
    pub fn new(board: StatusBoard) -> Self {
        let status = StoreStatus { message: Some("not checked yet".to_owned()), ..StoreStatus::default() };
        board.set(STORE, status);
        Self { board, failed: Arc::default(), misconfigured: Arc::default() }
    }

    /// Records the outcome of sending a mail.
    pub fn mail_outcome(&self, error: Option<&SmtpError>) {
        let misconfigured = matches!(error, Some(SmtpError::Misconfigured(_)));
        let accepted = matches!(error, None | Some(SmtpError::Refused(_)));
        if misconfigured || accepted {
            self.misconfigured.store(misconfigured, Ordering::Relaxed);
        }
        self.note(error);
    }

    /// Records the outcome of a check.
    fn check_outcome(&self, error: Option<&SmtpError>) {
        if error.is_some() || !self.misconfigured.load(Ordering::Relaxed) {
            self.note(error);
        }
    }

    fn note(&self, error: Option<&SmtpError>) {
        let (reachable, authenticated) = match error {
            // Replies about one mail, not about the server.
            None | Some(SmtpError::Later(_) | SmtpError::Refused(_) | SmtpError::Unsupported(_)) => {
                (true, true)
            }
            Some(SmtpError::SessionRefused(_) | SmtpError::Unauthorized(_) | SmtpError::Misconfigured(_)) => {
                (true, false)
            }
            Some(SmtpError::Unreachable(_) | SmtpError::TimedOut(_)) => (false, false),
            // The server was not asked.
            Some(SmtpError::Busy(_)) => return,
            // The server was reachable until then, so check again.
            Some(SmtpError::Unknown(_)) => {
                self.failed.notify_one();
                return;
            }
        };
        let usable = reachable && authenticated;
        let message = error.filter(|_| !usable).map(ToString::to_string);
        // SMTP has no migrations and no version.
        let status = StoreStatus { reachable, authenticated, migrated: true, version: None, message };
        self.board.update(STORE, |before| {
            if before.message != status.message {
                match &status.message {
                    None => tracing::info!("SMTP server accepts mails"),
                    Some(reason) => tracing::warn!(reason, "SMTP server does not accept mails"),
                }
            }
            *before = status;
        });
        if !usable {
            self.failed.notify_one();
        }
    }

    /// Runs until shutdown is requested.
    pub async fn run(self, smtp: Smtp, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.requested() => {}
            never = self.check(smtp) => match never {},
        }
    }

    async fn check(&self, smtp: Smtp) -> std::convert::Infallible {
        let mut pause = CHECK_AGAIN;
        loop {
            let outcome = smtp.check().await;
            self.check_outcome(outcome.as_ref().err());
            pause = match outcome {
                Ok(()) => {
                    self.failed.notified().await;
                    CHECK_AGAIN
                }
                Err(SmtpError::SessionRefused(_) | SmtpError::Unauthorized(_)) => {
                    sleep(pause).await;
                    (2 * pause).min(CHECK_AGAIN_REFUSED)
                }
                Err(_) => {
                    sleep(CHECK_AGAIN).await;
                    CHECK_AGAIN
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_after(error: Option<SmtpError>) -> (bool, bool, Option<String>) {
        let board = StatusBoard::default();
        Watch::new(board.clone()).mail_outcome(error.as_ref());
        let status = board.all().remove(STORE).unwrap();
        (status.reachable, status.authenticated, status.message)
    }

    #[test]
    fn replies_about_one_mail_do_not_change_the_status() {
        assert_eq!(status_after(None), (true, true, None));
        assert_eq!(status_after(Some(SmtpError::Refused("550 no such user".into()))), (true, true, None));
        assert_eq!(status_after(Some(SmtpError::Later("451 later".into()))), (true, true, None));
        let (reachable, authenticated, message) =
            status_after(Some(SmtpError::Unauthorized("535 no".into())));
        assert!(reachable && !authenticated && message.unwrap().contains("535 no"));
        assert!(!status_after(Some(SmtpError::Unreachable("refused".into()))).0);
    }

    #[test]
    fn a_refused_sender_is_shown_until_a_mail_is_accepted() {
        let board = StatusBoard::default();
        let watch = Watch::new(board.clone());
        let message = || board.all().remove(STORE).and_then(|status| status.message);
        watch.mail_outcome(Some(&SmtpError::Misconfigured("553 5.7.1 not your address".into())));
        let refused = message().unwrap();
        assert!(
            refused.contains("553 5.7.1 not your address") && refused.contains("FROM_ADDRESS"),
            "{refused}"
        );
        // A successful check and a mail that was not tried do not clear it.
        watch.check_outcome(None);
        watch.mail_outcome(Some(&SmtpError::Busy(Duration::ZERO)));
        assert_eq!(message(), Some(refused));
        watch.check_outcome(Some(&SmtpError::Unreachable("refused".into())));
        assert!(message().unwrap().contains("can't be reached"));
        watch.mail_outcome(None);
        watch.check_outcome(None);
        assert_eq!(message(), None);
    }
}
