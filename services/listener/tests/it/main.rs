//! The listener between a real RabbitMQ, a real logger and a real mail.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test")]

mod credentials;
mod helpers;
mod kills;
mod letters;
mod mails;
mod original;
mod process;
mod road;
