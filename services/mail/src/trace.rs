//! The span of an exchange with the SMTP server.

use tracing::{Span, field, info_span};

use crate::config::SmtpConfig;
use crate::smtp::SmtpError;

/// Creates a CLIENT span, child of the current one.
pub fn exchange(smtp: &SmtpConfig, message_id: &str) -> Span {
    info_span!(
        "smtp send",
        otel.kind = "client",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        network.protocol.name = "smtp",
        server.address = smtp.host.as_str(),
        server.port = i64::from(smtp.port),
        weft.mail.message_id = message_id,
        smtp.reply = field::Empty,
        error.type = field::Empty,
    )
}

/// Records the outcome.
pub fn outcome(span: &Span, outcome: &Result<String, SmtpError>) {
    match outcome {
        Ok(reply) => {
            span.record("smtp.reply", reply);
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", error.to_string());
            span.record("error.type", error.kind());
        }
    }
}
