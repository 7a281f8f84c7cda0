//! Why the SMTP server did not take a mail.

use std::time::Duration;

use lettre::transport::smtp::{Error, response::Severity};
use weft_runtime::telemetry::chain;

/// What is shown of a reply: it is a stranger's text.
const MAX_REPLY_CHARS: usize = 512;

/// Why the SMTP server did not take a mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// No connection, or it was lost.
    #[error("the SMTP server can't be reached: {0}")]
    Unreachable(String),
    /// It answers, and does not let us in: no STARTTLS, or a refusal before any mail.
    #[error("the SMTP server does not let us in: {0}")]
    NotLetIn(String),
    /// It does not know our name and password.
    #[error("the SMTP server refuses MAIL_USERNAME and MAIL_PASSWORD: {0}")]
    Unauthorized(String),
    /// It answered 4xx.
    #[error("the SMTP server does not take the mail now: {0}")]
    Later(String),
    /// It answered 5xx.
    #[error("the SMTP server refuses the mail: {0}")]
    Refused(String),
    /// It lacks what this mail needs.
    #[error("the SMTP server can't take the mail: {0}")]
    Unsupported(&'static str),
    /// It did not answer in time.
    #[error("the SMTP server did not answer within {} ms: it may have the mail or not", .0.as_millis())]
    TimedOut(Duration),
    /// All connections were in use all the time.
    #[error("no connection to the SMTP server became free within {} ms", .0.as_millis())]
    Busy(Duration),
}

impl SmtpError {
    /// A name of the kind, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::NotLetIn(_) => "not_let_in",
            Self::Unauthorized(_) => "unauthorized",
            Self::Later(_) => "later",
            Self::Refused(_) => "refused",
            Self::Unsupported(_) => "unsupported",
            Self::TimedOut(_) => "timed_out",
            Self::Busy(_) => "busy",
        }
    }

    /// What an error means before the server has seen anything of a mail: nothing that it says is about the mail.
    pub(super) fn of_setup(error: &Error) -> Self {
        match reply_of(error) {
            Some(reply) => Self::NotLetIn(reply),
            None => Self::Unreachable(cause(error)),
        }
    }

    /// What an error means while name and password are given.
    pub(super) fn of_login(error: &Error) -> Self {
        match (error.status().map(|code| code.severity), reply_of(error)) {
            (Some(Severity::PermanentNegativeCompletion), Some(reply)) => Self::Unauthorized(reply),
            (_, Some(reply)) => Self::NotLetIn(reply),
            (_, None) if error.is_client() => Self::NotLetIn(cause(error)),
            (_, None) => Self::Unreachable(cause(error)),
        }
    }

    /// What an error means while a mail is handed over.
    pub(super) fn of_mail(error: &Error) -> Self {
        match (error.status().map(|code| code.severity), reply_of(error)) {
            (Some(Severity::PermanentNegativeCompletion), Some(reply)) => Self::Refused(reply),
            (_, Some(reply)) => Self::Later(reply),
            (_, None) => Self::Unreachable(cause(error)),
        }
    }
}

/// A reply on one line, without what a terminal or a header could take for a command.
pub(super) fn shown(code: impl std::fmt::Display, text: &str) -> String {
    let line = format!("{code} {text}");
    line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REPLY_CHARS).collect()
}

fn reply_of(error: &Error) -> Option<String> {
    let code = error.status()?;
    let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Some(shown(code, &text))
}

fn cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => shown("", &chain(cause)),
        None => shown("", &error.to_string()),
    }
}
