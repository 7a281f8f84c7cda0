//! The broker, as a client sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::until;

const PAGE: &str = "1000";
/// Longer than any answer may take: one that never comes is a failure, not a hang.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// All pages of a search together.
const SEARCHED_WITHIN: Duration = Duration::from_secs(60);

/// A client of one broker, with an account to sign in with where something asks for it.
#[derive(Clone, Debug)]
pub struct Broker {
    url: String,
    http: reqwest::Client,
    email: String,
    password: String,
    /// Of the last sign-in; it lives for minutes.
    token: Arc<Mutex<Option<String>>>,
}

/// What the broker answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Broker {
    /// The broker at this URL, for this user.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn signing_in(
        url: impl Into<String>,
        email: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let (url, email, password) = (url.into(), email.into(), password.into());
        Ok(Self { url, http, email, password, token: Arc::default() })
    }

    /// `host:port`, for a connection by hand.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// A POST that is not sent yet.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).json(body)
    }

    /// A GET that is not sent yet.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// Has an entry logged by RPC.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn log(&self, name: &str, data: &str) -> Result<Reply> {
        let body = json!({"action": "log", "log": {"name": name, "data": data}});
        Reply::of(self.post("/handle", &body)).await
    }

    /// Has an entry logged through RabbitMQ.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn event(&self, name: &str, data: &str) -> Result<Reply> {
        let body = json!({"action": "event", "event": {"name": name, "data": data}});
        Reply::of(self.post("/handle", &body)).await
    }

    /// Signs in, whoever is signed in already, and returns the answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn sign_in(&self) -> Result<Reply> {
        let auth = json!({"email": self.email, "password": self.password});
        Reply::of(self.post("/handle", &json!({"action": "auth", "auth": auth}))).await
    }

    /// An access token of the last sign-in, or of a new one.
    ///
    /// # Errors
    /// When the sign-in is refused or not answered.
    pub async fn token(&self) -> Result<String> {
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(token);
        }
        let reply = self.sign_in().await?;
        ensure!(reply.status == 202, "the sign-in was answered {}: {}", reply.status, reply.body);
        let token = reply.body["data"]["access_token"].as_str().context("a sign-in without a token")?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
        Ok(token.to_owned())
    }

    /// Sends a request as the signed-in user; a token that has run out is renewed once.
    ///
    /// # Errors
    /// When no answer comes, or the sign-in fails.
    pub async fn signed_in(&self, request: impl Fn(&reqwest::Client) -> RequestBuilder) -> Result<Reply> {
        let reply = Reply::of(request(&self.http).bearer_auth(self.token().await?)).await?;
        if reply.status != 401 {
            return Ok(reply);
        }
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Reply::of(request(&self.http).bearer_auth(self.token().await?)).await
    }

    /// The URL of a path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Every stored entry that these filters match, over all pages.
    ///
    /// # Errors
    /// When a page does not come.
    pub async fn entries(&self, filters: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        let mut cursor: Option<String> = None;
        let deadline = Instant::now() + SEARCHED_WITHIN;
        loop {
            let mut url = Url::parse_with_params(&format!("{}/v1/logs", self.url), filters)?;
            url.query_pairs_mut().append_pair("limit", PAGE);
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let page = self.signed_in(|http| http.get(url.clone())).await?;
            // FerretDB reads every entry for a search, which takes its time on a busy machine.
            if matches!(page.status, 429 | 503 | 504) && Instant::now() < deadline {
                sleep(Duration::from_millis(250)).await;
                continue;
            }
            ensure!(page.status == 200, "GET /v1/logs answered {}: {}", page.status, page.body);
            entries.extend(page.body["items"].as_array().context("a page without items")?.iter().cloned());
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(entries),
            }
        }
    }

    /// The one entry that these filters match, as soon as it is stored.
    ///
    /// # Errors
    /// When there is none in time, or more than one.
    pub async fn entry(&self, filters: &[(&str, &str)], within: Duration) -> Result<Value> {
        until(&format!("the entry with {filters:?}"), within, async || {
            let mut entries = self.entries(filters).await?;
            ensure!(entries.len() == 1, "{} entries", entries.len());
            entries.pop().context("no entry")
        })
        .await
    }
}

impl Reply {
    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn of(request: RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        Ok(Self { status, headers, body })
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The trace that the request became, from `traceresponse`.
    ///
    /// # Errors
    /// When the header is missing or is none of W3C's.
    pub fn trace_id(&self) -> Result<String> {
        let header = self.header("traceresponse").context("the reply has no traceresponse")?;
        let parts: Vec<&str> = header.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { anyhow::bail!("traceresponse is `{header}`") };
        let hex =
            |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(
            version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2),
            "traceresponse is `{header}`"
        );
        Ok(trace.to_owned())
    }
}
