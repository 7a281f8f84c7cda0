//! From the moment at which an event was due at the broker to the end of the insert that stored its entry.
//!
//! The end is read from outside: the insert's CLIENT span, which the logger closes when the store has answered, by the trace id
//! in the broker's reply. Every event must have one.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use weft_devcluster::until;
use weft_devstack::{DevStack, Options};
use weft_runtime::clock::{Clock as _, SystemClock};

use super::{complaints, load, p99_ms};
use crate::figure::Measured;
use crate::load::{Sample, fixed_rate};

const BODY: &str = r#"{"action":"event","event":{"name":"bench","data":"an event of the usual length, some sixty characters or so"}}"#;
const PER_SECOND: u32 = 200;
const WARM_UP: u32 = 400;
const COUNT: u32 = 3_000;
const SPANS_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn measure() -> Result<Measured> {
    let stack = DevStack::start(Options::default()).await?;
    let load = load(&stack, BODY);
    fixed_rate(&load, PER_SECOND, WARM_UP).await?;
    let both_clocks = (Instant::now(), SystemClock.now());
    let samples = fixed_rate(&load, PER_SECOND, COUNT).await?;
    let jaeger = stack.jaeger_url().context("the stack has no Jaeger")?;
    let ends = insert_ends(&jaeger, &samples).await?;
    let latencies: Result<Vec<Duration>> =
        samples.iter().map(|sample| stored_after(sample, both_clocks, &ends)).collect();
    let mut measured = p99_ms(latencies?.into_iter())?;
    let accepted = p99_ms(samples.iter().map(|sample| sample.latency))?;
    measured.notes.push(format!(
        "at {PER_SECOND}/s, with every trace kept; the broker's 202: p99 {:.1} ms",
        accepted.value
    ));
    measured.notes.extend(complaints(&stack));
    Ok(measured)
}

fn stored_after(
    sample: &Sample,
    clocks: (Instant, Timestamp),
    ends: &HashMap<String, i128>,
) -> Result<Duration> {
    let due = clocks.1.as_nanosecond() + i128::try_from(sample.due.duration_since(clocks.0).as_nanos())?;
    let trace = sample.trace.as_ref().context("a reply without traceresponse")?;
    let end = ends.get(trace).with_context(|| format!("trace {trace} has no insert"))?;
    let took = u64::try_from(end - due).with_context(|| format!("trace {trace} ends before it begins"))?;
    Ok(Duration::from_nanos(took))
}

/// When the insert of each trace ended, in nanoseconds since 1970.
async fn insert_ends(jaeger: &str, samples: &[Sample]) -> Result<HashMap<String, i128>> {
    let http = reqwest::Client::new();
    let mut ends = HashMap::new();
    for trace in samples.iter().filter_map(|sample| sample.trace.as_ref()) {
        let url = format!("{jaeger}/api/v3/traces/{trace}");
        let end = until("the span of an insert", SPANS_WITHIN, async || {
            let answer = http.get(&url).send().await?;
            ensure!(answer.status().is_success(), "Jaeger answered {} for trace {trace}", answer.status());
            insert_end(&answer.json().await?).with_context(|| format!("trace {trace} has none"))
        });
        ends.insert(trace.clone(), end.await?);
    }
    Ok(ends)
}

fn insert_end(answer: &Value) -> Option<i128> {
    let spans = answer["result"]["resourceSpans"].as_array()?.iter();
    let spans = spans.flat_map(|resource| resource["scopeSpans"].as_array().into_iter().flatten());
    let mut spans = spans.flat_map(|scope| scope["spans"].as_array().into_iter().flatten());
    let is_insert =
        |pair: &Value| pair["key"] == "db.operation.name" && pair["value"]["stringValue"] == "insert";
    let insert =
        spans.find(|span| span["attributes"].as_array().is_some_and(|all| all.iter().any(is_insert)))?;
    insert["endTimeUnixNano"].as_str()?.parse().ok()
}
