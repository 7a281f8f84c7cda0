//! What `/status` says of the SMTP server. It is not mail's store: readiness does not depend on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::status::{StatusBoard, StoreStatus};

use crate::smtp::{Smtp, SmtpError};

/// The server's name on `/status`.
pub const STORE: &str = "smtp";

const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A server that refuses a login counts how often: some lock the account.
const LOOK_AGAIN_REFUSED: Duration = Duration::from_secs(60);

/// Keeps `/status`: looks once at the start, and again after trouble until all is well.
#[derive(Debug, Clone)]
pub struct Watch {
    board: StatusBoard,
    trouble: Arc<Notify>,
    /// The server lets us in and takes no mail from this service; only a mail can find out that this is over.
    misconfigured: Arc<AtomicBool>,
}

impl Watch {
    /// Writes to this board.
    pub fn new(board: StatusBoard) -> Self {
        let status = StoreStatus { message: Some("not looked at yet".to_owned()), ..StoreStatus::default() };
        board.set(STORE, status);
        Self { board, trouble: Arc::default(), misconfigured: Arc::default() }
    }

    /// Notes what the exchange of a mail has told of the server.
    pub fn saw(&self, error: Option<&SmtpError>) {
        let misconfigured = matches!(error, Some(SmtpError::Misconfigured(_)));
        let accepted = matches!(error, None | Some(SmtpError::Refused(_)));
        if misconfigured || accepted {
            self.misconfigured.store(misconfigured, Ordering::Relaxed);
        }
        self.note(error);
    }

    /// Notes what an exchange without a mail has told of the server.
    fn checked(&self, error: Option<&SmtpError>) {
        if error.is_some() || !self.misconfigured.load(Ordering::Relaxed) {
            self.note(error);
        }
    }

    fn note(&self, error: Option<&SmtpError>) {
        let (reachable, authenticated) = match error {
            // What it says of one mail says nothing of the server.
            None | Some(SmtpError::Later(_) | SmtpError::Refused(_) | SmtpError::Unsupported(_)) => {
                (true, true)
            }
            Some(SmtpError::NotLetIn(_) | SmtpError::Unauthorized(_) | SmtpError::Misconfigured(_)) => {
                (true, false)
            }
            Some(SmtpError::Unreachable(_) | SmtpError::TimedOut(_)) => (false, false),
            // Nobody asked it.
            Some(SmtpError::Busy(_)) => return,
            // It was there until then.
            Some(SmtpError::Unknown(_)) => {
                self.trouble.notify_one();
                return;
            }
        };
        let well = reachable && authenticated;
        let message = error.filter(|_| !well).map(ToString::to_string);
        // There is nothing to migrate, and SMTP tells no version.
        let status = StoreStatus { reachable, authenticated, migrated: true, version: None, message };
        self.board.update(STORE, |before| {
            if before.message != status.message {
                match &status.message {
                    None => tracing::info!("the SMTP server takes mails"),
                    Some(reason) => tracing::warn!(reason, "the SMTP server takes no mails"),
                }
            }
            *before = status;
        });
        if !well {
            self.trouble.notify_one();
        }
    }

    /// Runs until shutdown is requested.
    pub async fn run(self, smtp: Smtp, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.requested() => {}
            never = self.look(smtp) => match never {},
        }
    }

    async fn look(&self, smtp: Smtp) -> std::convert::Infallible {
        let mut pause = LOOK_AGAIN;
        loop {
            let outcome = smtp.check().await;
            self.checked(outcome.as_ref().err());
            pause = match outcome {
                Ok(()) => {
                    self.trouble.notified().await;
                    LOOK_AGAIN
                }
                Err(SmtpError::NotLetIn(_) | SmtpError::Unauthorized(_)) => {
                    sleep(pause).await;
                    (2 * pause).min(LOOK_AGAIN_REFUSED)
                }
                Err(_) => {
                    sleep(LOOK_AGAIN).await;
                    LOOK_AGAIN
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(error: Option<SmtpError>) -> (bool, bool, Option<String>) {
        let board = StatusBoard::default();
        Watch::new(board.clone()).saw(error.as_ref());
        let status = board.all().remove(STORE).unwrap();
        (status.reachable, status.authenticated, status.message)
    }

    #[test]
    fn what_a_server_says_of_one_mail_says_nothing_of_the_server() {
        assert_eq!(seen(None), (true, true, None));
        assert_eq!(seen(Some(SmtpError::Refused("550 no such user".into()))), (true, true, None));
        assert_eq!(seen(Some(SmtpError::Later("451 later".into()))), (true, true, None));
        let (reachable, authenticated, message) = seen(Some(SmtpError::Unauthorized("535 no".into())));
        assert!(reachable && !authenticated && message.unwrap().contains("535 no"));
        assert!(!seen(Some(SmtpError::Unreachable("refused".into()))).0);
    }

    #[test]
    fn a_sender_that_is_refused_is_said_until_a_mail_is_accepted() {
        let board = StatusBoard::default();
        let watch = Watch::new(board.clone());
        let message = || board.all().remove(STORE).and_then(|status| status.message);
        watch.saw(Some(&SmtpError::Misconfigured("553 5.7.1 not your address".into())));
        let said = message().unwrap();
        assert!(said.contains("553 5.7.1 not your address") && said.contains("FROM_ADDRESS"), "{said}");
        // Connecting and signing in still works, and another mail is not looked at yet.
        watch.checked(None);
        watch.saw(Some(&SmtpError::Busy(Duration::ZERO)));
        assert_eq!(message(), Some(said));
        watch.checked(Some(&SmtpError::Unreachable("refused".into())));
        assert!(message().unwrap().contains("can't be reached"));
        watch.saw(None);
        watch.checked(None);
        assert_eq!(message(), None);
    }
}
