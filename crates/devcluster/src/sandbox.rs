//! A release of our chart with namespaces of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::command;
use crate::crd::{self, Standing};
use crate::kubectl::Kubectl;
use crate::settings::Settings;
use crate::until::until;

const HELM_WITHIN: Duration = Duration::from_secs(300);
/// A namespace goes when the last pod in it has ended, and that may take a store's whole grace period.
const GONE_WITHIN: Duration = Duration::from_secs(240);

/// A Helm release that looks after its own namespaces alone.
#[derive(Debug)]
pub struct Sandbox {
    /// The door to the cluster.
    pub kubectl: Kubectl,
    /// What the environment says.
    pub settings: Settings,
    helm: Helm,
    namespaces: Vec<String>,
    crd_is_ours: bool,
}

impl Sandbox {
    /// Takes away what an earlier run left, then installs release `name` into a namespace of the same name. Its operator
    /// looks after `namespaces`, which are made.
    ///
    /// # Errors
    /// When the cluster's CRD is not the chart's, or something can't be made.
    pub async fn install(settings: Settings, name: &str, namespaces: &[&str]) -> Result<Self> {
        let kubectl = Kubectl::new(&settings);
        let helm = Helm { settings: settings.clone(), release: name.to_owned() };
        let namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        let mut sandbox = Self { kubectl, settings, helm, namespaces, crd_is_ours: false };
        sandbox.remove().await?;
        sandbox.crd_is_ours = sandbox.needs_crd().await?;
        sandbox.make_namespaces().await?;
        sandbox.helm.install(&sandbox.namespaces, sandbox.crd_is_ours).await?;
        if sandbox.crd_is_ours {
            let established = ["wait", "--for=condition=Established", "crd/stacks.weft.dev", "--timeout=60s"];
            sandbox.kubectl.run(&established).await?;
        }
        Ok(sandbox)
    }

    /// The namespace with the operator, which is also the release's name.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.helm.release
    }

    /// Upgrades the release with these values (`name=value`) beside those that it has.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn set(&self, values: &[&str]) -> Result<()> {
        self.helm.upgrade(values).await
    }

    /// Upgrades the release to the chart in this folder, with the values that it was installed with.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn change_chart(&self, chart: &Path) -> Result<()> {
        let chart = chart.display().to_string();
        self.helm.deploy("upgrade", &chart, &self.namespaces, self.crd_is_ours).await
    }

    /// The folder of the chart that it was installed from.
    #[must_use]
    pub fn chart(&self) -> &Path {
        &self.settings.chart
    }

    /// `helm test`: what its pod said, in the namespace of the Stack. (`--logs` would look for it in the release's.)
    ///
    /// # Errors
    /// With what Helm said, when it fails.
    pub async fn test(&self, namespace: &str) -> Result<String> {
        self.helm.test().await?;
        let pod = format!("{}-smoke", self.release());
        self.kubectl.run(&["--namespace", namespace, "logs", &pod]).await
    }

    /// Takes everything away and waits until it is gone, volumes too. Succeeds when there is nothing.
    ///
    /// # Errors
    /// When something does not go in time.
    pub async fn remove(&self) -> Result<()> {
        let mut mine: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        mine.push(self.release());
        // The release first: its operator would put back what goes.
        self.helm.uninstall().await?;
        let delete = ["delete", "namespace", "--ignore-not-found", "--wait=false"];
        self.kubectl.run(&[&delete, mine.as_slice()].concat()).await?;
        let label = format!("app.kubernetes.io/instance={}", self.release());
        self.kubectl.run(&["delete", "clusterrole,clusterrolebinding", "-l", &label]).await?;
        until("the namespaces and volumes of an earlier run to go", GONE_WITHIN, || self.nothing_left(&mine))
            .await?;
        if self.crd_is_ours {
            self.kubectl.run(&["delete", "crd", "stacks.weft.dev", "--ignore-not-found"]).await?;
        }
        Ok(())
    }

    async fn nothing_left(&self, mine: &[&str]) -> Result<()> {
        let namespaces = self.kubectl.json(&["get", "namespaces"]).await?;
        let volumes = self.kubectl.json(&["get", "persistentvolumes"]).await?;
        let of_mine = |value: &Value| value.as_str().is_some_and(|name| mine.contains(&name));
        let left: Vec<&str> = items(&namespaces)
            .filter(|namespace| of_mine(&namespace["metadata"]["name"]))
            .chain(items(&volumes).filter(|volume| of_mine(&volume["spec"]["claimRef"]["namespace"])))
            .filter_map(|object| object["metadata"]["name"].as_str())
            .collect();
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        Ok(())
    }

    async fn needs_crd(&self) -> Result<bool> {
        match crd::standing(&self.kubectl, &self.helm).await? {
            Standing::Same => Ok(false),
            Standing::Missing if self.settings.node_is_ours => Ok(true),
            Standing::Missing => bail!("the cluster has no CRD of ours: run `make up`, then this again"),
        }
    }

    async fn make_namespaces(&self) -> Result<()> {
        let labels = json!({
            // `make up`'s operator leaves it to ours.
            "weft.dev/operator": self.release(),
            "pod-security.kubernetes.io/enforce": "restricted",
        });
        let namespace = |name: &str, labels: &Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let mut all: Vec<Value> = self.namespaces.iter().map(|name| namespace(name, &labels)).collect();
        all.push(namespace(self.release(), &json!({"pod-security.kubernetes.io/enforce": "restricted"})));
        self.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string()).await?;
        Ok(())
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// helm as a process.
#[derive(Debug)]
pub(crate) struct Helm {
    settings: Settings,
    release: String,
}

impl Helm {
    pub(crate) async fn template(&self, more: &[&str]) -> Result<String> {
        let (chart, values) = self.paths();
        let args = ["template", &self.release, &chart, "--namespace", &self.release, "--values", &values];
        self.run(&[&args, more].concat()).await
    }

    async fn install(&self, namespaces: &[String], crd: bool) -> Result<()> {
        self.deploy("install", &self.paths().0, namespaces, crd).await
    }

    async fn deploy(&self, verb: &str, chart: &str, namespaces: &[String], crd: bool) -> Result<()> {
        let (_, values) = self.paths();
        let watch = format!("watch.namespaces={}", json!(namespaces));
        let crds = format!("crds.install={crd}");
        let args = [verb, &self.release, chart, "--namespace", &self.release, "--values", &values];
        let more = ["--set-json", &watch, "--set", &crds, "--wait", "--timeout", "180s"];
        self.run(&[&args[..], &more[..]].concat()).await.map(drop)
    }

    async fn upgrade(&self, values: &[&str]) -> Result<()> {
        let (chart, _) = self.paths();
        let mut args = vec!["upgrade", &self.release, &chart, "--namespace", &self.release, "--reuse-values"];
        args.extend(["--wait", "--timeout", "180s"]);
        for value in values {
            args.extend(["--set", value]);
        }
        self.run(&args).await.map(drop)
    }

    async fn test(&self) -> Result<String> {
        let args = ["test", &self.release, "--namespace", &self.release, "--timeout", "240s"];
        self.run(&args).await
    }

    async fn uninstall(&self) -> Result<()> {
        let args = ["uninstall", &self.release, "--namespace", &self.release, "--ignore-not-found", "--wait"];
        self.run(&args).await.map(drop)
    }

    fn paths(&self) -> (String, String) {
        let text = |path: &Path| path.display().to_string();
        (text(&self.settings.chart), text(&self.settings.values))
    }

    async fn run(&self, args: &[&str]) -> Result<String> {
        command::run(&self.settings.helm, args, "", HELM_WITHIN).await
    }
}
