#![doc = include_str!("../README.md")]

pub mod cache;
pub mod client;
pub mod context;
pub mod controller;
pub mod crd;
pub mod installation;
pub mod leader;
pub mod ledger;
pub mod metrics;
pub mod names;
mod plain_http;
pub mod reconcile;
pub mod run;
pub mod smoke;
pub mod view;

pub use run::run;
