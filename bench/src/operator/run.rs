//! One run, from nothing to an end: what so many Stacks cost.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::routing::get;
use axum::{Json, Router};
use hdrhistogram::Histogram;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use weft_devstack::{ApiServer, StateDir, free_port, our_binary};

use super::client::Client;
use super::crowd::{self, STACKS};
use super::program::{Program, cpu_s};

/// So many are edited, each once.
const EDITS: usize = 100;
const IDLE: Duration = Duration::from_secs(30);
/// As the operator lists everything anew, and looks at every Stack.
const LISTED_ANEW_S: f64 = 600.0;
/// Rarely enough that looking costs the API server little.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const WITHIN: Duration = Duration::from_secs(600);

/// What so many Stacks cost.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) converge_s: f64,
    pub(crate) rss_mib: f64,
    pub(crate) idle_percent: f64,
    pub(crate) restart_s: f64,
    pub(crate) edit_p99_ms: f64,
    /// Of each figure, what a reader has to know.
    pub(crate) converge_note: String,
    pub(crate) rss_note: String,
    pub(crate) idle_note: String,
    pub(crate) restart_note: String,
    pub(crate) edit_note: String,
}

struct Api {
    client: Client,
    // Dropped before its folder.
    server: ApiServer,
    folder: StateDir,
}

impl Api {
    async fn start() -> Result<Self> {
        let folder = StateDir::temporary()?;
        let server = ApiServer::start(folder.path()).await?;
        let api = Self { client: Client::new(server.proxy_url()), server, folder };
        api.define().await?;
        Ok(api)
    }

    /// The definition of Stack, as this build of the operator prints it.
    async fn define(&self) -> Result<()> {
        let printed = Command::new(our_binary("weft-operator")?).arg("crd").output().await?;
        ensure!(printed.status.success(), "weft-operator crd failed");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.client.post_yaml(path, printed.stdout).await?;
        self.client.waits("/apis/weft.dev/v1alpha1/stacks").await
    }

    fn cpu_s(&self) -> Result<f64> {
        cpu_s(self.server.pid().with_context(|| self.server.log_tail())?)
    }
}

struct Operator {
    program: Program,
    admin: String,
}

pub(super) async fn measure(stacks: usize) -> Result<Run> {
    let api = Api::start().await?;
    let client = api.client.clone();
    let asked = answer_for_pods().await?;
    let operator = start(&api).await?;
    // One Stack, 0, shows what a Stack owns, and warms up both sides.
    let before = crowd::counts(&client).await?;
    client.write_all(crowd::namespaces(0..=stacks)).await?;
    client.write_all(crowd::stacks(0..1)).await?;
    let with_one = settled(&client).await?;
    let owed = crowd::owed(&before, &with_one, stacks + 1)?;
    let of_one: u64 = with_one.values().sum::<u64>() - before.values().sum::<u64>();
    ensure!(of_one >= 30, "a Stack owns only {of_one} objects");

    let (cpu, server_cpu, started) = (operator.program.cpu_s()?, api.cpu_s()?, Instant::now());
    client.write_all(crowd::stacks(1..stacks + 1)).await?;
    let created_s = started.elapsed().as_secs_f64();
    within("every object and status", async || {
        Ok(crowd::counted(&client, &owed).await? && crowd::all_observed(&client, stacks + 1).await?)
    })
    .await?;
    let converge_s = started.elapsed().as_secs_f64();
    let converge_note = format!(
        "{of_one} objects for each of {stacks} Stacks, which were created in {created_s:.1} s; the operator used {:.1} s of processor, the API server {:.1} s",
        operator.program.cpu_s()? - cpu,
        api.cpu_s()? - server_cpu
    );

    crowd::play_the_rest(&client, 0..stacks + 1).await?;
    within("every Stack Ready", async || {
        crowd::end_jobs(&client).await?;
        Ok(crowd::ready(&client).await? == stacks + 1)
    })
    .await?;
    let (cpu, started) = (operator.program.cpu_s()?, Instant::now());
    // Not for a condition: to be idle for this long is what is measured.
    sleep(IDLE).await;
    let idle = (operator.program.cpu_s()? - cpu) / started.elapsed().as_secs_f64();
    let rss_mib = operator.program.resident_mib()?;
    let rss_note =
        format!("{stacks} Stacks, Ready and idle; at most {:.1} MiB", operator.program.peak_mib()?);
    operator.program.stop().await?;

    let (operator, restart_s) = restart(&api, stacks).await?;
    let anew = operator.program.cpu_s()?;
    let restart_note = format!(
        "{anew:.1} s of processor, {:.1} MiB, {} writes until each of {stacks} Stacks was looked at and {} edited meanwhile were as their edits say",
        operator.program.resident_mib()?,
        written(&client, &operator).await?,
        stacks.min(10)
    );
    let idle_percent = 100.0 * (idle + anew / LISTED_ANEW_S);
    let idle_note = format!(
        "{stacks} Stacks: {:.2} % in {} s of rest, and what it takes to list and look at all of them as at a restart, which it does every ten minutes",
        100.0 * idle,
        IDLE.as_secs()
    );
    let edits = edits(&client, stacks).await?;
    asked.abort();
    operator.program.stop().await?;
    let at = |quantile| edits.value_at_quantile(quantile);
    let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1_000.0;
    let edit_note = format!(
        "{} edits among {stacks} Stacks, from the request until its last write, the status, was seen: p50 {:.1} ms, most {:.1} ms",
        edits.len(),
        ms(at(0.5)),
        ms(at(1.0))
    );
    let edit_p99_ms = ms(at(0.99));
    Ok(Run {
        converge_s,
        rss_mib,
        idle_percent,
        restart_s,
        edit_p99_ms,
        converge_note,
        rss_note,
        idle_note,
        restart_note,
        edit_note,
    })
}

async fn start(api: &Api) -> Result<Operator> {
    let operator = spawn(api)?;
    operator.program.serves(api.client.http(), &format!("{}/readyz", operator.admin)).await?;
    Ok(operator)
}

fn spawn(api: &Api) -> Result<Operator> {
    let (folder, port) = (api.folder.path(), free_port()?);
    let config = folder.join("installation.json");
    fs::write(&config, installation().to_string())?;
    let env = [
        ("KUBECONFIG", api.server.kubeconfig().display().to_string()),
        ("WEFT_OPERATOR_CONFIG", config.display().to_string()),
        ("WEFT_ADMIN_ADDR", format!("127.0.0.1:{port}")),
        // As the image has it.
        ("MIMALLOC_ALLOW_THP", "0".to_owned()),
    ];
    let log = folder.join(format!("operator-{port}.log"));
    let program = Program::start(&our_binary("weft-operator")?, [""; 0], &env, log)?;
    Ok(Operator { program, admin: format!("http://127.0.0.1:{port}") })
}

/// As the chart writes it.
fn installation() -> Value {
    let image = |name: &str| format!("docker.io/weft/weft-{name}:0.1.0");
    let services = ["broker", "logger", "listener", "authentication", "mail", "frontend"];
    let images: serde_json::Map<_, _> =
        services.iter().map(|name| ((*name).to_owned(), image(name).into())).collect();
    json!({
        "release": "weft",
        "versions": { "0.1.0": images },
        "stores": {
            "mongodb": { "image": "docker.io/library/mongo:8.0", "flavour": "mongodb" },
            "rabbitmq": { "image": "docker.io/library/rabbitmq:4.1" },
            "postgres": { "image": "docker.io/library/postgres:17" },
            "mailcatcher": { "image": "docker.io/maildev/maildev:3.0.0" },
        },
        "tracing": { "jaeger": { "image": "docker.io/jaegertracing/jaeger:2.11.0", "major": 2 } },
    })
}

/// Answers for every pod that the operator asks how its stores stand.
async fn answer_for_pods() -> Result<tokio::task::JoinHandle<()>> {
    let usable = json!({ "reachable": true, "authenticated": true, "migrated": true });
    let stores = ["mongodb", "rabbitmq", "postgres", "smtp"].map(|name| (name.to_owned(), usable.clone()));
    let told = Value::Object(stores.into_iter().collect());
    let app = Router::new().route("/status", get(move || std::future::ready(Json(told.clone()))));
    let listener =
        TcpListener::bind("127.0.0.1:9090").await.context("the pods' admin port, 9090, is taken")?;
    Ok(tokio::spawn(async move { axum::serve(listener, app).await.unwrap_or_default() }))
}

/// What there is once nothing more comes.
async fn settled(client: &Client) -> Result<crowd::Counts> {
    let mut before = crowd::Counts::new();
    loop {
        // Not for a condition: that nothing comes for so long is the condition.
        sleep(Duration::from_secs(3)).await;
        let now = crowd::counts(client).await?;
        if now == before && crowd::all_observed(client, 1).await? {
            return Ok(now);
        }
        before = now;
    }
}

async fn within(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "{what}: not within {WITHIN:?}");
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Starts the operator again, after some Stacks were edited while none ran, and waits until it has caught up.
async fn restart(api: &Api, stacks: usize) -> Result<(Operator, f64)> {
    let edited = 1..=stacks.min(10);
    let edit = |number| {
        (
            Method::PATCH,
            crowd::stack_path(number),
            json!({ "spec": { "services": { "logger": { "replicas": 2 } } } }),
        )
    };
    api.client.write_all(edited.map(edit)).await?;
    let started = Instant::now();
    let operator = spawn(api)?;
    within("every Stack looked at again", async || {
        let Ok(passes) =
            metric(&api.client, &operator, "weft_operator_reconciles_total{result=\"ok\"}").await
        else {
            return Ok(false);
        };
        Ok(passes > stacks as f64 && crowd::all_observed(&api.client, stacks + 1).await?)
    })
    .await?;
    Ok((operator, started.elapsed().as_secs_f64()))
}

async fn written(client: &Client, operator: &Operator) -> Result<f64> {
    metric(client, operator, "weft_operator_writes_total").await
}

/// The sum of a counter.
async fn metric(client: &Client, operator: &Operator, name: &str) -> Result<f64> {
    let text = client.http().get(format!("{}/metrics", operator.admin)).send().await?.text().await?;
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

/// Edits Stacks, one after the other, each as soon as the one before is told of.
async fn edits(client: &Client, stacks: usize) -> Result<Histogram<u64>> {
    let mut told = watch(client).await?;
    let mut histogram = Histogram::<u64>::new(3)?;
    for number in (0..EDITS).map(|edit| 1 + edit * 7 % stacks) {
        let replicas = 3 + histogram.len() % 7;
        let edit = json!({ "spec": { "services": { "broker": { "replicas": replicas } } } });
        let started = Instant::now();
        let edited = client.write((Method::PATCH, crowd::stack_path(number), edit)).await?;
        let generation = edited["metadata"]["generation"].as_i64().context("no generation")?;
        let namespace = crowd::namespace(number);
        let last = async {
            while let Some((when, whose, observed)) = told.recv().await {
                if whose == namespace && observed >= generation {
                    return Some(when);
                }
            }
            None
        };
        let when = timeout(Duration::from_secs(30), last).await.context("an edit was never told of")?;
        let took = when.context("the watch has ended")? - started;
        histogram.record(u64::try_from(took.as_micros())?)?;
    }
    Ok(histogram)
}

/// When which namespace's Stack said what generation.
type Told = mpsc::UnboundedReceiver<(Instant, String, i64)>;

async fn watch(client: &Client) -> Result<Told> {
    let list = client.get(&format!("{STACKS}?limit=1")).await?;
    let version = list["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned();
    let mut answer = client.stream(&format!("{STACKS}?watch=true&resourceVersion={version}")).await?;
    let (sender, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut rest = Vec::new();
        while let Ok(Some(more)) = answer.chunk().await {
            rest.extend_from_slice(&more);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
                let namespace = event["object"]["metadata"]["namespace"].as_str().unwrap_or_default();
                let observed = event["object"]["status"]["observedGeneration"].as_i64().unwrap_or_default();
                if sender.send((Instant::now(), namespace.to_owned(), observed)).is_err() {
                    return;
                }
            }
        }
    });
    Ok(told)
}
