//! From a sign-out's request to its mail in the catcher, by the catcher's API: seen late rather than early.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};
use weft_devstack::DevStack;

use super::{Setup, complaints, p99_ms};
use crate::figure::Measured;

const USERS: usize = 100;
const PASSWORD: &str = "tulips in a blue vase 1887";
const EVERY: Duration = Duration::from_millis(100);
/// How often the catcher is asked: that much may be too much.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const ALL_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let client = Client { broker: stack.broker_url(), http: reqwest::Client::new() };
    let (email, password) = stack.admin();
    let admin = client.sign_in(email, password).await?;
    let mut tokens = BTreeMap::new();
    for turn in 0..USERS {
        let email = format!("user{turn}@example.com");
        client.create(&admin, &email).await?;
        tokens.insert(email.clone(), client.sign_in(&email, PASSWORD).await?);
    }
    let mailbox = format!("{}/api/email", stack.mailcatcher.url());
    let (sent, seen) = tokio::try_join!(client.sign_everybody_out(&tokens), arrivals(&mailbox))?;
    let latencies: Result<Vec<Duration>> = sent
        .iter()
        .map(|(email, at)| {
            Ok(seen.get(email).with_context(|| format!("no mail to {email}"))?.duration_since(*at))
        })
        .collect();
    let mut measured = p99_ms(latencies?.into_iter())?;
    measured.notes.push(format!("{USERS} sign-outs, one each {} ms", EVERY.as_millis()));
    measured.notes.extend(complaints(&stack));
    Ok(measured)
}

struct Client {
    broker: String,
    http: reqwest::Client,
}

impl Client {
    async fn sign_in(&self, email: &str, password: &str) -> Result<String> {
        let body = json!({"action": "auth", "auth": {"email": email, "password": password}});
        let reply = self.http.post(format!("{}/handle", self.broker)).json(&body).send().await?;
        ensure!(reply.status() == 202, "the sign-in of {email} was answered {}", reply.status());
        let reply: Value = reply.json().await?;
        Ok(reply["data"]["access_token"].as_str().context("no access token")?.to_owned())
    }

    async fn create(&self, admin: &str, email: &str) -> Result<()> {
        let user = json!({
            "email": email, "first_name": "Ann", "last_name": "Other", "password": PASSWORD, "role": "user",
        });
        let request = self.http.post(format!("{}/v1/users", self.broker)).bearer_auth(admin).json(&user);
        let reply = request.send().await?;
        ensure!(reply.status() == 201, "the user {email} was answered {}", reply.status());
        Ok(())
    }

    async fn sign_everybody_out(
        &self,
        tokens: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Instant>> {
        let (mut sent, mut ticks) = (BTreeMap::new(), interval(EVERY));
        for (email, token) in tokens {
            ticks.tick().await;
            sent.insert(email.clone(), Instant::now());
            let request = self.http.post(format!("{}/logout", self.broker)).bearer_auth(token);
            let reply = request.json(&json!({})).send().await?;
            ensure!(reply.status() == 202, "the sign-out of {email} was answered {}", reply.status());
        }
        Ok(sent)
    }
}

/// When the mail to each user was first seen.
async fn arrivals(mailbox: &str) -> Result<BTreeMap<String, Instant>> {
    let (http, started) = (reqwest::Client::new(), Instant::now());
    let (mut seen, mut ticks) = (BTreeMap::new(), interval(LOOK_EVERY));
    while seen.len() < USERS {
        ensure!(started.elapsed() < ALL_WITHIN, "{} of {USERS} mails after {ALL_WITHIN:?}", seen.len());
        ticks.tick().await;
        let mails: Vec<Value> = http.get(mailbox).send().await?.json().await?;
        let now = Instant::now();
        for address in mails.iter().filter_map(|mail| mail["to"][0]["address"].as_str()) {
            seen.entry(address.to_owned()).or_insert(now);
        }
    }
    Ok(seen)
}
