//! What many Stacks cost the operator; the same with fewer, to show how the cost grows.

use super::Name;
use crate::figure::{Figure, Goal, Measured};
use crate::operator::{Operators, Run};

/// What it is called with so many Stacks.
type Label = fn(usize) -> String;

fn promise(name: Name) -> Option<(&'static str, Goal, Label)> {
    Some(match name {
        Name::OperatorRss1000 => ("MiB", Goal::AtMost(64.0), |stacks| format!("operator_rss_{stacks}")),
        Name::Converge1000 => ("s", Goal::AtMost(180.0), |stacks| format!("converge_{stacks}")),
        Name::EditP99 => ("ms", Goal::AtMost(250.0), |stacks| among("edit_p99", stacks)),
        Name::IdleCpu => ("% core", Goal::AtMost(1.0), |stacks| among("idle_cpu", stacks)),
        Name::RestartConverged => ("s", Goal::AtMost(15.0), |stacks| among("restart_converged", stacks)),
        _ => return None,
    })
}

/// The figure is that of a thousand.
fn among(name: &str, stacks: usize) -> String {
    if stacks == 1_000 { name.to_owned() } else { format!("{name}_{stacks}") }
}

fn of(name: Name, run: &Run) -> Option<Measured> {
    let (value, note) = match name {
        Name::OperatorRss1000 => (run.rss_mib, &run.rss_note),
        Name::Converge1000 => (run.converge_s, &run.converge_note),
        Name::EditP99 => (run.edit_p99_ms, &run.edit_note),
        Name::IdleCpu => (run.idle_percent, &run.idle_note),
        Name::RestartConverged => (run.restart_s, &run.restart_note),
        _ => return None,
    };
    Some(Measured { value, notes: vec![note.clone()] })
}

pub(super) async fn measure(name: Name, operators: &mut Operators) -> Vec<Figure> {
    let Some((unit, goal, label)) = promise(name) else { return Vec::new() };
    let mut figures = Vec::new();
    for stacks in operators.sizes.clone() {
        let measured = operators.run(stacks).await.and_then(|run| {
            of(name, run).ok_or_else(|| anyhow::anyhow!("it is no figure of the operator's"))
        });
        figures.push(Figure::new(label(stacks), unit, goal, measured));
    }
    figures
}
