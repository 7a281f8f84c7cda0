//! Tests with a real RabbitMQ, logger and mail service.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers may panic")]

mod credentials;
mod entries;
mod helpers;
mod kills;
mod letters;
mod mails;
mod original;
mod process;
