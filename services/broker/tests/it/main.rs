//! The broker as a process, with authentication and the logger served by the tests and a real RabbitMQ. What it does with the
//! real services is in `e2e/`.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod alone;
mod authentication;
mod bad_input;
mod browser;
mod callees;
mod dead_letters;
mod description;
mod events;
mod flood;
mod helpers;
mod letters;
mod limits;
mod logger;
mod people;
mod quotas;
mod rig;
mod routes;
mod sessions;
mod settings;
mod standing;
mod tokens;
mod traces;
mod writes;
