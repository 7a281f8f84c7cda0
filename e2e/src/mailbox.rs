//! A client of the mail catcher's API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A client of a mail catcher (MailDev).
#[derive(Clone, Debug)]
pub struct Mailbox {
    url: String,
    http: reqwest::Client,
}

impl Mailbox {
    /// Creates a client for the API at this URL.
    ///
    /// # Errors
    /// When the client can't be created.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        Ok(Self { url: url.into(), http: reqwest::Client::builder().timeout(ANSWER_WITHIN).build()? })
    }

    /// Returns all caught mails.
    ///
    /// # Errors
    /// When the response is not a list.
    pub async fn all(&self) -> Result<Vec<Value>> {
        let response = self.http.get(format!("{}/api/email", self.url)).send().await?;
        ensure!(response.status().is_success(), "the mail catcher failed with status {}", response.status());
        serde_json::from_slice(&response.bytes().await?).context("invalid list of mails")
    }

    /// Returns all mails to an address.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub async fn to(&self, address: &str) -> Result<Vec<Value>> {
        Ok(self.all().await?.into_iter().filter(|mail| recipient(mail) == Some(address)).collect())
    }

    /// Returns the Message-IDs of sign-out mails by recipient.
    ///
    /// # Errors
    /// As [`Self::all`], and when a mail has no Message-ID.
    pub async fn logout_mails(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mail in self.all().await? {
            if !mail["subject"].as_str().is_some_and(|subject| subject.contains("signed out")) {
                continue;
            }
            let id = mail["messageId"].as_str().or_else(|| mail["headers"]["message-id"].as_str());
            let id = id.with_context(|| format!("mail has no Message-ID: {mail}"))?.to_owned();
            found.entry(recipient(&mail).unwrap_or_default().to_owned()).or_default().push(id);
        }
        Ok(found)
    }
}

fn recipient(mail: &Value) -> Option<&str> {
    mail["to"][0]["address"].as_str()
}
