//! The operator's tests: what a Stack becomes (pure), the whole controller against an API server in memory, the chart.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails its test")]

mod build;
mod calls;
mod chart;
mod fake;
mod faults;
mod fixtures;
mod harness;
mod heal;
mod keep;
mod leader;
mod life;
mod modes;
mod monitoring;
mod people;
mod reach;
mod readers;
mod real;
mod refuse;
mod rights;
mod roles;
mod rotate;
mod samples;
mod schema;
mod skaffold;
mod smoke;
mod stable;
mod stores;
mod switch;
mod traces;
mod trust;
mod world;
