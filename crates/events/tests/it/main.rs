//! Events through a real RabbitMQ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test")]

mod consume;
mod dead_letters;
mod dead_letters_in_hand;
mod dead_letters_lost;
mod drain;
mod helpers;
mod outages;
mod publish;
mod rate;
mod retries;
mod shared;
mod traces;
