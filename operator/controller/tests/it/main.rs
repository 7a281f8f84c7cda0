//! The operator's tests: what a Stack becomes (pure), the whole controller against an API server in memory, the chart.

mod build;
mod chart;
mod fake;
mod harness;
mod heal;
mod refuse;
mod stable;
mod stores;
