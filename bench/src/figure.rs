//! One measured figure and what it is to be.

use anyhow::Result;
use serde::Serialize;

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// A figure of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// What was measured; nothing when it could not be.
    pub value: Option<f64>,
    /// The unit of value and goal.
    pub unit: &'static str,
    /// The number that it is held against.
    pub goal: f64,
    /// Whether it holds.
    pub met: bool,
    /// What a reader has to know: how it came about, what distorts it, why it is missing.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// Whether the goal is an upper bound.
    #[serde(skip)]
    pub at_most: bool,
}

/// What was measured, and what there is to say about it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) notes: Vec<String>,
}

impl Figure {
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        goal: Goal,
        measured: Result<Measured>,
    ) -> Self {
        let (at_most, bound) = match goal {
            Goal::AtMost(bound) => (true, bound),
            Goal::AtLeast(bound) => (false, bound),
        };
        let (value, notes) = match measured {
            Ok(Measured { value, notes }) => (Some((value * 1_000.0).round() / 1_000.0), notes),
            Err(reason) => (None, vec![format!("not measured: {reason:#}")]),
        };
        let met = value.is_some_and(|value| if at_most { value <= bound } else { value >= bound });
        Self { name: name.into(), value, unit, goal: bound, met, notes, at_most }
    }
}
