//! The release, its Stack, and the ways in.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weft_devcluster::{Kubectl, Sandbox, Settings, condition};
use weft_e2e::{Broker, Jaeger, Mailbox, until};

/// Where the Stack is that everything happens to.
pub(crate) const ROAD: &str = "weft-e2e-road";
/// Where Stacks go that are never to run.
pub(crate) const SPARE: &str = "weft-e2e-spare";
/// Where the Stacks of k8s/ are applied.
pub(crate) const SAMPLES: &str = "weft-e2e-samples";
/// Where stores are that are nobody's business here.
pub(crate) const ELSEWHERE: &str = "weft-e2e-elsewhere";
const NAMESPACES: [&str; 4] = [ROAD, SPARE, SAMPLES, ELSEWHERE];
pub(crate) const STACK: &str = "road";
/// A slow machine with two cores restarts a store and all that waits for it in this.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(240);

pub(crate) struct Place {
    sandbox: Sandbox,
    doors: OnceCell<Doors>,
}

/// The ways in.
struct Doors {
    broker: Broker,
    jaeger: Jaeger,
    mailbox: Mailbox,
    email: String,
}

impl Place {
    pub(crate) async fn make() -> Result<Self> {
        let sandbox = Sandbox::install(Settings::from_env()?, "weft-e2e", &NAMESPACES).await?;
        Ok(Self { sandbox, doors: OnceCell::new() })
    }

    /// Applies the Stack, waits until it is Ready, and opens ports to it.
    pub(crate) async fn open(&self) -> Result<(), String> {
        let opening = async {
            self.apply().await?;
            self.ready().await?;
            let (email, password) = self.user(ROAD, &format!("{STACK}-admin")).await?;
            let broker = self.kubectl().node_port(ROAD, "broker", 8080).await?;
            let jaeger = self.kubectl().node_port(ROAD, "jaeger", 16686).await?;
            let mailbox = self.kubectl().node_port(ROAD, "mailcatcher", 1080).await?;
            let doors = Doors {
                broker: Broker::signing_in(broker, &email, password)?,
                jaeger: Jaeger::new(jaeger)?,
                mailbox: Mailbox::new(mailbox)?,
                email,
            };
            self.doors.set(doors).ok().context("opened twice")?;
            // kube-proxy takes a moment to open a new port.
            until("the broker to answer through its node port", READY_WITHIN, async || {
                ensure!(self.broker()?.get("/ping").send().await?.status().is_success(), "no 200");
                Ok(())
            })
            .await
        };
        self.told(opening).await
    }

    /// Applies the Stack as it is to begin with.
    pub(crate) async fn apply(&self) -> Result<()> {
        let spec = json!({
            "version": self.version()?, "tracing": {"managed": {}}, "openActions": ["log", "event"],
            // Node ports masquerade: everybody here has one address.
            "limits": {
                "requestsPerSecond": 0, "signInBurst": 100_000, "signInPerMinute": 1_000_000,
                "openBytesPerDay": 0, "userMailsPerHour": 0, "recipientMailsPerHour": 0,
            },
        });
        self.kubectl().apply(&self.stack(STACK, ROAD, &spec).to_string()).await.map(drop)
    }

    /// Changes the Stack by a merge patch.
    pub(crate) async fn patch(&self, spec: &Value) -> Result<()> {
        self.patch_in(ROAD, STACK, spec).await
    }

    /// Changes another Stack likewise.
    pub(crate) async fn patch_in(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.kubectl().patch_stack(namespace, name, spec).await
    }

    pub(crate) async fn remove(&self) -> Result<()> {
        if std::env::var("WEFT_E2E_KEEP").is_ok_and(|keep| keep == "1") {
            eprintln!("WEFT_E2E_KEEP=1: release {} stays, the next run takes it away", self.release());
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

    /// The release, and the namespace of its operator.
    pub(crate) fn release(&self) -> &str {
        self.sandbox.release()
    }

    pub(crate) fn version(&self) -> Result<String> {
        self.sandbox.settings.version()
    }

    pub(crate) fn broker(&self) -> Result<&Broker> {
        Ok(&self.doors()?.broker)
    }

    pub(crate) fn jaeger(&self) -> Result<&Jaeger> {
        Ok(&self.doors()?.jaeger)
    }

    pub(crate) fn mailbox(&self) -> Result<&Mailbox> {
        Ok(&self.doors()?.mailbox)
    }

    /// The first user's.
    pub(crate) fn email(&self) -> Result<&str> {
        Ok(&self.doors()?.email)
    }

    fn doors(&self) -> Result<&Doors> {
        self.doors.get().context("not open yet")
    }

    /// Email and password of a user, as a Secret has them.
    pub(crate) async fn user(&self, namespace: &str, secret: &str) -> Result<(String, String)> {
        Ok((
            self.secret(namespace, secret, "email").await?,
            self.secret(namespace, secret, "password").await?,
        ))
    }

    /// What a Secret has under a key.
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

    /// Waits until the Stack is Ready as its present spec says.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.becomes(ROAD, STACK, "True", "Ready").await
    }

    /// Waits until a Stack's condition Ready has this status and reason, as its present spec says.
    pub(crate) async fn becomes(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
        reason: &str,
    ) -> Result<()> {
        self.kubectl().stack_becomes(namespace, name, (status, reason), READY_WITHIN).await
    }

    /// Waits until nothing runs that carries this label.
    pub(crate) async fn no_pods(&self, namespace: &str, label: &str) -> Result<()> {
        until(&format!("the pods with {label} to be gone"), READY_WITHIN, async || {
            let pods = self.kubectl().list(namespace, &["pods", "-l", label]).await?;
            ensure!(pods.is_empty(), "{} pods", pods.len());
            Ok(())
        })
        .await
    }

    /// The pods of one service or store that are not about to end.
    pub(crate) async fn pods(&self, namespace: &str, app: &str) -> Result<Vec<Value>> {
        self.kubectl().pods(namespace, app).await
    }

    /// The only one of them, once it is ready and another than `not`.
    pub(crate) async fn ready_pod(&self, namespace: &str, app: &str, not: Option<&str>) -> Result<Value> {
        until(&format!("a ready pod of {app}"), READY_WITHIN, async || {
            let mut pods = self.pods(namespace, app).await?;
            ensure!(pods.len() == 1, "{} pods", pods.len());
            let pod = pods.remove(0);
            ensure!(pod["metadata"]["uid"].as_str() != not, "it is still the old one");
            ensure!(condition(&pod, "Ready").is_some_and(|ready| ready["status"] == "True"), "not ready");
            Ok(pod)
        })
        .await
    }

    /// All of them (there are at least so many), once each is ready and none is `not`.
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
                    "the old one is still there"
                );
                let ready = condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
                ensure!(ready, "{} is not ready", pod["metadata"]["name"]);
            }
            Ok(pods)
        })
        .await
    }

    /// The image of what runs under this name, at zero replicas too.
    pub(crate) async fn image(&self, namespace: &str, name: &str) -> Result<String> {
        let found = self.kubectl().list(namespace, &["deployments,statefulsets"]).await?;
        let named = found.iter().find(|object| object["metadata"]["name"] == name);
        let image =
            named.and_then(|object| object["spec"]["template"]["spec"]["containers"][0]["image"].as_str());
        Ok(image.with_context(|| format!("nothing in {namespace} is called {name}"))?.to_owned())
    }

    /// The objects of a file in k8s/, as kubectl reads them.
    pub(crate) async fn read(&self, file: &str) -> Result<Vec<Value>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s").join(file).display().to_string();
        let read = self.kubectl().run(&["create", "--dry-run=client", "-o", "json", "-f", &path]).await?;
        let objects = serde_json::Deserializer::from_str(&read).into_iter();
        objects.collect::<Result<_, _>>().with_context(|| format!("kubectl read {path} as: {read}"))
    }

    /// Runs a test; its failure comes with how the cluster stood.
    pub(crate) async fn told<T>(&self, test: impl Future<Output = Result<T>>) -> Result<T, String> {
        match test.await {
            Ok(value) => Ok(value),
            Err(error) => Err(format!("{error:#}\n{}", self.standing().await)),
        }
    }

    async fn standing(&self) -> String {
        let mut told = String::new();
        for namespace in NAMESPACES.into_iter().chain([self.release()]) {
            for what in ["pods -o wide", "stacks -o wide", "events --field-selector type=Warning"] {
                let args = ["--namespace", namespace, "get"].into_iter().chain(what.split(' '));
                let said = self.kubectl().run(&args.collect::<Vec<_>>()).await;
                told += &said.unwrap_or_else(|error| format!("{error:#}\n"));
            }
        }
        told
    }
}
