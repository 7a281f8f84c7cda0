//! What a service does with an event, and what became of it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::Received;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its effect is stored.
    Done,
    /// It failed and may work later.
    Retry(String),
    /// What it needs can't be reached, or gave no answer in time.
    Unavailable(String),
    /// It may have had its effect or not, and a repeat may have that effect a second time.
    Unknown(String),
    /// It can never work.
    Rejected(String),
}

/// Handles events. The same event may come twice.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event; returns only when its effect is stored or has failed.
    ///
    /// # Cancellation
    /// Dropped when it takes longer than the consumer waits, and when the process is cut.
    async fn handle(&self, event: &Received) -> Outcome;
}

/// Chooses the handler by the event's type.
#[derive(Clone, Default)]
pub struct Handlers(Vec<(&'static str, Arc<dyn Handler>)>);

impl Handlers {
    /// Adds a handler for the types that match, as in a topic binding: words between dots, `*` for any one word.
    #[must_use]
    pub fn on(mut self, pattern: &'static str, handler: impl Handler) -> Self {
        self.0.push((pattern, Arc::new(handler)));
        self
    }

    fn find(&self, kind: &str) -> Option<&dyn Handler> {
        self.0.iter().find(|(pattern, _)| matches(pattern, kind)).map(|(_, handler)| handler.as_ref())
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(pattern, _)| pattern)).finish()
    }
}

#[async_trait]
impl Handler for Handlers {
    async fn handle(&self, event: &Received) -> Outcome {
        match self.find(&event.kind) {
            Some(handler) => handler.handle(event).await,
            None => {
                Outcome::Rejected(format!("no handler for the type `{}`: known are {self:?}", event.kind))
            }
        }
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    let (pattern, kind): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), kind.split('.').collect());
    pattern.len() == kind.len()
        && pattern.iter().zip(&kind).all(|(wanted, word)| *wanted == "*" || wanted == word)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_one_word() {
        assert!(matches("log.*", "log.INFO"));
        assert!(matches("mail.send", "mail.send"));
        for other in ["log", "log.INFO.x", "logs.INFO", "mail.send"] {
            assert!(!matches("log.*", other), "{other}");
        }
    }
}
