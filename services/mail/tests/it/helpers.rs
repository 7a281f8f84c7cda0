//! The service and its SMTP servers, on loopback.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;
use weft_devstack::{MailDev, Service, ServiceOptions, StateDir};
use weft_proto::weft::mail::v1::SendRequest;
use weft_proto::weft::mail::v1::mail_service_client::MailServiceClient;

pub(crate) type Client = MailServiceClient<Channel>;

/// Settings for an SMTP server at this address.
pub(crate) fn to(smtp: SocketAddr) -> ServiceOptions {
    ServiceOptions::default()
        .env("MAIL_HOST", smtp.ip().to_string())
        .env("MAIL_PORT", smtp.port().to_string())
        .env("MAIL_ENCRYPTION", "none")
        .env("FROM_NAME", "Weft")
        .env("FROM_ADDRESS", "weft@example.com")
        .env("MAIL_DOMAIN", "mail.example.com")
}

/// The service, with its state folder.
pub(crate) struct Mail {
    pub(crate) service: Service,
    _state: StateDir,
}

impl Mail {
    pub(crate) async fn start(options: ServiceOptions) -> Result<Self> {
        let state = StateDir::temporary()?;
        let service = Service::start("mail", state.path(), options).await?;
        Ok(Self { service, _state: state })
    }

    /// Starts a service whose start must fail. Returns its log.
    pub(crate) async fn failed_start(options: ServiceOptions) -> Result<String> {
        let state = StateDir::temporary()?;
        let service = Service::start_unready("mail", state.path(), options)?;
        let ended = service.await_end(Duration::from_secs(20)).await?;
        ensure!(ended.contains('1'), "{ended}");
        Ok(service.log_tail())
    }

    pub(crate) fn client(&self) -> Result<Client> {
        let address = format!("http://{}", self.service.grpc_address());
        Ok(MailServiceClient::new(Endpoint::from_shared(address)?.connect_lazy()))
    }

    /// Status code and body of a page on the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.service.admin_url())).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    pub(crate) async fn smtp_status(&self) -> Result<Value> {
        let status: Value = serde_json::from_str(&self.admin("/status").await?.1)?;
        Ok(status["smtp"].clone())
    }

    pub(crate) async fn until_smtp(&self, reachable: bool, authenticated: bool) -> Result<Value> {
        until("/status shows the expected state of the SMTP server", async || {
            self.smtp_status().await.is_ok_and(|status| {
                status["reachable"] == reachable
                    && status["authenticated"] == authenticated
                    && status["message"] != "not checked yet"
            })
        })
        .await?;
        self.smtp_status().await
    }
}

/// The service with MailDev as SMTP server.
pub(crate) struct Rig {
    pub(crate) mail: Mail,
    pub(crate) maildev: MailDev,
    _state: StateDir,
}

impl Rig {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(|options| options).await
    }

    pub(crate) async fn with(change: impl FnOnce(ServiceOptions) -> ServiceOptions) -> Result<Self> {
        let state = StateDir::temporary()?;
        let maildev = MailDev::start(state.path(), 0).await?;
        let mail = Mail::start(change(to(maildev.smtp_address()))).await?;
        Ok(Self { mail, maildev, _state: state })
    }

    /// Mails that MailDev received.
    pub(crate) async fn caught(&self) -> Result<Vec<Value>> {
        let answer = reqwest::get(format!("{}/api/email", self.maildev.url())).await?;
        Ok(answer.json().await?)
    }

    /// The only mail that MailDev received, and its source.
    pub(crate) async fn only(&self) -> Result<(Value, String)> {
        let mut caught = self.caught().await?;
        ensure!(caught.len() == 1, "{} mails, expected one: {caught:?}", caught.len());
        let mail = caught.remove(0);
        let source = format!(
            "{}/api/email/{}/source",
            self.maildev.url(),
            mail["id"].as_str().context("the mail has no id")?
        );
        Ok((mail, reqwest::get(source).await?.text().await?))
    }
}

pub(crate) fn message(subject: &str, message: &str) -> SendRequest {
    SendRequest {
        id: Uuid::new_v4().to_string(),
        template: "message".into(),
        to: "Ann <ann@example.org>".into(),
        reply_to: "bob@example.org".into(),
        values: values(&[("subject", subject), ("message", message)]),
    }
}

pub(crate) fn values(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Waits up to 30 s until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<()> {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .with_context(|| format!("timed out waiting until {what}"))
}
