//! Tests with a real RabbitMQ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers may panic")]

mod consume;
mod dead_letters;
mod dead_letters_moved;
mod deleted;
mod drain;
mod helpers;
mod outages;
mod publish;
mod rate;
mod retries;
mod shared;
mod traces;
