//! A client of Jaeger's query API.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::trace::Trace;
use crate::until;

/// Timeout for a trace, which is usually complete after some seconds.
const WITHIN: Duration = Duration::from_secs(60);

/// A client of Jaeger.
#[derive(Clone, Debug)]
pub struct Jaeger {
    url: String,
    http: reqwest::Client,
}

impl Jaeger {
    /// Creates a client for the query API at this URL.
    ///
    /// # Errors
    /// When the client can't be created.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        Ok(Self { url: url.into(), http: reqwest::Client::builder().timeout(WITHIN).build()? })
    }

    /// Returns the spans of a trace so far; none if Jaeger does not know the trace.
    ///
    /// # Errors
    /// When there is no response or no valid trace.
    pub async fn look(&self, id: &str) -> Result<Option<Trace>> {
        let response = self.http.get(format!("{}/api/v3/traces/{id}", self.url)).send().await?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        ensure!(response.status().is_success(), "Jaeger failed with status {}", response.status());
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        Trace::read(id, &answer).map(Some)
    }

    /// Waits until a trace passes `check`, and returns it.
    ///
    /// # Errors
    /// When it times out; with the last error of `check`.
    pub async fn trace(&self, id: &str, check: impl Fn(&Trace) -> Result<()>) -> Result<Trace> {
        until(&format!("trace {id} in Jaeger"), WITHIN, async || {
            let trace = self.look(id).await?.context("unknown to Jaeger")?;
            check(&trace)?;
            Ok(trace)
        })
        .await
    }
}
