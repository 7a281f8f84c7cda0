//! Runs kubectl, so that tests use the same interface as users.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;
use crate::settings::Settings;

/// Longer than any `--timeout` that is passed to kubectl.
const WITHIN: Duration = Duration::from_secs(330);

/// kubectl for the cluster in `KUBECONFIG`.
#[derive(Clone, Debug)]
pub struct Kubectl(PathBuf);

impl Kubectl {
    /// Uses the kubectl in the settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self(settings.kubectl.clone())
    }

    /// Runs kubectl. Returns its output.
    ///
    /// # Errors
    /// When kubectl fails; the message has its standard error.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        command::run(&self.0, args, "", WITHIN).await
    }

    /// Runs kubectl with `-o json`. Returns its output.
    ///
    /// # Errors
    /// When kubectl fails, or its output is not JSON.
    pub async fn json(&self, args: &[&str]) -> Result<Value> {
        let args = [args, &["-o", "json"]].concat();
        let text = self.run(&args).await?;
        serde_json::from_str(&text).with_context(|| format!("invalid JSON from kubectl {}", args.join(" ")))
    }

    /// Runs `kubectl apply` with these objects, as YAML or JSON.
    ///
    /// # Errors
    /// When kubectl fails; the message has its standard error.
    pub async fn apply(&self, objects: &str) -> Result<String> {
        command::run(&self.0, &["apply", "-f", "-"], objects, WITHIN).await
    }

    /// Lists objects; `what` are arguments of `kubectl get`, such as kind and label.
    ///
    /// # Errors
    /// When kubectl fails.
    pub async fn list(&self, namespace: &str, what: &[&str]) -> Result<Vec<Value>> {
        let found = self.json(&[&["--namespace", namespace, "get"], what].concat()).await?;
        Ok(found["items"].as_array().cloned().unwrap_or_default())
    }

    /// The value of a key of a Secret.
    ///
    /// # Errors
    /// When the Secret does not exist.
    pub async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<String> {
        let template = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
        self.run(&["--namespace", namespace, "get", "secret", name, "-o", &template]).await
    }

    /// Exposes a port of the pods of `app` by a Service of type NodePort. Returns the URL on the node's loopback address.
    ///
    /// # Errors
    /// When the Service can't be created.
    pub async fn node_port(&self, namespace: &str, app: &str, port: u16) -> Result<String> {
        let name = format!("{app}-nodeport");
        let service = serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "type": "NodePort", "selector": {"app.kubernetes.io/name": app},
                "ports": [{"name": "test", "port": port, "targetPort": port}],
            },
        });
        self.apply(&service.to_string()).await?;
        let created = self.json(&["--namespace", namespace, "get", "service", &name]).await?;
        let node_port = created["spec"]["ports"][0]["nodePort"].as_u64();
        let node_port = node_port.with_context(|| format!("Service {name} has no node port"))?;
        Ok(format!("http://127.0.0.1:{node_port}"))
    }
}
