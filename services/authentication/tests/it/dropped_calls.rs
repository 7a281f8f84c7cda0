//! Calls that are dropped at random points under load: the client disconnects or the deadline passes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgConnection;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;
use weft_proto::weft::auth::v1::{RefreshRequest, Tokens};

use crate::helpers::{ADMIN, Client, PASSWORD, Rig, refresh_token, sign_in_from, until};

const LOAD_TIME: Duration = Duration::from_secs(4);
const WORKERS: u64 = 16;
const MAX_PATIENCE: Duration = Duration::from_secs(2);
/// Part of a call's deadline that the server reserves for its response.
const RESPONSE_TIME: Duration = Duration::from_millis(30);

/// The successful responses to one client.
#[derive(Default)]
struct Acknowledged {
    /// All refresh tokens that the client received.
    tokens: Vec<String>,
    sign_ins: usize,
    dropped: usize,
}

impl Acknowledged {
    fn take(&mut self, tokens: Option<Tokens>) -> Result<String> {
        let token = tokens.context("no tokens")?.refresh_token;
        self.tokens.push(token.clone());
        Ok(token)
    }

    /// The response; `None` if the call was dropped or failed with a transient error.
    fn answer<T>(&mut self, outcome: Result<Result<Response<T>, Status>, impl Sized>) -> Result<Option<T>> {
        match outcome {
            Ok(Ok(reply)) => return Ok(Some(reply.into_inner())),
            Ok(Err(status)) => {
                let transient =
                    [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::ResourceExhausted];
                ensure!(transient.contains(&status.code()), "unexpected status: {status}");
            }
            Err(_) => {}
        }
        self.dropped += 1;
        Ok(None)
    }
}

/// How long to wait before a call is dropped: a random part of a bound that adapts to the machine's speed, so that some calls are
/// answered on every machine.
struct Patience {
    bound: Duration,
    random: StdRng,
}

impl Patience {
    fn next(&mut self) -> Duration {
        self.bound.mul_f64(self.random.random())
    }

    fn learn(&mut self, answered: bool) {
        self.bound = self.bound.mul_f64(if answered { 0.9 } else { 1.02 }).min(MAX_PATIENCE);
    }
}

/// Refreshes one session and drops most of the calls. Returns the last token.
async fn refresh_and_drop(
    mut client: Client,
    mut token: String,
    random: StdRng,
) -> Result<(Acknowledged, Option<String>)> {
    let (mut acknowledged, end) = (Acknowledged::default(), Instant::now() + LOAD_TIME);
    let mut patience = Patience { bound: Duration::from_millis(12), random };
    while Instant::now() < end {
        let mut request = Request::new(RefreshRequest { refresh_token: token.clone() });
        let mut within = patience.next();
        if patience.random.random_bool(0.5) {
            within += RESPONSE_TIME;
            request.set_timeout(within);
        }
        let reply = acknowledged.answer(timeout(within, client.refresh(request)).await)?;
        patience.learn(reply.is_some());
        if let Some(reply) = reply {
            token = acknowledged.take(reply.tokens)?;
        }
    }
    Ok((acknowledged, Some(token)))
}

async fn sign_in_and_drop(mut client: Client, random: StdRng) -> Result<(Acknowledged, Option<String>)> {
    let (mut acknowledged, end) = (Acknowledged::default(), Instant::now() + LOAD_TIME);
    let mut patience = Patience { bound: Duration::from_millis(200), random };
    while Instant::now() < end {
        let call = client.sign_in(sign_in_from("127.0.0.1", ADMIN, PASSWORD));
        let reply = acknowledged.answer(timeout(patience.next(), call).await)?;
        patience.learn(reply.is_some());
        if let Some(reply) = reply {
            acknowledged.take(reply.tokens)?;
            acknowledged.sign_ins += 1;
        }
    }
    Ok((acknowledged, None))
}

async fn missing(database: &mut PgConnection, tokens: &[String]) -> Result<i64> {
    let missing = "SELECT count(*) FROM unnest($1::text[]) AS token WHERE NOT EXISTS \
                   (SELECT FROM refresh_tokens WHERE hash = sha256(convert_to(token, 'UTF8')))";
    Ok(sqlx::query_scalar(missing).bind(tokens).fetch_one(database).await?)
}

/// The response to a call that is not dropped. Retries UNAVAILABLE, which a busy machine may cause.
async fn answered<T>(mut call: impl AsyncFnMut() -> Result<Response<T>>) -> Result<T> {
    let mut answer = None;
    until("the call is answered", async || {
        let outcome = call().await;
        let code = outcome.as_ref().err().and_then(|error| error.downcast_ref::<Status>()).map(Status::code);
        answer = Some(outcome);
        code != Some(Code::Unavailable)
    })
    .await?;
    Ok(answer.context("no call")??.into_inner())
}

async fn refreshed(rig: &Rig, token: String) -> Result<()> {
    let request = RefreshRequest { refresh_token: token };
    answered(async || Ok(rig.client()?.refresh(request.clone()).await?)).await.map(drop)
}

#[tokio::test]
async fn dropped_calls_lose_no_write_and_leave_no_open_transaction() -> Result<()> {
    let seed = match std::env::var("WEFT_TEST_SEED") {
        Ok(seed) => seed.parse::<u64>()?,
        Err(_) => Uuid::new_v4().as_u64_pair().0,
    };
    eprintln!("WEFT_TEST_SEED={seed}");
    run(seed).await.with_context(|| format!("WEFT_TEST_SEED={seed}"))
}

async fn run(seed: u64) -> Result<()> {
    let rig = Rig::start().await?;
    let mut signed_in = 0;
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (client, random) = (rig.client()?, StdRng::seed_from_u64(seed.wrapping_add(worker)));
        if worker % 4 == 0 {
            workers.push(tokio::spawn(sign_in_and_drop(client, random)));
        } else {
            signed_in += 1;
            let reply = answered(async || {
                Ok(rig.client()?.sign_in(sign_in_from("127.0.0.1", ADMIN, PASSWORD)).await?)
            });
            let token = refresh_token(&reply.await?);
            workers.push(tokio::spawn(refresh_and_drop(client, token, random)));
        }
    }
    let (mut tokens, mut last, mut dropped) = (Vec::new(), Vec::new(), 0);
    for worker in workers {
        let (acknowledged, token) = worker.await??;
        tokens.extend(acknowledged.tokens);
        last.extend(token);
        signed_in += acknowledged.sign_ins;
        dropped += acknowledged.dropped;
    }
    ensure!(
        dropped > 100 && tokens.len() > 10,
        "too little load: {dropped} calls dropped, {} answered",
        tokens.len()
    );

    let mut database = rig.database().await?;
    let stuck = "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = 'weft-authentication' AND xact_start < now() - interval '1 second'";
    until("no connection is in a transaction", async || {
        sqlx::query_scalar::<_, i64>(stuck).fetch_one(&mut database).await.is_ok_and(|stuck| stuck == 0)
    })
    .await?;
    assert_eq!(missing(&mut database, &tokens).await?, 0, "of {} tokens", tokens.len());

    for token in last {
        refreshed(&rig, token).await.context("a client was signed out")?;
    }
    for _ in 0..20 {
        let reply =
            answered(async || Ok(rig.client()?.sign_in(sign_in_from("127.0.0.1", ADMIN, PASSWORD)).await?))
                .await?;
        refreshed(&rig, refresh_token(&reply)).await.context("an invalid token")?;
        signed_in += 1;
    }
    // At least as many: calls whose response was dropped may have opened a session too.
    until("the logger has an entry for each sign-in", async || {
        rig.logger.entries().iter().filter(|(entry, _)| entry.data.contains("logged in")).count() >= signed_in
    })
    .await
}
