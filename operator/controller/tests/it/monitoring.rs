//! Alerts, their runbooks and the dashboards, against what the operator registers. Those of the services are tested with the
//! services: e2e/tests/dev/monitoring.rs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kube::runtime::reflector::store;
use serde_json::Value;
use weft_operator::cache::GuardedStack;
use weft_operator::metrics::OperatorMetrics;
use weft_runtime::metrics::Metrics;

use crate::chart::{chart, helm, of_kind, rendered};

const EVERYTHING: &str = "--set=monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true,\
                          monitoring.prometheusRule.enabled=true,monitoring.dashboards.enabled=true,\
                          monitoring.prometheusRule.runbooks=https://runbooks.example/weft/";

fn runbooks() -> PathBuf {
    chart().join("../../docs/runbooks")
}

/// Every metric that the operator shows, under the names that Prometheus knows.
fn registered() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let own = OperatorMetrics::register(&metrics);
    // What has no value yet is not shown.
    own.reconciled("ok", Duration::from_millis(1));
    own.failed("write");
    own.wrote("apply", "Deployment");
    own.leads(true);
    own.watch_stacks(store::<GuardedStack>().0);
    let text = metrics.encode();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// The names of metrics in a PromQL expression: what is left without label matchers, grouping labels and functions.
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
    words.filter(|word| word.contains('_') && !functions.contains(word)).map(str::to_owned).collect()
}

fn alerts() -> Vec<Value> {
    let files = fs::read_dir(chart().join("alerts")).unwrap();
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let read = texts.flat_map(|text| {
        let file: Value = serde_yaml_ng::from_str(&text).unwrap();
        file["alerts"].as_array().unwrap().clone()
    });
    read.collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(chart().join("dashboards")).unwrap().map(|file| file.unwrap().path());
    let read = files.map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    });
    read.collect()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_metric_s_name_is_found_in_an_expression() {
    let found = metrics_in(
        "histogram_quantile(0.99, sum by (le, a_b) (rate(x_y_bucket{c_d=\"e_f\"}[$__rate_interval]))) / z_w",
    );
    assert_eq!(found, ["x_y_bucket", "z_w"].map(str::to_owned).into());
}

#[test]
fn alerts_and_dashboards_name_metrics_that_the_operator_shows() {
    let registered = registered();
    let mut named = BTreeSet::new();
    for alert in alerts() {
        named.extend(metrics_in(alert["expr"].as_str().unwrap()));
    }
    for (_, dashboard) in dashboards() {
        named.extend(expressions(&dashboard).iter().flat_map(|expression| metrics_in(expression)));
    }
    let ours: BTreeSet<_> = named.into_iter().filter(|name| name.starts_with("weft_operator_")).collect();
    assert!(ours.len() >= 7, "this does not see the expressions: {ours:?}");
    let unknown: Vec<_> = ours.difference(&registered).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {registered:?}");
}

#[test]
fn each_alert_has_its_page_and_each_page_its_alert() {
    let alerts: BTreeSet<_> =
        alerts().iter().map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect();
    let pages = fs::read_dir(runbooks()).unwrap().map(|page| page.unwrap().path());
    let pages: BTreeSet<_> = pages
        .map(|page| page.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|page| page != "README")
        .collect();
    assert_eq!(alerts, pages);
    let index = fs::read_to_string(runbooks().join("README.md")).unwrap();
    for alert in &alerts {
        let page = fs::read_to_string(runbooks().join(alert).with_extension("md")).unwrap();
        assert!(page.starts_with(&format!("# {alert}\n")), "{alert}");
        for heading in ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"] {
            let body =
                page.split(heading).nth(1).map(|rest| rest.split("\n## ").next().unwrap_or_default().trim());
            assert!(body.is_some_and(|body| body.len() > 40), "{alert} says too little under {heading}");
        }
        assert!(index.contains(&format!("({alert}.md)")), "{alert} is not in the index");
    }
}

#[test]
fn the_rule_has_every_alert_with_the_address_of_its_page() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, &[EVERYTHING]);
    let rule = of_kind(&objects, "PrometheusRule")[0];
    let groups = rule["spec"]["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(rules.len(), alerts().len());
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let there = alerts().into_iter().find(|alert| alert["alert"] == name).unwrap();
        assert_eq!(rule["expr"], there["expr"], "{name}: Helm changes nothing in it");
        assert_eq!(rule["annotations"]["runbook_url"], format!("https://runbooks.example/weft/{name}.md"));
        assert!(["critical", "warning"].map(Value::from).contains(&rule["labels"]["severity"]), "{name}");
        for text in ["summary", "description"] {
            assert_eq!(rule["annotations"][text], there[text], "{name}");
        }
    }
}

#[test]
fn nothing_of_monitoring_is_there_unless_it_is_asked_for() {
    let Some(helm) = helm() else { return };
    let kinds = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];
    let plain = rendered(&helm, &[]);
    assert!(kinds.iter().all(|kind| of_kind(&plain, kind).is_empty()));
    assert_eq!(of_kind(&plain, "ConfigMap").len(), 1);
    let monitored = rendered(&helm, &[EVERYTHING]);
    assert!(kinds.iter().all(|kind| of_kind(&monitored, kind).len() == 1));
    for (name, dashboard) in dashboards() {
        let map = of_kind(&monitored, "ConfigMap")
            .into_iter()
            .find(|map| map["metadata"]["name"] == format!("weft-dashboard-{name}"))
            .unwrap();
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let text = map["data"][format!("weft-{name}.json")].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard, "{name}");
    }
}

#[test]
fn a_service_monitor_finds_the_operator_s_port() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, &[EVERYTHING]);
    let monitor = &of_kind(&objects, "ServiceMonitor")[0]["spec"];
    let service = of_kind(&objects, "Service")[0];
    for (key, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][key], value);
    }
    assert_eq!(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"]);
}
