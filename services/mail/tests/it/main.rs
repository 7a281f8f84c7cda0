//! Mail as a process, against a real MailDev and against servers that misbehave.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod configured;
mod errors;
mod helpers;
mod process;
mod scripted;
mod send;
mod slow;
mod templates;
mod tls;
mod trouble;
