//! The release under test, its Stack, and clients for it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weft_devcluster::{Kubectl, Sandbox, Settings, condition};
use weft_e2e::{Broker, Jaeger, Mailbox, until};

/// Namespace of the Stack under test.
pub(crate) const MAIN: &str = "weft-e2e-road";
/// Namespace for Stacks that are refused or stalled.
pub(crate) const SPARE: &str = "weft-e2e-spare";
/// Namespace for the Stacks of k8s/.
pub(crate) const SAMPLES: &str = "weft-e2e-samples";
/// Namespace of the external stores.
pub(crate) const ELSEWHERE: &str = "weft-e2e-elsewhere";
const NAMESPACES: [&str; 4] = [MAIN, SPARE, SAMPLES, ELSEWHERE];
pub(crate) const STACK: &str = "road";
/// Timeout for restarting a store and everything that waits for it, on a slow machine with two cores.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(240);

pub(crate) struct Place {
    sandbox: Sandbox,
    clients: OnceCell<Clients>,
}

/// Clients of the Stack.
struct Clients {
    broker: Broker,
    jaeger: Jaeger,
    mailbox: Mailbox,
    email: String,
}

impl Place {
    pub(crate) async fn make() -> Result<Self> {
        let sandbox = Sandbox::install(Settings::from_env()?, "weft-e2e", &NAMESPACES).await?;
        Ok(Self { sandbox, clients: OnceCell::new() })
    }

    /// Applies the Stack, waits until it is Ready, and creates clients for it.
    pub(crate) async fn open(&self) -> Result<(), String> {
        let opening = async {
            self.apply().await?;
            self.ready().await?;
            let (email, password) = self.user(MAIN, &format!("{STACK}-admin")).await?;
            let broker = self.kubectl().node_port(MAIN, "broker", 8080).await?;
            let jaeger = self.kubectl().node_port(MAIN, "jaeger", 16686).await?;
            let mailbox = self.kubectl().node_port(MAIN, "mailcatcher", 1080).await?;
            let clients = Clients {
                broker: Broker::signing_in(broker, &email, password)?,
                jaeger: Jaeger::new(jaeger)?,
                mailbox: Mailbox::new(mailbox)?,
                email,
            };
            self.clients.set(clients).ok().context("opened twice")?;
            // kube-proxy takes a moment to open a new node port.
            until("the broker to answer through its node port", READY_WITHIN, async || {
                ensure!(self.broker()?.get("/ping").send().await?.status().is_success(), "no 200");
                Ok(())
            })
            .await
        };
        self.with_cluster_state(opening).await
    }

    /// Applies the initial Stack.
    pub(crate) async fn apply(&self) -> Result<()> {
        let spec = json!({
            "version": self.version()?, "tracing": {"managed": {}}, "openActions": ["log", "event"],
            // Node ports masquerade, so all clients have the same address.
            "limits": {
                "requestsPerSecond": 0, "signInBurst": 100_000, "signInPerMinute": 1_000_000,
                "openBytesPerDay": 0, "userMailsPerHour": 0, "recipientMailsPerHour": 0,
            },
        });
        self.kubectl().apply(&self.stack(STACK, MAIN, &spec).to_string()).await.map(drop)
    }

    /// Changes the Stack by a merge patch.
    pub(crate) async fn patch(&self, spec: &Value) -> Result<()> {
        self.patch_in(MAIN, STACK, spec).await
    }

    /// Changes another Stack by a merge patch.
    pub(crate) async fn patch_in(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.kubectl().patch_stack(namespace, name, spec).await
    }

    pub(crate) async fn remove(&self) -> Result<()> {
        if std::env::var("WEFT_E2E_KEEP").is_ok_and(|keep| keep == "1") {
            eprintln!("WEFT_E2E_KEEP=1: release {} is kept until the next run", self.release());
            return Ok(());
        }
        self.sandbox.remove().await
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.sandbox.kubectl
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Name of the release and of the operator's namespace.
    pub(crate) fn release(&self) -> &str {
        self.sandbox.release()
    }

    pub(crate) fn version(&self) -> Result<String> {
        self.sandbox.settings.version()
    }

    pub(crate) fn broker(&self) -> Result<&Broker> {
        Ok(&self.clients()?.broker)
    }

    pub(crate) fn jaeger(&self) -> Result<&Jaeger> {
        Ok(&self.clients()?.jaeger)
    }

    pub(crate) fn mailbox(&self) -> Result<&Mailbox> {
        Ok(&self.clients()?.mailbox)
    }

    /// Email address of the first user.
    pub(crate) fn email(&self) -> Result<&str> {
        Ok(&self.clients()?.email)
    }

    fn clients(&self) -> Result<&Clients> {
        self.clients.get().context("not open yet")
    }

    /// Email address and password of a user, from a Secret.
    pub(crate) async fn user(&self, namespace: &str, secret: &str) -> Result<(String, String)> {
        Ok((
            self.secret(namespace, secret, "email").await?,
            self.secret(namespace, secret, "password").await?,
        ))
    }

    /// The value of a key of a Secret.
    pub(crate) async fn secret(&self, namespace: &str, name: &str, key: &str) -> Result<String> {
        self.kubectl().secret(namespace, name, key).await
    }

    pub(crate) fn stack(&self, name: &str, namespace: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "Stack",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        })
    }

    pub(crate) async fn found_stack(&self, name: &str, namespace: &str) -> Result<Value> {
        self.kubectl().json(&["--namespace", namespace, "get", "stack", name]).await
    }

    /// Waits until the Stack is Ready with its current spec.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.becomes(MAIN, STACK, "True", "Ready").await
    }

    /// Waits until a Stack's condition Ready has this status and reason for its current spec.
    pub(crate) async fn becomes(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
        reason: &str,
    ) -> Result<()> {
        self.kubectl().stack_becomes(namespace, name, (status, reason), READY_WITHIN).await
    }

    /// Waits until no pod has this label.
    pub(crate) async fn no_pods(&self, namespace: &str, label: &str) -> Result<()> {
        until(&format!("the pods with {label} to be gone"), READY_WITHIN, async || {
            let pods = self.kubectl().list(namespace, &["pods", "-l", label]).await?;
            ensure!(pods.is_empty(), "{} pods", pods.len());
            Ok(())
        })
        .await
    }

    /// The pods of a service or store that are not terminating.
    pub(crate) async fn pods(&self, namespace: &str, app: &str) -> Result<Vec<Value>> {
        self.kubectl().pods(namespace, app).await
    }

    /// Waits until the only pod is ready and is not `not`.
    pub(crate) async fn ready_pod(&self, namespace: &str, app: &str, not: Option<&str>) -> Result<Value> {
        until(&format!("a ready pod of {app}"), READY_WITHIN, async || {
            let mut pods = self.pods(namespace, app).await?;
            ensure!(pods.len() == 1, "{} pods", pods.len());
            let pod = pods.remove(0);
            ensure!(pod["metadata"]["uid"].as_str() != not, "the old pod is still there");
            ensure!(condition(&pod, "Ready").is_some_and(|ready| ready["status"] == "True"), "not ready");
            Ok(pod)
        })
        .await
    }

    /// Waits until there are at least `count` pods, all of them ready and none of them `not`.
    pub(crate) async fn ready_pods(
        &self,
        namespace: &str,
        app: &str,
        count: usize,
        not: Option<&str>,
    ) -> Result<Vec<Value>> {
        until(&format!("{count} ready pods of {app}"), READY_WITHIN, async || {
            let pods = self.pods(namespace, app).await?;
            ensure!(pods.len() >= count, "{} pods", pods.len());
            for pod in &pods {
                ensure!(
                    not.is_none() || pod["metadata"]["uid"].as_str() != not,
                    "the old pod is still there"
                );
                let ready = condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
                ensure!(ready, "{} is not ready", pod["metadata"]["name"]);
            }
            Ok(pods)
        })
        .await
    }

    /// The image of a Deployment or StatefulSet, also with zero replicas.
    pub(crate) async fn image(&self, namespace: &str, name: &str) -> Result<String> {
        let found = self.kubectl().list(namespace, &["deployments,statefulsets"]).await?;
        let named = found.iter().find(|object| object["metadata"]["name"] == name);
        let image =
            named.and_then(|object| object["spec"]["template"]["spec"]["containers"][0]["image"].as_str());
        Ok(image.with_context(|| format!("no Deployment or StatefulSet {name} in {namespace}"))?.to_owned())
    }

    /// Reads the objects of a file in k8s/.
    pub(crate) async fn read(&self, file: &str) -> Result<Vec<Value>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s").join(file).display().to_string();
        let read = self.kubectl().run(&["create", "--dry-run=client", "-o", "json", "-f", &path]).await?;
        let objects = serde_json::Deserializer::from_str(&read).into_iter();
        objects
            .collect::<Result<_, _>>()
            .with_context(|| format!("invalid JSON from kubectl for {path}: {read}"))
    }

    /// Runs a test. The error includes the state of the cluster.
    pub(crate) async fn with_cluster_state<T>(
        &self,
        test: impl Future<Output = Result<T>>,
    ) -> Result<T, String> {
        match test.await {
            Ok(value) => Ok(value),
            Err(error) => {
                // Also at once, beside the lines of its steps.
                eprintln!("{error:#}");
                Err(format!("{error:#}\n{}", self.cluster_state().await))
            }
        }
    }

    async fn cluster_state(&self) -> String {
        let mut state = String::new();
        for namespace in NAMESPACES.into_iter().chain([self.release()]) {
            for what in ["pods -o wide", "stacks -o wide", "events --field-selector type=Warning"] {
                let args = ["--namespace", namespace, "get"].into_iter().chain(what.split(' '));
                let output = self.kubectl().run(&args.collect::<Vec<_>>()).await;
                state += &output.unwrap_or_else(|error| format!("{error:#}\n"));
            }
        }
        state
    }
}
