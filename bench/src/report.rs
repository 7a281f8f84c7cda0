//! The table and the file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::figure::Figure;

/// Prints the table, then the notes.
pub fn print(figures: &[Figure]) {
    println!("{:<18} {:>12} {:<5} {:>12}  met", "figure", "value", "unit", "goal");
    for Figure { name, value, unit, goal, met, at_most, .. } in figures {
        let value = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        let goal = format!("{} {goal}", if *at_most { "<=" } else { ">=" });
        println!("{name:<18} {value:>12} {unit:<5} {goal:>12}  {}", if *met { "yes" } else { "NO" });
    }
    for figure in figures {
        for note in &figure.notes {
            println!("{}: {note}", figure.name);
        }
    }
}

/// Writes the report.
///
/// # Errors
/// When the file can't be written.
pub fn write(figures: &[Figure]) -> Result<()> {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/report.json");
    let file = env::var_os("WEFT_BENCH_REPORT").map_or_else(here, PathBuf::from);
    let failed = || format!("failed to write the report {}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(&file, text).with_context(failed)
}
