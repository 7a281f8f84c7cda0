//! The listener between a real RabbitMQ and a real logger.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test")]

mod helpers;
mod kills;
mod process;
mod road;
