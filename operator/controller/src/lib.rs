#![doc = include_str!("../README.md")]

pub mod cache;
pub mod context;
pub mod controller;
pub mod crd;
pub mod installation;
pub mod ledger;
pub mod metrics;
pub mod names;
pub mod reconcile;
pub mod run;
pub mod view;

pub use run::run;
