#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod broker;
mod calls;
mod flow;
mod jaeger;
mod mailbox;
pub mod people;
pub mod raw;
pub mod road;
mod seed;
mod trace;

pub use broker::{Broker, Reply};
pub use calls::calls;
pub use flow::{Flow, Outcome, Route};
pub use jaeger::Jaeger;
pub use mailbox::Mailbox;
pub use people::People;
pub use seed::seeded;
pub use trace::{Kind, Span, Trace};
pub use weft_devcluster::until;
