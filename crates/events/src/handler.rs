//! Event handlers and their outcomes.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::Received;

/// Result of handling an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is stored.
    Done,
    /// Failed; a later attempt may succeed.
    Retry(String),
    /// A dependency is unreachable or timed out.
    Unavailable(String),
    /// The effect may or may not have happened, and a repeat may cause it a second time.
    Unknown(String),
    /// Can never succeed.
    Rejected(String),
}

/// Handles events. The same event may be delivered twice.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event. Returns when its effect is stored or has failed.
    ///
    /// # Cancellation
    /// The future is dropped after [`ConsumerOptions::handle_within`](crate::ConsumerOptions::handle_within), and when the shutdown is
    /// cut.
    async fn handle(&self, event: &Received) -> Outcome;
}

/// Dispatches by event type.
#[derive(Clone, Default)]
pub struct Handlers(Vec<(&'static str, Arc<dyn Handler>)>);

impl Handlers {
    /// Adds a handler for the types that match `pattern`. As in a topic binding: words separated by dots, `*` for exactly one word.
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
            None => Outcome::Rejected(format!(
                "no handler for event type `{}`; known types: {self:?}",
                event.kind
            )),
        }
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    let (pattern, kind): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), kind.split('.').collect());
    pattern.len() == kind.len()
        && pattern.iter().zip(&kind).all(|(expected, word)| *expected == "*" || expected == word)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_matches_one_word() {
        assert!(matches("log.*", "log.INFO"));
        assert!(matches("mail.send", "mail.send"));
        for other in ["log", "log.INFO.x", "logs.INFO", "mail.send"] {
            assert!(!matches("log.*", other), "{other}");
        }
    }
}
