//! The release that the cluster's figures are measured on: made by the first that needs it, removed at the end.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_devcluster::{Kubectl, Sandbox, Settings, until};

const RELEASE: &str = "weft-bench";
/// Where the Stack is.
pub(crate) const NAMESPACE: &str = "weft-bench-stack";
pub(crate) const STACK: &str = "bench";
/// The built-in services.
pub(crate) const SERVICES: [&str; 6] = ["broker", "authentication", "logger", "mail", "listener", "frontend"];
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(240);

/// A release, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Cluster(Option<Release>);

/// A Helm release with one namespace for one Stack.
#[derive(Debug)]
pub(crate) struct Release {
    sandbox: Sandbox,
    applied: Option<f64>,
}

impl Cluster {
    /// The release, installed at the first call.
    pub(crate) async fn release(&mut self) -> Result<&mut Release> {
        if self.0.is_none() {
            let settings = Settings::from_env().context("there is no cluster to measure on")?;
            let sandbox = Sandbox::install(settings, RELEASE, &[NAMESPACE]).await?;
            self.0 = Some(Release { sandbox, applied: None });
        }
        self.0.as_mut().context("no release")
    }

    pub(crate) async fn remove(self) -> Result<()> {
        match self.0 {
            Some(release) => release.sandbox.remove().await,
            None => Ok(()),
        }
    }
}

impl Release {
    pub(crate) fn name(&self) -> &str {
        self.sandbox.release()
    }

    /// Seconds from the first `kubectl apply` of the Stack to Ready, both kubectl's own time included.
    pub(crate) async fn apply_to_ready(&mut self) -> Result<f64> {
        // Another figure may have needed it before: what is there already is no measure.
        if let Some(took) = self.applied {
            return Ok(took);
        }
        let stack = json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "Stack", "metadata": {"name": STACK, "namespace": NAMESPACE},
            "spec": {"version": self.sandbox.settings.version()?, "tracing": {"managed": {}}, "openActions": ["log", "event"]},
        });
        let started = Instant::now();
        self.sandbox.kubectl.apply(&stack.to_string()).await?;
        let within = format!("--timeout={}s", READY_WITHIN.as_secs());
        let stack = format!("stack/{STACK}");
        let wait = ["--namespace", NAMESPACE, "wait", "--for=condition=Ready", &stack, &within];
        self.sandbox.kubectl.run(&wait).await?;
        let took = started.elapsed().as_secs_f64();
        self.applied = Some(took);
        Ok(took)
    }

    /// Waits until the Stack is there and Ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        self.apply_to_ready().await?;
        until("one pod of each service", READY_WITHIN, async || {
            for app in SERVICES {
                let pods = self.kubectl().pods(NAMESPACE, app).await?;
                anyhow::ensure!(pods.len() == 1, "{} pods of {app}", pods.len());
            }
            Ok(())
        })
        .await
    }

    /// Changes the Stack, and waits until nothing of it runs as before.
    pub(crate) async fn change(&self, spec: &Value) -> Result<()> {
        self.kubectl().patch_stack(NAMESPACE, STACK, spec).await?;
        self.kubectl().stack_becomes(NAMESPACE, STACK, ("True", "Ready"), READY_WITHIN).await
    }

    /// The URL of a broker that answers.
    pub(crate) async fn broker(&self) -> Result<String> {
        let url = self.kubectl().node_port(NAMESPACE, "broker", 8080).await?;
        // kube-proxy takes a moment to open a new port.
        until("the broker to answer through its node port", READY_WITHIN, async || {
            let answer = reqwest::get(format!("{url}/ping")).await?;
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(())
        })
        .await?;
        Ok(url)
    }

    /// Email and password of the first user.
    pub(crate) async fn admin(&self) -> Result<(String, String)> {
        let (kubectl, secret) = (self.kubectl(), format!("{STACK}-admin"));
        let email = kubectl.secret(NAMESPACE, &secret, "email").await?;
        Ok((email, kubectl.secret(NAMESPACE, &secret, "password").await?))
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.sandbox.kubectl
    }
}
