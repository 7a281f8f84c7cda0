#![doc = include_str!("../README.md")]

mod bare;
mod cluster;
mod cpu;
mod figure;
mod figures;
mod load;
mod operator;
mod report;

pub use figure::{Figure, Goal};
pub use figures::{Group, Name, Setup, measure};
pub use report::{print, write};
