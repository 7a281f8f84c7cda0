//! A client of the broker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::until;

const PAGE: &str = "1000";
/// Timeout of a request, longer than any response may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Timeout for all pages of a search.
const SEARCHED_WITHIN: Duration = Duration::from_secs(60);

/// A client of a broker, with an account for requests that need a sign-in.
#[derive(Clone, Debug)]
pub struct Broker {
    url: String,
    http: reqwest::Client,
    email: String,
    password: String,
    /// Access token of the last sign-in, valid for minutes.
    token: Arc<Mutex<Option<String>>>,
}

/// A response of the broker.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl Broker {
    /// Creates a client for the broker at this URL and this user.
    ///
    /// # Errors
    /// When the client can't be created.
    pub fn signing_in(
        url: impl Into<String>,
        email: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let (url, email, password) = (url.into(), email.into(), password.into());
        Ok(Self { url, http, email, password, token: Arc::default() })
    }

    /// `host:port`, for raw connections.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// Builds a POST.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).json(body)
    }

    /// Builds a GET.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// Logs an entry by RPC.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn log(&self, name: &str, data: &str) -> Result<Reply> {
        let body = json!({"action": "log", "log": {"name": name, "data": data}});
        Reply::of(self.post("/handle", &body)).await
    }

    /// Logs an entry through RabbitMQ.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn event(&self, name: &str, data: &str) -> Result<Reply> {
        let body = json!({"action": "event", "event": {"name": name, "data": data}});
        Reply::of(self.post("/handle", &body)).await
    }

    /// Signs in again and returns the response.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn sign_in(&self) -> Result<Reply> {
        let auth = json!({"email": self.email, "password": self.password});
        Reply::of(self.post("/handle", &json!({"action": "auth", "auth": auth}))).await
    }

    /// Returns the access token of the last sign-in; signs in if there is none.
    ///
    /// # Errors
    /// When the sign-in fails.
    pub async fn token(&self) -> Result<String> {
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(token);
        }
        let reply = self.sign_in().await?;
        ensure!(reply.status == 202, "sign-in failed with status {}: {}", reply.status, reply.body);
        let token = reply.body["data"]["access_token"].as_str().context("the sign-in has no access token")?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
        Ok(token.to_owned())
    }

    /// Sends a request as the signed-in user. Signs in again once if the token has expired.
    ///
    /// # Errors
    /// When there is no response, or the sign-in fails.
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

    /// Returns all stored entries that match these filters, over all pages.
    ///
    /// # Errors
    /// When a page can't be read.
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
            // FerretDB reads every entry for a search, which is slow on a busy machine.
            if matches!(page.status, 429 | 504) && Instant::now() < deadline {
                sleep(Duration::from_millis(250)).await;
                continue;
            }
            ensure!(page.status == 200, "GET /v1/logs failed with status {}: {}", page.status, page.body);
            entries.extend(page.body["items"].as_array().context("the page has no items")?.iter().cloned());
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(entries),
            }
        }
    }

    /// Waits until exactly one entry matches these filters, and returns it.
    ///
    /// # Errors
    /// When it times out, or several entries match.
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
    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// When there is no response.
    pub async fn of(request: RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        Ok(Self { status, headers, body })
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The id of the request's trace, from `traceresponse`.
    ///
    /// # Errors
    /// When the header is missing or not in W3C format.
    pub fn trace_id(&self) -> Result<String> {
        let header = self.header("traceresponse").context("the response has no traceresponse")?;
        let parts: Vec<&str> = header.split('-').collect();
        let [version, trace, span, flags] = parts[..] else {
            anyhow::bail!("invalid traceresponse `{header}`")
        };
        let hex =
            |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(
            version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2),
            "invalid traceresponse `{header}`"
        );
        Ok(trace.to_owned())
    }
}
