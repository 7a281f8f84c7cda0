//! Tests the service as a process, with a real MailDev and with scripted SMTP servers.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod helpers;
mod invalid_requests;
mod misconfigured;
mod process;
mod scripted;
mod send;
mod slow;
mod smtp_errors;
mod templates;
mod tls;
