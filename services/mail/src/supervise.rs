//! What `/status` says of the SMTP server. It is not mail's store: readiness does not depend on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::status::{StatusBoard, StoreStatus};

use crate::smtp::{Smtp, SmtpError};

/// The server's name on `/status`.
pub const STORE: &str = "smtp";

const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Keeps `/status`: looks once at the start, and again after trouble until all is well.
#[derive(Debug, Clone)]
pub struct Watch {
    board: StatusBoard,
    trouble: Arc<Notify>,
}

impl Watch {
    /// Writes to this board.
    pub fn new(board: StatusBoard) -> Self {
        let status = StoreStatus { message: Some("not looked at yet".to_owned()), ..StoreStatus::default() };
        board.set(STORE, status);
        Self { board, trouble: Arc::default() }
    }

    /// Notes what an exchange has told of the server.
    pub fn saw(&self, error: Option<&SmtpError>) {
        let (reachable, authenticated) = match error {
            // What it says of one mail says nothing of the server.
            None | Some(SmtpError::Later(_) | SmtpError::Refused(_) | SmtpError::Unsupported(_)) => {
                (true, true)
            }
            Some(SmtpError::NotLetIn(_) | SmtpError::Unauthorized(_)) => (true, false),
            Some(SmtpError::Unreachable(_) | SmtpError::TimedOut(_)) => (false, false),
            // Nobody asked it.
            Some(SmtpError::Busy(_)) => return,
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
        loop {
            let outcome = smtp.check().await;
            self.saw(outcome.as_ref().err());
            if outcome.is_err() {
                sleep(LOOK_AGAIN).await;
            }
            if outcome.is_ok() {
                self.trouble.notified().await;
            }
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
}
