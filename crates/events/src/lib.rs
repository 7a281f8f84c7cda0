#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod amqp;
mod consumer;
mod consumers;
mod dead_letters;
mod decode;
mod event;
#[cfg(test)]
mod fuzz;
mod handler;
mod headers;
mod lane;
mod link;
mod metrics;
mod publisher;
mod republish;
mod retry;
mod spans;
pub mod topology;
mod version;

pub use amqp::Amqp;
pub use consumer::{Consumer, ConsumerOptions, ConsumerStatus};
pub use consumers::Consumers;
pub use dead_letters::{DeadLetter, DeadLetterMover, LetterStore, LetterStoreError};
pub use event::{Event, Received};
pub use handler::{Handler, Handlers, Outcome};
pub use metrics::EventMetrics;
pub use publisher::{PublishError, Publisher};
pub use topology::{Queue, UnknownQueue};

/// Maximum body size of published and handled events.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
