//! `weft-bench`: measures, prints a table, writes the report.

use anyhow::Result;
use clap::{Parser, ValueEnum as _};
use weft_bench::{Group, Name, Setup, measure, print, write};

/// Measures the figures that the project promises.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The figures; all of them when none is named.
    figures: Vec<Name>,
    /// Only the figures of this group.
    #[arg(long)]
    group: Option<Group>,
    /// How many Stacks the operator is measured with, such as 100,300,1000.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 1_000])]
    stacks: Vec<usize>,
    /// The share of traces that is kept while it measures the rate and the latency of log calls, 0 to 1.
    #[arg(long, default_value_t = 1.0)]
    trace_ratio: f64,
    /// How many calls `pool_drops` drops half way.
    #[arg(long, default_value_t = 1_000_000)]
    drops: u32,
    /// Measures the rate and the latency of log calls without spans.
    #[arg(long)]
    no_traces: bool,
}

// One thread: the load generator shares its cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let all = args.figures.is_empty() && args.group.is_none();
    let named = if args.figures.is_empty() { Name::value_variants().to_vec() } else { args.figures };
    let wanted: Vec<Name> =
        named.into_iter().filter(|name| args.group.is_none_or(|group| name.group() == group)).collect();
    let setup = Setup {
        traces: !args.no_traces,
        trace_ratio: args.trace_ratio,
        stacks: args.stacks,
        drops: args.drops,
    };
    let figures = measure(&wanted, &setup).await;
    print(&figures);
    if all {
        write(&figures)?;
    }
    Ok(())
}
