//! `weft.mail.v1.MailService`: thin translation between the protocol and what mail does.

mod status;

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;
use weft_proto::weft::mail::v1::mail_service_server::MailService;
use weft_proto::weft::mail::v1::{SendRequest, SendResponse};
use weft_runtime::clock::Clock;

use crate::message::Sender;
use crate::metrics::Metrics;
use crate::smtp::{Smtp, SmtpError};
use crate::supervise::Watch;
use crate::template::{RenderError, Templates};
use crate::validate::{self, Invalid};
use crate::{message::Outgoing, trace};

/// What a call needs.
#[derive(Debug, Clone)]
pub struct Api {
    /// All templates.
    pub templates: Arc<Templates>,
    /// Who mails are from.
    pub sender: Sender,
    /// Where they go out.
    pub smtp: Smtp,
    /// What learns how the server does.
    pub watch: Watch,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// What mail counts.
    pub metrics: Metrics,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// The request can never work.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The template can't be filled.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The SMTP server does not take it.
    #[error(transparent)]
    Smtp(#[from] SmtpError),
}

impl SendError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::Render(_) => "invalid",
            Self::Smtp(error) => error.kind(),
        }
    }
}

#[tonic::async_trait]
impl MailService for Api {
    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        let request = request.into_inner();
        let template = self.templates.has(&request.template).then(|| request.template.clone());
        let outcome = self.deliver(request).await;
        let result = outcome.as_ref().err().map_or("sent", SendError::kind);
        self.metrics.sent(template.as_deref(), result);
        outcome.map(Response::new).map_err(status::unsent)
    }
}

impl Api {
    async fn deliver(&self, request: SendRequest) -> Result<SendResponse, SendError> {
        let order = validate::order(request)?;
        let rendered = self.templates.render(&order.template, &order.values)?;
        let mail = self.sender.write(&order, rendered, self.clock.now())?;
        let smtp_reply = self.hand_over(&mail).await?;
        tracing::info!(template = order.template, message_id = mail.message_id, smtp_reply, "mail sent");
        Ok(SendResponse { message_id: mail.message_id, smtp_reply })
    }

    async fn hand_over(&self, mail: &Outgoing) -> Result<String, SmtpError> {
        let started = Instant::now();
        let span = trace::exchange(self.smtp.config(), &mail.message_id);
        let outcome = self.smtp.send(mail).instrument(span.clone()).await;
        trace::outcome(&span, &outcome);
        let error = outcome.as_ref().err();
        self.metrics.exchanged(error.map_or("sent", SmtpError::kind), started.elapsed());
        self.watch.saw(error);
        outcome
    }
}
