//! Calls whose client leaves at a random point, against PostgreSQL, MongoDB and RabbitMQ: what was answered has to be in the store, and
//! nothing may stay behind on a connection.

use std::collections::HashSet;
use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::RawDocumentBuf;
use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};
use weft_devstack::{DevStack, StateDir, our_binary};

use super::login_rate::sign_in;
use super::{Setup, authority, complaints};
use crate::figure::Measured;

const CLIENTS: u32 = 32;
/// At first; see [`Patience`].
const DROPPED_WITHIN: Duration = Duration::from_millis(12);
/// Calls of each client after the drops.
const FRESH: u32 = 9;
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
const STUCK: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'weft-authentication' \
                     AND xact_start < now() - interval '1 second'";

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let seed = match env::var("WEFT_BENCH_SEED") {
        Ok(seed) => seed.parse::<u64>().context("WEFT_BENCH_SEED: expected a whole number")?,
        Err(_) => rand::random(),
    };
    eprintln!("WEFT_BENCH_SEED={seed}");
    let stack = DevStack::start(setup.options()).await?;
    let started = Instant::now();
    let clients = (0..CLIENTS).map(|number| Client::start(&stack, number, seed));
    let mut clients = try_join_all(clients).await?;
    try_join_all(clients.iter_mut().map(|client| client.drop_calls(setup.drops / CLIENTS))).await?;
    let dropping = started.elapsed();
    try_join_all(clients.iter_mut().map(Client::fresh_calls)).await?;
    let acknowledged: HashSet<String> =
        clients.iter_mut().flat_map(|client| client.entries.drain(..)).collect();
    let (entries, sum) = (acknowledged.len(), Counts::sum(&clients));
    let in_transaction = until_zero(|| in_transaction(&stack)).await?;
    let missing = missing(&stack, acknowledged).await?;
    let lost = missing + u64::from(sum.worthless);
    let stuck = in_transaction + u64::from(sum.failed);
    let mut notes = vec![
        format!(
            "seed {seed}: {} dropped calls in {:.0} s, {CLIENTS} at once",
            sum.dropped,
            dropping.as_secs_f64()
        ),
        format!(
            "{entries} entries and {} refreshes answered in time, {} calls refused",
            sum.refreshed, sum.refused
        ),
        format!("lost: {missing} entries, {} refresh tokens", sum.worthless),
        format!("stuck: {in_transaction} connections in a transaction, {} fresh calls", sum.failed),
    ];
    notes.extend(complaints(&stack));
    Ok(Measured { value: f64::from(u32::try_from(lost + stuck)?), notes })
}

/// What became of calls.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    dropped: u32,
    /// Answered with an error that says "try again".
    refused: u32,
    refreshed: u32,
    /// Refresh tokens that were given out and are not known.
    worthless: u32,
    /// Fresh calls without the right answer.
    failed: u32,
}

impl Counts {
    fn sum(clients: &[Client]) -> Self {
        clients.iter().map(|client| client.counts).fold(Self::default(), |sum, next| Self {
            dropped: sum.dropped + next.dropped,
            refused: sum.refused + next.refused,
            refreshed: sum.refreshed + next.refreshed,
            worthless: sum.worthless + next.worthless,
            failed: sum.failed + next.failed,
        })
    }
}

/// How long a call may take before it is dropped: a random part of a bound for its kind that follows the machine, so that calls are
/// dropped at every point of their way and some are answered.
#[derive(Debug, Clone, Copy)]
struct Patience(Duration);

impl Patience {
    fn learn(&mut self, answered: bool) {
        self.0 = self.0.mul_f64(if answered { 0.9 } else { 1.02 }).min(ANSWERED_WITHIN);
    }
}

/// An answer that arrived whole.
struct Answer {
    status: u16,
    /// The session's next cookie.
    cookie: Option<String>,
}

/// Sends refreshes, log calls and events in turn.
struct Client {
    address: String,
    sign_in: String,
    random: StdRng,
    name: String,
    turn: u32,
    /// One for each kind of call.
    patience: [Patience; 3],
    cookie: String,
    /// The texts of entries that were acknowledged.
    entries: Vec<String>,
    counts: Counts,
}

impl Client {
    async fn start(stack: &DevStack, number: u32, seed: u64) -> Result<Self> {
        let mut client = Self {
            address: authority(&stack.broker_url()),
            sign_in: sign_in(stack),
            random: StdRng::seed_from_u64(seed.wrapping_add(number.into())),
            name: format!("{seed:x}-{number}"),
            turn: 0,
            patience: [Patience(DROPPED_WITHIN); 3],
            cookie: String::new(),
            entries: Vec::new(),
            counts: Counts::default(),
        };
        client.sign_in().await?;
        Ok(client)
    }

    async fn sign_in(&mut self) -> Result<()> {
        let answer =
            self.send("/handle", &self.sign_in, ANSWERED_WITHIN).await?.context("no answer to a sign-in")?;
        ensure!(answer.status == 202, "a sign-in was answered {}", answer.status);
        self.cookie = answer.cookie.context("a sign-in without a cookie")?;
        Ok(())
    }

    async fn drop_calls(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.turn += 1;
            let kind = self.kind();
            let within = self.patience[kind].0.mul_f64(self.random.random());
            let answered = self.call(within).await?;
            self.patience[kind].learn(answered);
        }
        Ok(())
    }

    async fn fresh_calls(&mut self) -> Result<()> {
        for _ in 0..FRESH {
            self.turn += 1;
            if !self.call(ANSWERED_WITHIN).await? {
                self.counts.failed += 1;
            }
        }
        Ok(())
    }

    fn kind(&self) -> usize {
        self.turn as usize % self.patience.len()
    }

    /// Returns whether it was answered as it has to be.
    async fn call(&mut self, within: Duration) -> Result<bool> {
        match self.kind() {
            0 => self.refresh(within).await,
            1 => self.write("log", within).await,
            _ => self.write("event", within).await,
        }
    }

    async fn refresh(&mut self, within: Duration) -> Result<bool> {
        match self.send("/v1/session/refresh", "", within).await? {
            Some(Answer { status: 200, cookie: Some(cookie) }) => {
                self.cookie = cookie;
                self.counts.refreshed += 1;
                return Ok(true);
            }
            Some(Answer { status: 401, .. }) => {
                self.counts.worthless += 1;
                self.sign_in().await?;
            }
            Some(_) => self.counts.refused += 1,
            None => self.counts.dropped += 1,
        }
        Ok(false)
    }

    async fn write(&mut self, action: &str, within: Duration) -> Result<bool> {
        let text = format!("{}-{}", self.name, self.turn);
        let body = json!({"action": action, action: {"name": "drops", "data": text}}).to_string();
        match self.send("/handle", &body, within).await? {
            Some(Answer { status: 202, .. }) => {
                self.entries.push(text);
                return Ok(true);
            }
            Some(_) => self.counts.refused += 1,
            None => self.counts.dropped += 1,
        }
        Ok(false)
    }

    /// Sends a request on a connection of its own and closes it when this time has passed.
    async fn send(&self, path: &str, body: &str, within: Duration) -> Result<Option<Answer>> {
        let Self { address, cookie, .. } = self;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncookie: weft-session={cookie}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.context("failed to connect to the broker")?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        match timeout(within, stream.read_to_end(&mut answer)).await {
            Ok(Ok(1..)) => read(&String::from_utf8_lossy(&answer)).map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

fn read(answer: &str) -> Result<Answer> {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let cookie = answer.split_once("weft-session=").and_then(|(_, rest)| rest.split(';').next());
    Ok(Answer {
        status: status.with_context(|| format!("not an answer: {answer}"))?,
        cookie: cookie.filter(|cookie| !cookie.is_empty()).map(str::to_owned),
    })
}

/// Looks until nothing is left, within bounds; returns what is left.
async fn until_zero(look: impl AsyncFn() -> Result<u64>) -> Result<u64> {
    let end = Instant::now() + SETTLED_WITHIN;
    loop {
        let left = look().await?;
        if left == 0 || Instant::now() >= end {
            return Ok(left);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn in_transaction(stack: &DevStack) -> Result<u64> {
    let args = ["--no-psqlrc", "--tuples-only", "--no-align", "--command", STUCK, stack.postgres.uri()];
    let output = Command::new(PSQL).args(args).output().await.context("failed to run psql")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql failed: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().parse().context("psql gave no number")
}

/// How many of these entries never come. Reads a dump of the store: the broker's search has a deadline, and FerretDB reads every entry for
/// each page.
async fn missing(stack: &DevStack, mut acknowledged: HashSet<String>) -> Result<u64> {
    let folder = StateDir::temporary()?;
    let dump = folder.path().join("entries.bson");
    let mut logger = Command::new(our_binary("logger")?);
    logger.arg("dump").arg(&dump).env_clear().env("MONGODB_URI", stack.mongodb.uri()).kill_on_drop(true);
    let end = Instant::now() + SETTLED_WITHIN;
    loop {
        let output = logger.output().await.context("failed to run logger dump")?;
        ensure!(output.status.success(), "logger dump failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut entries = BufReader::new(File::open(&dump)?);
        while !entries.fill_buf()?.is_empty() {
            let entry = RawDocumentBuf::from_reader(&mut entries)?;
            acknowledged.remove(entry.get_str("data")?);
        }
        if acknowledged.is_empty() || Instant::now() >= end {
            return Ok(u64::try_from(acknowledged.len())?);
        }
        sleep(LOOK_EVERY).await;
    }
}
