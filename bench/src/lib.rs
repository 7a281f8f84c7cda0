#![doc = include_str!("../README.md")]

mod bare;
mod cluster;
mod cpu;
mod figure;
mod figures;
mod load;
mod report;

pub use figure::{Figure, Goal};
pub use figures::{Name, Setup, measure};
pub use report::{print, write};
