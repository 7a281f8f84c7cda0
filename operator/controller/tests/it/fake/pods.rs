//! What the API server refuses of pods.

use serde_json::Value;
use weft_operator_api::Quantity;

use super::refuse::{Checked, holds, labels};
use super::syntax::{is_label, is_label_key};

/// The size of an amount, where it is one.
pub(super) fn amount(value: &Value) -> Option<f64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text.as_str()), |rest| (-1.0, rest));
    Quantity::new(text).amount().map(|amount| sign * amount)
}

pub(super) fn template(template: &Value) -> Checked {
    labels(&template["metadata"]["labels"])?;
    let spec = &template["spec"];
    labels(&spec["nodeSelector"])?;
    for toleration in list(&spec["tolerations"]) {
        let text = |key: &str| toleration[key].as_str().unwrap_or_default();
        holds(text("key").is_empty() || is_label_key(text("key")), "tolerations: key")?;
        let is_value = if text("operator") == "Exists" { str::is_empty } else { is_label };
        holds(is_value(text("value")), "tolerations: value")?;
        let is_timed = !toleration["tolerationSeconds"].is_null();
        holds(!is_timed || text("effect") == "NoExecute", "tolerations: effect")?;
    }
    let user = &spec["securityContext"]["runAsUser"];
    holds(user.as_i64().is_none_or(|user| user >= 0), "runAsUser")?;
    let volumes: Vec<_> = list(&spec["volumes"]).iter().map(|volume| &volume["name"]).collect();
    list(&spec["containers"]).iter().try_for_each(|one| container(one, &volumes))
}

fn container(container: &Value, volumes: &[&Value]) -> Checked {
    holds(container["image"].as_str().is_some_and(|image| !image.is_empty()), "image")?;
    let [requests, limits] = ["requests", "limits"].map(|list| &container["resources"][list]);
    for (name, request) in requests.as_object().into_iter().flatten() {
        let (request, limit) = (amount(request), amount(&limits[name]));
        holds(request.is_none_or(|request| request >= 0.0), "requests: below zero")?;
        holds(
            request.zip(limit).is_none_or(|(request, limit)| request <= limit),
            "requests: above its limit",
        )?;
    }
    for port in list(&container["ports"]) {
        let number = port["containerPort"].as_i64();
        holds(number.is_some_and(|number| (1..=65_535).contains(&number)), "containerPort")?;
        holds(port["name"].as_str().is_none_or(|name| name.len() <= 15), "ports: name")?;
    }
    for variable in list(&container["env"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        holds(!name.is_empty() && !name.contains('='), "env: name")?;
    }
    for mount in list(&container["volumeMounts"]) {
        // A StatefulSet's claims are volumes too.
        let is_there = mount["name"] == "data" || volumes.contains(&&mount["name"]);
        holds(is_there, "volumeMounts: name")?;
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"].map(|name| &container[name]) {
        for field in ["periodSeconds", "timeoutSeconds", "failureThreshold"] {
            holds(probe[field].as_i64().is_none_or(|number| number >= 0), field)?;
        }
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
