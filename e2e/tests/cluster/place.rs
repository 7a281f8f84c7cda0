//! The release, its Stack, and the ways in.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use weft_devcluster::{Kubectl, Sandbox, Settings};
use weft_e2e::{Broker, Jaeger, Mailbox, until};

/// Where the Stack is that everything happens to.
pub(crate) const ROAD: &str = "weft-e2e-road";
/// Where Stacks go that are never to run.
pub(crate) const SPARE: &str = "weft-e2e-spare";
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
        let sandbox = Sandbox::install(Settings::from_env()?, "weft-e2e", &[ROAD, SPARE]).await?;
        Ok(Self { sandbox, doors: OnceCell::new() })
    }

    /// Applies the Stack, waits until it is Ready, and opens ports to it.
    pub(crate) async fn open(&self) -> Result<(), String> {
        let opening = async {
            let spec = json!({
                "version": self.version()?, "tracing": {"managed": {}},
                // Node ports masquerade: everybody here has one address.
                "limits": {"requestsPerSecond": 0, "signInBurst": 100_000, "signInPerMinute": 1_000_000},
            });
            self.kubectl().apply(&self.stack(STACK, ROAD, &spec).to_string()).await?;
            self.ready().await?;
            let (email, password) = self.admin().await?;
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

    /// Email and password of the first user, as the operator's Secret has them.
    async fn admin(&self) -> Result<(String, String)> {
        let secret = ["--namespace", ROAD, "get", "secret", &format!("{STACK}-admin")];
        let template = "go-template={{.data.email | base64decode}}\n{{.data.password | base64decode}}";
        let text = self.kubectl().run(&[&secret[..], &["-o", template]].concat()).await?;
        let (email, password) = text.split_once('\n').context("a Secret without email and password")?;
        Ok((email.to_owned(), password.to_owned()))
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
        until("the Stack to be Ready", READY_WITHIN, async || {
            let stack = self.found_stack(STACK, ROAD).await?;
            let observed = &stack["status"]["observedGeneration"];
            ensure!(*observed == stack["metadata"]["generation"], "generation {observed} was observed");
            let ready = condition(&stack, "Ready").context("no condition Ready")?;
            ensure!(ready["status"] == "True", "{}: {}", ready["reason"], ready["message"]);
            Ok(())
        })
        .await
    }

    /// The pods of one service or store that are not about to end.
    pub(crate) async fn pods(&self, namespace: &str, app: &str) -> Result<Vec<Value>> {
        let label = format!("app.kubernetes.io/name={app}");
        let mut pods = self.kubectl().list(namespace, &["pods", "-l", &label]).await?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
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

    /// Runs a test; its failure comes with how the cluster stood.
    pub(crate) async fn told<T>(&self, test: impl Future<Output = Result<T>>) -> Result<T, String> {
        match test.await {
            Ok(value) => Ok(value),
            Err(error) => Err(format!("{error:#}\n{}", self.standing().await)),
        }
    }

    async fn standing(&self) -> String {
        let mut told = String::new();
        for namespace in [ROAD, SPARE, self.release()] {
            for what in ["pods -o wide", "stacks -o wide", "events --field-selector type=Warning"] {
                let args = ["--namespace", namespace, "get"].into_iter().chain(what.split(' '));
                let said = self.kubectl().run(&args.collect::<Vec<_>>()).await;
                told += &said.unwrap_or_else(|error| format!("{error:#}\n"));
            }
        }
        told
    }
}

/// A condition of an object's status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}
