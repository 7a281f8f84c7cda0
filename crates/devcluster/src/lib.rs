#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod calls;
mod command;
mod crd;
mod kubectl;
mod processes;
mod sandbox;
mod settings;
mod stack;
mod until;

pub use calls::Calls;
pub use kubectl::Kubectl;
pub use processes::{Resident, of_container};
pub use sandbox::Sandbox;
pub use settings::Settings;
pub use stack::condition;
pub use until::until;
