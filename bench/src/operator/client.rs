//! What this process asks of the API server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use weft_devcluster::until;

/// Requests at the same time, where there are many.
const AT_ONCE: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

/// Something to write: method, path, body.
pub(super) type Write = (Method, String, Value);

impl Client {
    pub(super) fn new(base: &str) -> Self {
        Self { http: reqwest::Client::new(), base: base.to_owned() }
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let text = answered(self.http.get(self.url(path)), path).await?.text().await?;
        serde_json::from_str(&text).with_context(|| format!("{path} is no JSON"))
    }

    pub(super) async fn stream(&self, path: &str) -> Result<Response> {
        answered(self.http.get(self.url(path)), path).await
    }

    pub(super) async fn post_yaml(&self, path: &str, body: Vec<u8>) -> Result<()> {
        let request = self.http.post(self.url(path)).header(CONTENT_TYPE, "application/yaml").body(body);
        answered(request, path).await.map(|_| ())
    }

    pub(super) async fn write(&self, (method, path, body): Write) -> Result<Value> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = self.http.request(method, self.url(&path)).header(CONTENT_TYPE, kind);
        let text = answered(request.body(body.to_string()), &path).await?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(super) async fn write_all(&self, writes: impl IntoIterator<Item = Write>) -> Result<()> {
        let writes = writes.into_iter().map(|write| self.write(write));
        stream::iter(writes).buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await
    }

    pub(super) async fn waits(&self, path: &str) -> Result<()> {
        until(path, Duration::from_secs(30), async || self.get(path).await.map(|_| ())).await
    }

    /// How many objects there are at a path: the API server counts them without sending them.
    pub(super) async fn count(&self, path: &str) -> Result<u64> {
        let list = self.get(&format!("{path}?limit=1")).await?;
        let first = list["items"].as_array().map_or(0, Vec::len);
        let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
        Ok(more + u64::try_from(first)?)
    }
}

async fn answered(request: RequestBuilder, path: &str) -> Result<Response> {
    let answer = request.send().await.with_context(|| format!("no answer from {path}"))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    ensure!(status.is_success(), "{path}: {status}: {}", text.chars().take(300).collect::<String>());
    anyhow::bail!("{path}: {status}")
}
