//! Jaeger's query API.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::trace::Trace;
use crate::until;

/// Far above the seconds after which a trace is usually there: what exceeds it does not come.
const WITHIN: Duration = Duration::from_secs(60);

/// A client of one Jaeger.
#[derive(Clone, Debug)]
pub struct Jaeger {
    url: String,
    http: reqwest::Client,
}

impl Jaeger {
    /// The Jaeger whose query API is at this URL.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        Ok(Self { url: url.into(), http: reqwest::Client::builder().timeout(WITHIN).build()? })
    }

    /// What it has of a trace now; nothing when it does not know it.
    ///
    /// # Errors
    /// When it does not answer, or not with a trace.
    pub async fn look(&self, id: &str) -> Result<Option<Trace>> {
        let response = self.http.get(format!("{}/api/v3/traces/{id}", self.url)).send().await?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        ensure!(response.status().is_success(), "Jaeger answered {}", response.status());
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        Trace::read(id, &answer).map(Some)
    }

    /// The trace, as soon as `check` passes on it.
    ///
    /// # Errors
    /// With what `check` said last.
    pub async fn trace(&self, id: &str, check: impl Fn(&Trace) -> Result<()>) -> Result<Trace> {
        until(&format!("trace {id} in Jaeger"), WITHIN, async || {
            let trace = self.look(id).await?.context("Jaeger does not know it")?;
            check(&trace)?;
            Ok(trace)
        })
        .await
    }
}
