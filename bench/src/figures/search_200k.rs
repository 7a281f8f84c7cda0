//! Searches as the console asks for them, among 200,000 entries.
//!
//! FerretDB looks up by `_id` alone: it reads every entry for each search, whatever is asked for. So the times are a report. What is held
//! to a goal is that every search is answered, or ended with 504, within the broker's deadline, also while slow ones run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{try_join, try_join_all};
use jiff::Timestamp;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_devstack::DevStack;
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, Level, WriteManyRequest};
use weft_runtime::clock::{Clock as _, SystemClock};

use super::{Setup, complaints, p99_ms};
use crate::figure::Measured;

const ENTRIES: i64 = 200_000;
const TOGETHER: i64 = 1_000;
/// Time between two entries: all of them cover about two days.
const EVERY_MS: i64 = 900;
const SERVICES: [&str; 5] = ["broker", "shop", "stock", "mail", "listener"];
const LEVELS: [Level; 6] =
    [Level::Info, Level::Info, Level::Info, Level::Debug, Level::Warning, Level::Error];
/// Searches of each kind, one after the other.
const EACH: usize = 5;
/// Slow searches at once, beside which others are measured.
const SLOW: usize = 4;

type Filters = Vec<(&'static str, String)>;

/// How long searches took, and how many were not answered with entries.
#[derive(Default)]
struct Took {
    latencies: Vec<Duration>,
    ended: usize,
    refused: usize,
}

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let now = SystemClock.now();
    fill(&stack, now).await?;
    let mut took: BTreeMap<&'static str, Took> = BTreeMap::new();
    for (kind, filters) in kinds(now) {
        // Searches of all kinds can take longer than an access token is valid.
        let client = Client::sign_in(&stack).await?;
        for _ in 0..EACH {
            client.search(&filters, took.entry(kind).or_default()).await?;
        }
    }
    let client = Client::sign_in(&stack).await?;
    let slow = try_join_all((0..SLOW).map(|_| async {
        let mut took = Took::default();
        client.search(&text(), &mut took).await.map(|()| took)
    }));
    let newest = Filters::new();
    let beside = client.search(&newest, took.entry("newest, beside 4 slow searches").or_default());
    let (slow, ()) = try_join(slow, beside).await?;
    took.entry("text, 4 at once").or_default().extend(slow);

    let mut measured = p99_ms(took.values().flat_map(|took| took.latencies.iter().copied()))?;
    for (kind, took) in &took {
        measured.notes.push(took.note(kind)?);
    }
    measured.notes.extend(complaints(&stack));
    Ok(measured)
}

fn text() -> Filters {
    vec![("text", "in no entry".to_owned())]
}

fn kinds(now: Timestamp) -> Vec<(&'static str, Filters)> {
    let of = |name, value: &str| (name, value.to_owned());
    let hour_ago = Timestamp::from_second(now.as_second() - 3_600).unwrap_or(now).to_string();
    vec![
        ("newest", vec![]),
        ("service", vec![of("service", "shop")]),
        ("level", vec![of("level", "ERROR")]),
        ("service and level", vec![of("service", "shop"), of("level", "ERROR")]),
        ("trace", vec![of("trace_id", &trace(7))]),
        ("last hour", vec![of("from", &hour_ago)]),
        ("text", text()),
        ("text and service", [text(), vec![of("service", "shop")]].concat()),
    ]
}

fn trace(number: i64) -> String {
    format!("{:032x}", number + 1)
}

async fn fill(stack: &DevStack, now: Timestamp) -> Result<()> {
    let mut logger = LogServiceClient::connect(format!("http://{}", stack.logger.grpc_address())).await?;
    for first in (0..ENTRIES).step_by(usize::try_from(TOGETHER)?) {
        let entries = (first..first + TOGETHER).map(|number| entry(number, now)).collect();
        logger.write_many(WriteManyRequest { entries, traceparents: vec![] }).await?;
    }
    Ok(())
}

fn entry(number: i64, now: Timestamp) -> Entry {
    let ms = now.as_millisecond() - (ENTRIES - number) * EVERY_MS;
    let turn = usize::try_from(number).unwrap_or_default();
    Entry {
        id: SystemClock.new_id().to_string(),
        time: Some(prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos: 0 }),
        service: SERVICES[turn % SERVICES.len()].to_owned(),
        level: LEVELS[turn % LEVELS.len()].into(),
        name: format!("order {number}"),
        data: "some data of the length that the course's front end sends".to_owned(),
        trace_id: trace(number / 10),
        ..Entry::default()
    }
}

struct Client {
    broker: String,
    http: reqwest::Client,
    token: String,
}

impl Client {
    async fn sign_in(stack: &DevStack) -> Result<Self> {
        let (broker, http) = (stack.broker_url(), reqwest::Client::new());
        let (email, password) = stack.admin();
        let body = json!({"action": "auth", "auth": {"email": email, "password": password}});
        let reply: Value = http.post(format!("{broker}/handle")).json(&body).send().await?.json().await?;
        let token = reply["data"]["access_token"].as_str().context("no access token")?.to_owned();
        Ok(Self { broker, http, token })
    }

    async fn search(&self, filters: &Filters, took: &mut Took) -> Result<()> {
        let begun = Instant::now();
        let mut url = Url::parse_with_params(&format!("{}/v1/logs", self.broker), filters)?;
        url.query_pairs_mut().append_pair("limit", "50");
        let reply = self.http.get(url).bearer_auth(&self.token).send().await?;
        let status = reply.status().as_u16();
        let body = reply.text().await?;
        took.latencies.push(begun.elapsed());
        ensure!([200, 429, 504].contains(&status), "{filters:?} was answered {status}: {body}");
        took.ended += usize::from(status == 504);
        took.refused += usize::from(status == 429);
        Ok(())
    }
}

impl Took {
    fn extend(&mut self, others: Vec<Self>) {
        for Self { latencies, ended, refused } in others {
            self.latencies.extend(latencies);
            self.ended += ended;
            self.refused += refused;
        }
    }

    fn note(&self, kind: &str) -> Result<String> {
        let Measured { value, notes } = p99_ms(self.latencies.iter().copied())?;
        let Self { ended, refused, .. } = self;
        Ok(format!(
            "{kind}: p99 {value:.0} ms; {}; {ended} ended with 504, {refused} refused with 429",
            notes.join(", ")
        ))
    }
}
