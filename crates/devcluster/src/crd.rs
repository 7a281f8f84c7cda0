//! Compares the CRD on the cluster with that of the chart.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::sandbox::Helm;

const NAME: &str = "stacks.weft.dev";

/// The CRD on the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// Same as that of the chart.
    Same,
    /// Not installed.
    Missing,
}

/// Compares the CRD on the cluster with that of the chart.
///
/// # Errors
/// When they differ.
pub(crate) async fn installed(kubectl: &Kubectl, helm: &Helm) -> Result<Installed> {
    let there = kubectl.run(&["get", "crd", NAME, "--ignore-not-found", "-o", "json"]).await?;
    if there.trim().is_empty() {
        return Ok(Installed::Missing);
    }
    let node: Value = serde_json::from_str(&there)?;
    let chart = of_chart(&helm.template(&["--set", "crds.install=true"]).await?)?;
    for part in [
        "/spec/versions",
        "/spec/scope",
        "/spec/names/kind",
        "/spec/names/shortNames",
        "/spec/names/categories",
    ] {
        if !same(node.pointer(part).unwrap_or(&Value::Null), chart.pointer(part).unwrap_or(&Value::Null)) {
            bail!(
                "the CRD on the cluster differs from that of the chart in {part}: run `make up`, then try again"
            );
        }
    }
    Ok(Installed::Same)
}

/// Compares two JSON values; numbers by value, because the API server writes 1.0 as 1.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

fn of_chart(rendered: &str) -> Result<Value> {
    serde_yaml_ng::Deserializer::from_str(rendered)
        .filter_map(|document| Value::deserialize(document).ok())
        .find(|object| object["metadata"]["name"] == NAME)
        .with_context(|| format!("the chart has no CRD {NAME}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::same;

    #[test]
    fn compares_numbers_by_value() {
        let schema = json!({"maximum": 50.0, "names": ["a", "b"]});
        assert!(same(&schema, &json!({"names": ["a", "b"], "maximum": 50})));
        for other in [
            json!({"maximum": 51, "names": ["a", "b"]}),
            json!({"maximum": 50, "names": ["b", "a"]}),
            json!({"maximum": 50}),
        ] {
            assert!(!same(&schema, &other), "{other}");
        }
    }
}
