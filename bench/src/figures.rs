//! The figures, one file each, and what they run on.

mod apply_to_ready;
mod body_flood_p99;
mod broker_ping_ratio;
mod console_first_view;
mod event_stored_p99;
mod idle_rss;
mod log_rpc_p99;
mod log_rpc_rate;
mod login_flood_p99;
mod login_rate;
mod logout_to_mail_p99;
mod operator;
mod pool_drops;
mod process_ready;
mod real_api;
mod rollout_failed_calls;
mod search_200k;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use http::{Method, StatusCode};
use tokio::time::timeout;
use weft_devstack::{DevStack, Options, Service};

use crate::cluster::Cluster;
use crate::figure::{Figure, Goal, Measured};
use crate::load::Load;
use crate::operator::Operators;

/// Any one figure takes less, also where nothing works.
const WITHIN: Duration = Duration::from_secs(600);
/// A thousand dropped calls take less.
const DROPS_WITHIN: Duration = Duration::from_secs(5);

/// A figure's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Name {
    /// From `kubectl apply` of a Stack to Ready.
    ApplyToReady,
    /// From a process's start to its readiness.
    ProcessReady,
    /// Log calls each second.
    LogRpcRate,
    /// Latency of log calls at a fixed rate.
    LogRpcP99,
    /// From an event to its stored entry.
    EventStoredP99,
    /// Sign-ins each second, as a share of the passwords that the machine can hash.
    LoginRate,
    /// Latency of log calls while sign-ins flood in.
    LoginFloodP99,
    /// Latency of log calls while other clients hold bodies.
    BodyFloodP99,
    /// The broker's `GET /ping` against that of bare axum.
    BrokerPingRatio,
    /// From a sign-out to its mail.
    LogoutToMailP99,
    /// The console's first view in a browser.
    ConsoleFirstView,
    /// Calls that are lost or stuck after many were dropped half way.
    PoolDrops,
    /// Memory of the idle processes.
    IdleRss,
    /// Searches among many entries.
    #[value(name = "search_200k")]
    Search200k,
    /// Calls that fail while the Stack is changed.
    RolloutFailedCalls,
    /// Memory of the operator of many Stacks.
    #[value(name = "operator_rss_1000")]
    OperatorRss1000,
    /// From nothing until everything that many Stacks own is there.
    #[value(name = "converge_1000")]
    Converge1000,
    /// From an edit among many Stacks to its last write.
    EditP99,
    /// What the operator of many Stacks uses of a core when nothing happens.
    IdleCpu,
    /// From the operator's start until it has looked at many Stacks again.
    RestartConverged,
    /// Generated Stacks that an API server accepts.
    RealApi,
}

/// Figures that need the same around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Those on the cluster.
    Cluster,
    /// The operator beside an API server of its own.
    Operator,
    /// The services as processes.
    Services,
}

impl Name {
    /// What it is measured on.
    pub fn group(self) -> Group {
        match self {
            Self::ApplyToReady | Self::IdleRss | Self::RolloutFailedCalls => Group::Cluster,
            Self::OperatorRss1000
            | Self::Converge1000
            | Self::EditP99
            | Self::IdleCpu
            | Self::RestartConverged => Group::Operator,
            _ => Group::Services,
        }
    }
}

/// What the log calls are measured with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whether spans are made and sent.
    pub traces: bool,
    /// The share of traces that is kept.
    pub trace_ratio: f64,
    /// How many Stacks the operator is measured with.
    pub stacks: Vec<usize>,
    /// How many calls are dropped half way.
    pub drops: u32,
}

impl Setup {
    fn options(&self) -> Options {
        Options { traces: self.traces, trace_ratio: self.trace_ratio, ..Options::default() }
    }

    fn note(&self) -> String {
        if self.traces {
            format!("with traces, ratio {}", self.trace_ratio)
        } else {
            "without traces".to_owned()
        }
    }
}

/// Measures these figures, one after the other: first those on the cluster, so that nothing of it is left to disturb the
/// others.
pub async fn measure(wanted: &[Name], setup: &Setup) -> Vec<Figure> {
    let of = |group| wanted.iter().copied().filter(move |name: &Name| name.group() == group);
    let mut cluster = Cluster::default();
    let mut figures = Vec::new();
    for name in of(Group::Cluster) {
        figures.push(one(name, setup, &mut cluster).await);
    }
    if let Err(error) = cluster.remove().await {
        eprintln!("the release that was measured is not wholly gone: {error:#}");
    }
    let mut operators = Operators::new(&setup.stacks);
    for name in of(Group::Operator) {
        figures.extend(operator::measure(name, &mut operators).await);
    }
    for name in of(Group::Services) {
        figures.push(one(name, setup, &mut Cluster::default()).await);
    }
    figures
}

async fn one(name: Name, setup: &Setup, cluster: &mut Cluster) -> Figure {
    let Some((label, unit, goal)) = name.promise() else {
        let none = Err(anyhow::anyhow!("it is measured with the others of its group"));
        return Figure::new(format!("{name:?}"), "", Goal::AtMost(0.0), none);
    };
    eprintln!("measuring {label}");
    let measuring = async {
        match name {
            Name::ApplyToReady => apply_to_ready::measure(cluster).await,
            Name::ProcessReady => process_ready::measure().await,
            Name::LogRpcRate => log_rpc_rate::measure(setup).await,
            Name::LogRpcP99 => log_rpc_p99::measure(setup).await,
            Name::EventStoredP99 => event_stored_p99::measure().await,
            Name::LoginRate => login_rate::measure(setup).await,
            Name::LoginFloodP99 => login_flood_p99::measure(setup).await,
            Name::BodyFloodP99 => body_flood_p99::measure(setup).await,
            Name::BrokerPingRatio => broker_ping_ratio::measure(setup).await,
            Name::LogoutToMailP99 => logout_to_mail_p99::measure(setup).await,
            Name::ConsoleFirstView => console_first_view::measure(setup).await,
            Name::PoolDrops => pool_drops::measure(setup).await,
            Name::Search200k => search_200k::measure(setup).await,
            Name::IdleRss => idle_rss::measure(cluster).await,
            Name::RolloutFailedCalls => rollout_failed_calls::measure(cluster).await,
            Name::RealApi => real_api::measure().await,
            Name::OperatorRss1000
            | Name::Converge1000
            | Name::EditP99
            | Name::IdleCpu
            | Name::RestartConverged => anyhow::bail!("it is measured with the others of its group"),
        }
    };
    let within = if name == Name::PoolDrops { WITHIN + DROPS_WITHIN * (setup.drops / 1_000) } else { WITHIN };
    let measured =
        timeout(within, measuring).await.with_context(|| format!("not within {within:?}")).flatten();
    Figure::new(label, unit, goal, measured)
}

impl Name {
    /// What it is called, its unit, and what it is to be; nothing for the operator's, which have a file of their own.
    fn promise(self) -> Option<(&'static str, &'static str, Goal)> {
        Some(match self {
            Self::ApplyToReady => ("apply_to_ready", "s", Goal::AtMost(20.0)),
            Self::ProcessReady => ("process_ready", "s", Goal::AtMost(1.0)),
            Self::LogRpcRate => ("log_rpc_rate", "/s", Goal::AtLeast(8_000.0)),
            Self::LogRpcP99 => ("log_rpc_p99", "ms", Goal::AtMost(10.0)),
            Self::EventStoredP99 => ("event_stored_p99", "ms", Goal::AtMost(50.0)),
            Self::LoginRate => ("login_rate", "of argon2id's", Goal::AtLeast(0.9)),
            Self::LoginFloodP99 => ("login_flood_p99", "ms", Goal::AtMost(50.0)),
            Self::BodyFloodP99 => ("body_flood_p99", "ms", Goal::AtMost(50.0)),
            Self::BrokerPingRatio => ("broker_ping_ratio", "of axum's", Goal::AtLeast(0.9)),
            Self::LogoutToMailP99 => ("logout_to_mail_p99", "ms", Goal::AtMost(2_000.0)),
            Self::ConsoleFirstView => ("console_first_view", "s", Goal::AtMost(1.0)),
            Self::PoolDrops => ("pool_drops", "lost or stuck", Goal::AtMost(0.0)),
            // The broker's deadline of 10 s, and the way of the 504.
            Self::Search200k => ("search_200k", "ms", Goal::AtMost(10_500.0)),
            Self::IdleRss => ("idle_rss", "MiB", Goal::AtMost(120.0)),
            Self::RolloutFailedCalls => ("rollout_failed_calls", "of 10,000", Goal::AtMost(0.0)),
            Self::RealApi => ("real_api", "Stacks", Goal::AtLeast(200.0)),
            Self::OperatorRss1000
            | Self::Converge1000
            | Self::EditP99
            | Self::IdleCpu
            | Self::RestartConverged => return None,
        })
    }
}

/// `POST /handle` with this body, again and again.
fn load(stack: &DevStack, body: impl Into<Bytes>) -> Load {
    let (address, body) = (authority(&stack.broker_url()), body.into());
    Load { address, method: Method::POST, path: "/handle", body, answer: StatusCode::ACCEPTED }
}

/// `host:port` of a URL.
fn authority(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// The 99th percentile in milliseconds, with the others beside it in a note.
fn p99_ms(latencies: impl Iterator<Item = Duration>) -> Result<Measured> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for latency in latencies {
        histogram.record(u64::try_from(latency.as_micros())?)?;
    }
    let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile)).as_secs_f64() * 1_000.0;
    let note = format!(
        "{} requests, p50 {:.1} ms, p90 {:.1} ms, most {:.1} ms",
        histogram.len(),
        at(0.5),
        at(0.9),
        at(1.0)
    );
    Ok(Measured { value: at(0.99), notes: vec![note] })
}

/// Every service but the console, by name.
fn services(stack: &DevStack) -> [(&'static str, &Service); 5] {
    [
        ("broker", &stack.broker),
        ("logger", &stack.logger),
        ("listener", &stack.listener),
        ("authentication", &stack.authentication),
        ("mail", &stack.mail),
    ]
}

/// What the services themselves complained of while they were measured, such as spans that were dropped.
fn complaints(stack: &DevStack) -> Vec<String> {
    services(stack)
        .into_iter()
        .filter_map(|(name, service)| {
            let log = fs::read_to_string(service.log_file()).ok()?;
            let grave =
                |line: &&str| line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"");
            let lines: Vec<&str> = log.lines().filter(grave).collect();
            let last = lines.last()?;
            Some(format!("{name} logged {} warnings; the last: {last}", lines.len()))
        })
        .collect()
}
