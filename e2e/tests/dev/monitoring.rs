//! Checks that the metrics in the chart's dashboards and alerts exist at `/metrics` of the services. Those of the operator are
//! checked in its own tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use weft_e2e::{road, until};

use crate::helpers::{broker, jaeger, shared};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/weft").join(folder);
    fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

/// Finds metric names in an expression. Skips text in quotes and braces, which are label matchers.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let mut depth = 0;
    for character in expression.chars() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            other if depth == 0 => plain.push(other),
            _ => {}
        }
    }
    while let Some(at) = plain.find(" by (") {
        let end = plain[at..].find(')').map_or(plain.len(), |end| at + end + 1);
        plain.replace_range(at..end, " ");
    }
    let words = plain.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let functions = ["histogram_quantile", "min_over_time"];
    let names = words.filter(|word| word.contains('_') && !functions.contains(word)).map(str::to_owned);
    names.filter(|name| !name.starts_with("weft_operator_")).collect()
}

fn named() -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for path in files("dashboards") {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                named.extend(metrics_in(target["expr"].as_str().unwrap()));
            }
        }
    }
    for path in files("alerts") {
        // An expression is one line, or the more indented lines below it.
        let text = fs::read_to_string(path).unwrap();
        let mut inside = false;
        for line in text.lines() {
            inside = line.starts_with("  expr:") || (inside && line.starts_with("    "));
            if inside {
                named.extend(metrics_in(line.trim_start().trim_start_matches("expr:")));
            }
        }
    }
    named
}

#[tokio::test]
async fn dashboards_and_alerts_use_existing_metrics() {
    let stack = shared().await;
    let broker = broker(stack);
    // Triggers events, because a metric is not exposed before its first value.
    road::by_rpc(&broker, &jaeger(stack)).await.unwrap();
    road::by_event(&broker, &jaeger(stack)).await.unwrap();
    let mail =
        json!({ "from": "a@example.com", "to": "b@example.com", "subject": "hello", "message": "a metric" });
    let mail = json!({ "action": "mail", "mail": mail });
    let sent = broker.signed_in(|http| http.post(broker.at("/handle")).json(&mail)).await.unwrap();
    assert_eq!(sent.status, 202, "{}", sent.body);
    // Invalid data becomes a dead letter.
    let publish = "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"events\">>), <<\"log.INFO\">>, [], <<\"[]\">>).";
    stack.rabbitmq.ctl(&["eval", publish]).unwrap();
    let wanted = named();
    assert!(wanted.len() > 12, "expected more metrics in the expressions: {wanted:?}");
    let services =
        [&stack.broker, &stack.authentication, &stack.logger, &stack.mail, &stack.listener, &stack.frontend];
    until("every metric to exist", Duration::from_secs(120), async || {
        let mut shown = BTreeSet::new();
        for service in services {
            let text = reqwest::get(format!("{}/metrics", service.admin_url())).await?.text().await?;
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            shown.extend(samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()));
        }
        let unknown: Vec<_> = wanted.difference(&shown).collect();
        ensure!(unknown.is_empty(), "no service has {unknown:?}");
        Ok(())
    })
    .await
    .unwrap();
}
