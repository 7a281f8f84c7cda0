//! The whole controller against an API server in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use serde_json::{Value, json};
use weft_operator::context::{Context, Retries};
use weft_operator::controller::{Scope, control_as, feeds};
use weft_operator::installation::{
    Flavour, Images, Installation, Jaeger, MailCatcher, MongoDb, Postgres, RabbitMq, StoreImages,
    TracingImages, Watch,
};
use weft_operator::leader::Leadership;
use weft_operator::ledger::Ledger;
use weft_operator::metrics::OperatorMetrics;
use weft_runtime::clock::{FixedClock, SystemClock};
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;
use weft_runtime::status::StoreStatus;

use crate::fake::{Cluster, Id};

pub(crate) fn installation() -> Installation {
    let images = |version: &str| Images {
        broker: format!("weft/broker:{version}"),
        logger: format!("weft/logger:{version}"),
        listener: format!("weft/listener:{version}"),
        authentication: format!("weft/authentication:{version}"),
        mail: format!("weft/mail:{version}"),
        frontend: format!("weft/frontend:{version}"),
    };
    Installation {
        release: "weft".to_owned(),
        namespace: Some("weft-system".to_owned()),
        monitoring_namespaces: Vec::new(),
        versions: ["0.1.0", "0.2.0"].map(|version| (version.to_owned(), images(version))).into(),
        stores: StoreImages {
            mongodb: MongoDb { image: "mongo:8".to_owned(), flavour: Flavour::MongoDb },
            rabbitmq: RabbitMq { image: "rabbitmq:4".to_owned() },
            postgres: Postgres { image: "postgres:17".to_owned() },
            mailcatcher: MailCatcher { image: "maildev:3".to_owned() },
        },
        tracing: TracingImages { jaeger: Jaeger { image: "jaeger:2".to_owned(), major: 2 } },
        pull_secrets: Vec::new(),
        watch: Watch::default(),
    }
}

/// A Stack named `name` in namespace `shop`.
pub(crate) fn stack(name: &str, spec: Value) -> (Id, Value) {
    let object = json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "Stack",
        "metadata": { "name": name, "namespace": "shop" }, "spec": spec,
    });
    (Id::shop("stacks", name), object)
}

/// What every pod tells of its stores.
pub(crate) type Told = Arc<Mutex<BTreeMap<String, StoreStatus>>>;

pub(crate) struct Operator {
    pub(crate) context: Arc<Context>,
    pub(crate) told: Told,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

impl Operator {
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, installation()).await
    }

    pub(crate) async fn start_with(cluster: &Cluster, installation: Installation) -> Self {
        Self::start_as(cluster, installation, Leadership::always()).await
    }

    pub(crate) async fn start_as(
        cluster: &Cluster,
        installation: Installation,
        leadership: Leadership,
    ) -> Self {
        let passwords = AtomicU32::new(0);
        let password = move || format!("password-number-{}", passwords.fetch_add(1, Ordering::Relaxed));
        Self::start_by(cluster.client(), installation, leadership, password).await
    }

    pub(crate) async fn start_by(
        client: kube::Client,
        installation: Installation,
        leadership: Leadership,
        password: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start_in(client, &Scope::All, installation, leadership, password).await
    }

    pub(crate) async fn start_in(
        client: kube::Client,
        scope: &Scope,
        installation: Installation,
        leadership: Leadership,
        password: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        let metrics = OperatorMetrics::register(&Metrics::default());
        let (cache, feeds) = feeds(&client, scope, &metrics);
        cache.ready().await.unwrap();
        let told = Told::default();
        *told.lock().unwrap() = usable();
        let telling = Arc::clone(&told);
        let shutdown = Shutdown::default();
        let context = Arc::new(Context {
            client,
            cache,
            installation: Arc::new(installation),
            ledger: Ledger::default(),
            retries: Retries::default(),
            metrics,
            clock: Arc::new(FixedClock(weft_runtime::clock::Clock::now(&SystemClock))),
            password: Arc::new(password),
            ask_stores: Arc::new(move |_| {
                let told = telling.lock().unwrap().clone();
                async { Some(told) }.boxed()
            }),
        });
        let task = tokio::spawn(control_as(Arc::clone(&context), feeds, leadership, shutdown.clone()));
        Self { context, told, shutdown, task }
    }

    /// Ends it as SIGKILL does.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|ended| ended.is_cancelled()), "it had ended by itself");
    }

    /// Ends it as SIGTERM does, and waits for it.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }
}

fn usable() -> BTreeMap<String, StoreStatus> {
    let status =
        StoreStatus { reachable: true, authenticated: true, migrated: true, version: None, message: None };
    ["mongodb", "rabbitmq", "postgres", "smtp"].map(|store| (store.to_owned(), status.clone())).into()
}

/// A cluster whose pods run at once, with this Stack, ready.
pub(crate) async fn ready(spec: Value) -> (Cluster, Operator) {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        let (id, object) = stack("shop", spec);
        state.put(&id, object);
    });
    let operator = Operator::start(&cluster).await;
    cluster.eventually("the Stack is ready", |state| state.is_ready("shop")).await;
    (cluster, operator)
}

pub(crate) fn full() -> Value {
    json!({ "version": "0.1.0", "services": { "broker": { "replicas": 2 } }, "tracing": { "managed": {} } })
}
