//! Runs the broker as a process, with fakes of authentication and the logger in the test process, and a real RabbitMQ. Tests with the real
//! services are in `e2e/`.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

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
