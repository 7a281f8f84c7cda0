//! kubectl as a process: the same door that a user takes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;
use crate::settings::Settings;

/// Longer than any wait that is asked for by `--timeout` here.
const WITHIN: Duration = Duration::from_secs(330);

/// kubectl, with the cluster of `KUBECONFIG`.
#[derive(Clone, Debug)]
pub struct Kubectl(PathBuf);

impl Kubectl {
    /// The one that the settings name.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self(settings.kubectl.clone())
    }

    /// Runs it, and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message has what it said.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        command::run(&self.0, args, "", WITHIN).await
    }

    /// Runs it with `-o json`, and returns what it printed.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub async fn json(&self, args: &[&str]) -> Result<Value> {
        let args = [args, &["-o", "json"]].concat();
        let text = self.run(&args).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} printed no JSON", args.join(" ")))
    }

    /// `kubectl apply` of this text, YAML or JSON.
    ///
    /// # Errors
    /// When the API server refuses it; the message has what it said.
    pub async fn apply(&self, objects: &str) -> Result<String> {
        command::run(&self.0, &["apply", "-f", "-"], objects, WITHIN).await
    }

    /// The list of these objects, by name or label as kubectl takes them.
    ///
    /// # Errors
    /// When it fails.
    pub async fn list(&self, namespace: &str, what: &[&str]) -> Result<Vec<Value>> {
        let found = self.json(&[&["--namespace", namespace, "get"], what].concat()).await?;
        Ok(found["items"].as_array().cloned().unwrap_or_default())
    }

    /// What a Secret has under a key.
    ///
    /// # Errors
    /// When there is no such Secret or key.
    pub async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<String> {
        let template = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
        self.run(&["--namespace", namespace, "get", "secret", name, "-o", &template]).await
    }

    /// Opens a port of the pods that this label selects on the node's loopback address, and returns its URL.
    /// Kubernetes picks the number.
    ///
    /// # Errors
    /// When the Service can't be made.
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
        let made = self.json(&["--namespace", namespace, "get", "service", &name]).await?;
        let given = made["spec"]["ports"][0]["nodePort"].as_u64();
        Ok(format!("http://127.0.0.1:{}", given.with_context(|| format!("Service {name} got no node port"))?))
    }
}
