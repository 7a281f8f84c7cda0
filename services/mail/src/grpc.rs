//! `weft.mail.v1.MailService`: translates between the protocol and the service.

mod status;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weft_proto::weft::mail::v1::mail_service_server::MailService;
use weft_proto::weft::mail::v1::{SendRequest, SendResponse};
use weft_runtime::clock::Clock;

use crate::courier::Courier;
use crate::message::Sender;
use crate::metrics::Metrics;
use crate::smtp::SmtpError;
use crate::template::{RenderError, Templates};
use crate::validate::{self, Invalid};

/// The state of the handlers.
#[derive(Debug, Clone)]
pub struct Api {
    /// Compiled templates.
    pub templates: Arc<Templates>,
    /// The sender of mails.
    pub sender: Sender,
    /// Sends mails.
    pub courier: Courier,
    /// The clock for the Date header.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Metrics,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// The request is invalid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The template can't be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The SMTP server did not accept the mail.
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
        let message_id = mail.message_id.clone();
        let smtp_reply = self.courier.send(&order, mail).await?;
        Ok(SendResponse { message_id, smtp_reply })
    }
}
