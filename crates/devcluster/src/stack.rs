//! Changes to a running Stack, and waiting for them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::until::until;

impl Kubectl {
    /// Changes a Stack's spec by a merge patch.
    ///
    /// # Errors
    /// When the API server rejects the patch.
    pub async fn patch_stack(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        let args = ["--namespace", namespace, "patch", "stack", name, "--type=merge", "--patch", &patch];
        self.run(&args).await.map(drop)
    }

    /// Waits until a Stack's condition Ready has this status and reason for its current generation.
    ///
    /// # Errors
    /// When it times out; the message has the condition.
    pub async fn stack_becomes(
        &self,
        namespace: &str,
        name: &str,
        (status, reason): (&str, &str),
        within: Duration,
    ) -> Result<()> {
        until(&format!("Stack {namespace}/{name} to be {reason}"), within, async || {
            let stack = self.json(&["--namespace", namespace, "get", "stack", name]).await?;
            let observed = &stack["status"]["observedGeneration"];
            ensure!(*observed == stack["metadata"]["generation"], "observed generation is {observed}");
            let ready = condition(&stack, "Ready").context("no condition Ready")?;
            let matches = ready["status"] == status && ready["reason"] == reason;
            ensure!(matches, "{}: {}", ready["reason"], ready["message"]);
            Ok(())
        })
        .await
    }

    /// The pods of a service or store that are not terminating.
    ///
    /// # Errors
    /// When the pods can't be listed.
    pub async fn pods(&self, namespace: &str, app: &str) -> Result<Vec<Value>> {
        let label = format!("app.kubernetes.io/name={app}");
        let mut pods = self.list(namespace, &["pods", "-l", &label]).await?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    /// Deletes a pod with its grace period, as draining a node does, and waits until as many other pods are ready as before.
    ///
    /// # Errors
    /// When there is no pod, or the replacement is not ready in time.
    pub async fn replace_pod(&self, namespace: &str, app: &str, within: Duration) -> Result<()> {
        let before = self.pods(namespace, app).await?;
        let pod = before.first().with_context(|| format!("no pod of {app}"))?;
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        self.run(&["--namespace", namespace, "delete", "pod", name, "--wait=false"]).await?;
        until(&format!("{} ready pods of {app}", before.len()), within, async || {
            let pods = self.pods(namespace, app).await?;
            let ready = |pod: &&Value| {
                pod["metadata"]["name"] != name
                    && condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
            };
            let count = pods.iter().filter(ready).count();
            ensure!(count == before.len(), "{count} pods are ready");
            Ok(())
        })
        .await
    }
}

/// A condition of an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}
