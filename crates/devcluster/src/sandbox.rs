//! A Helm release of Weft's chart with its own namespaces.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::command;
use crate::crd::{self, Installed};
use crate::kubectl::Kubectl;
use crate::settings::Settings;
use crate::until::until;

const HELM_WITHIN: Duration = Duration::from_secs(300);
/// A namespace is deleted after its last pod has ended, which may take the whole grace period of a store.
const DELETED_WITHIN: Duration = Duration::from_secs(240);

/// A Helm release whose operator watches only its own namespaces.
#[derive(Debug)]
pub struct Sandbox {
    /// kubectl for the cluster.
    pub kubectl: Kubectl,
    /// Settings from the environment.
    pub settings: Settings,
    helm: Helm,
    namespaces: Vec<String>,
    crd_is_ours: bool,
}

impl Sandbox {
    /// Removes what an earlier run left, then installs release `name` into a namespace of the same name. Creates `namespaces`,
    /// which the release's operator watches.
    ///
    /// # Errors
    /// When the CRD on the cluster differs from that of the chart, or an object can't be created.
    pub async fn install(settings: Settings, name: &str, namespaces: &[&str]) -> Result<Self> {
        let kubectl = Kubectl::new(&settings);
        let helm = Helm { settings: settings.clone(), release: name.to_owned() };
        let namespaces = namespaces.iter().map(|&namespace| namespace.to_owned()).collect();
        let mut sandbox = Self { kubectl, settings, helm, namespaces, crd_is_ours: false };
        sandbox.remove().await?;
        sandbox.crd_is_ours = sandbox.needs_crd().await?;
        sandbox.create_namespaces().await?;
        sandbox.helm.install(&sandbox.namespaces, sandbox.crd_is_ours).await?;
        if sandbox.crd_is_ours {
            let established = ["wait", "--for=condition=Established", "crd/stacks.weft.dev", "--timeout=60s"];
            sandbox.kubectl.run(&established).await?;
        }
        Ok(sandbox)
    }

    /// The name of the release, and of the namespace with the operator.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.helm.release
    }

    /// Upgrades the release with these values (`name=value`) in addition to its present values.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn set(&self, values: &[&str]) -> Result<()> {
        self.helm.upgrade(values).await
    }

    /// Upgrades the release to the chart in this folder, with the values of the installation.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn change_chart(&self, chart: &Path) -> Result<()> {
        let chart = chart.display().to_string();
        self.helm.deploy("upgrade", &chart, &self.namespaces, self.crd_is_ours).await
    }

    /// The folder of the chart that the release was installed from.
    #[must_use]
    pub fn chart(&self) -> &Path {
        &self.settings.chart
    }

    /// Runs `helm test`. Returns the log of the test pod, which runs in the namespace of the Stack (`--logs` would search the
    /// release's namespace).
    ///
    /// # Errors
    /// When Helm fails; the message has its standard error.
    pub async fn test(&self, namespace: &str) -> Result<String> {
        self.helm.test().await?;
        let pod = format!("{}-smoke", self.release());
        self.kubectl.run(&["--namespace", namespace, "logs", &pod]).await
    }

    /// Removes everything, including volumes, and waits until it is deleted. Idempotent.
    ///
    /// # Errors
    /// When an object is not deleted in time.
    pub async fn remove(&self) -> Result<()> {
        let mut own: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        own.push(self.release());
        // The release first, because its operator would create deleted objects again.
        self.helm.uninstall().await?;
        let delete = ["delete", "namespace", "--ignore-not-found", "--wait=false"];
        self.kubectl.run(&[&delete, own.as_slice()].concat()).await?;
        let label = format!("app.kubernetes.io/instance={}", self.release());
        self.kubectl.run(&["delete", "clusterrole,clusterrolebinding", "-l", &label]).await?;
        until("the namespaces and volumes of the release to be deleted", DELETED_WITHIN, || {
            self.nothing_left(&own)
        })
        .await?;
        if self.crd_is_ours {
            self.kubectl.run(&["delete", "crd", "stacks.weft.dev", "--ignore-not-found"]).await?;
        }
        Ok(())
    }

    async fn nothing_left(&self, own: &[&str]) -> Result<()> {
        let namespaces = self.kubectl.json(&["get", "namespaces"]).await?;
        let volumes = self.kubectl.json(&["get", "persistentvolumes"]).await?;
        let is_own = |value: &Value| value.as_str().is_some_and(|name| own.contains(&name));
        let left: Vec<&str> = items(&namespaces)
            .filter(|namespace| is_own(&namespace["metadata"]["name"]))
            .chain(items(&volumes).filter(|volume| is_own(&volume["spec"]["claimRef"]["namespace"])))
            .filter_map(|object| object["metadata"]["name"].as_str())
            .collect();
        ensure!(left.is_empty(), "not deleted yet: {}", left.join(", "));
        Ok(())
    }

    async fn needs_crd(&self) -> Result<bool> {
        match crd::installed(&self.kubectl, &self.helm).await? {
            Installed::Same => Ok(false),
            Installed::Missing if self.settings.node_is_ours => Ok(true),
            Installed::Missing => {
                bail!("the cluster has no CRD stacks.weft.dev: run `make up`, then try again")
            }
        }
    }

    async fn create_namespaces(&self) -> Result<()> {
        let labels = json!({
            // The operator of `make up` ignores namespaces with this label.
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

/// Runs helm.
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
