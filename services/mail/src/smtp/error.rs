//! Errors of sending a mail.

use std::time::Duration;

use lettre::transport::smtp::{Error, response::Severity};
use weft_runtime::telemetry::chain;

/// Upper bound on the text of a reply, which is untrusted.
const MAX_REPLY_CHARS: usize = 512;
/// Codes that are about this service's login, whichever command they answer: authentication required, mechanism too weak,
/// credentials invalid, encryption required.
const LOGIN_CODES: [u16; 4] = [530, 534, 535, 538];
/// The enhanced code of a server that refuses to relay for this service (RFC 3463: delivery not authorized).
const RELAY_DENIED: &str = "5.7.1";

/// Why the SMTP server did not accept a mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// Failed to connect, or the connection was lost before the end of the mail.
    #[error("the SMTP server can't be reached: {0}")]
    Unreachable(String),
    /// The server answers but accepts no session: no STARTTLS, or a refusal before any mail.
    #[error("the SMTP server refused the session: {0}")]
    SessionRefused(String),
    /// The server refuses the credentials.
    #[error("the SMTP server refused MAIL_USERNAME and MAIL_PASSWORD: {0}")]
    Unauthorized(String),
    /// The server accepts no mail from this service, whatever the mail is.
    #[error("the SMTP server accepts no mail from this service, check FROM_ADDRESS and MAIL_USERNAME: {0}")]
    Misconfigured(String),
    /// The server replied 4xx.
    #[error("the SMTP server refused the mail for now: {0}")]
    Later(String),
    /// The server replied 5xx.
    #[error("the SMTP server refused the mail: {0}")]
    Refused(String),
    /// The server lacks an extension that this mail needs.
    #[error("the SMTP server does not support the mail: {0}")]
    Unsupported(&'static str),
    /// The server did not answer in time, before the end of the mail.
    #[error("the SMTP server did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The end of the mail was sent, and no reply was received.
    #[error("the SMTP server may or may not have the mail: {0}")]
    Unknown(String),
    /// All connections were in use.
    #[error("no connection to the SMTP server became free within {} ms", .0.as_millis())]
    Busy(Duration),
}

/// The command that the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Mail,
    Rcpt,
    Data,
    /// The end of the mail.
    End,
}

impl SmtpError {
    /// The error's label in metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::SessionRefused(_) => "not_let_in",
            Self::Unauthorized(_) => "unauthorized",
            Self::Misconfigured(_) => "misconfigured",
            Self::Later(_) => "later",
            Self::Refused(_) => "refused",
            Self::Unsupported(_) => "unsupported",
            Self::TimedOut(_) => "timed_out",
            Self::Unknown(_) => "unknown",
            Self::Busy(_) => "busy",
        }
    }

    /// Classifies an error before any mail is sent: no reply is about the mail.
    pub(super) fn of_setup(error: &Error) -> Self {
        match reply_of(error) {
            Some(reply) => Self::SessionRefused(reply),
            None => Self::Unreachable(cause(error)),
        }
    }

    /// Classifies an error of the login.
    pub(super) fn of_login(error: &Error) -> Self {
        match (error.status().map(|code| code.severity), reply_of(error)) {
            (Some(Severity::PermanentNegativeCompletion), Some(reply)) => Self::Unauthorized(reply),
            (_, Some(reply)) => Self::SessionRefused(reply),
            (_, None) if error.is_client() => Self::SessionRefused(cause(error)),
            (_, None) => Self::Unreachable(cause(error)),
        }
    }

    /// Classifies an error while a mail is sent.
    pub(super) fn of_mail(command: Command, error: &Error) -> Self {
        match (error.status(), reply_of(error)) {
            (Some(code), Some(reply)) if code.severity == Severity::PermanentNegativeCompletion => {
                Self::of_refusal(command, code.into(), reply)
            }
            (_, Some(reply)) => Self::Later(reply),
            (_, None) if command == Command::End => Self::Unknown(cause(error)),
            (_, None) => Self::Unreachable(cause(error)),
        }
    }

    /// Classifies a 5xx reply: a fault of the configuration, which affects every mail, or of this mail.
    fn of_refusal(command: Command, code: u16, reply: String) -> Self {
        let misconfigured = LOGIN_CODES.contains(&code)
            || command == Command::Mail
            || (command == Command::Rcpt && enhanced_code(&reply) == Some(RELAY_DENIED));
        if misconfigured { Self::Misconfigured(reply) } else { Self::Refused(reply) }
    }
}

/// The enhanced status code, as in `550 5.7.1 relaying denied`. Some servers write it as `#5.7.1` or `(5.7.1)`.
fn enhanced_code(reply: &str) -> Option<&str> {
    let word = reply.split_whitespace().nth(1)?;
    Some(word.trim_matches(|c: char| !c.is_ascii_digit()))
}

/// Formats a reply on one line, without control characters and without fragments of URLs: the server may quote the mail, and the
/// fragment of a password reset link is a secret.
pub(super) fn shown(code: impl std::fmt::Display, text: &str) -> String {
    let line = format!("{code} {text}");
    let words = line.trim().split(|c: char| c == ' ' || c.is_control()).map(without_fragment);
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_REPLY_CHARS).collect()
}

/// Removes the fragment of a URL. Not every `#` begins one: some servers write `#5.7.1`.
fn without_fragment(word: &str) -> &str {
    match word.split_once('#') {
        Some((url, _)) if url.contains('/') => url,
        _ => word,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(command: Command, reply: &str) -> &'static str {
        let code = reply.get(..3).and_then(|code| code.parse().ok()).unwrap();
        SmtpError::of_refusal(command, code, reply.to_owned()).kind()
    }

    #[test]
    fn shows_a_reply_on_one_line_without_fragments_of_urls() {
        let reply = "5.7.1 <https://shop.example.com/account/reset-password#s3cret> is\r\non a list, #5.7.1";
        let shown = shown(550, reply);
        assert_eq!(shown, "550 5.7.1 <https://shop.example.com/account/reset-password is  on a list, #5.7.1");
    }

    #[test]
    fn login_codes_mean_misconfigured_after_any_command() {
        for code in LOGIN_CODES {
            for command in [Command::Mail, Command::Rcpt, Command::Data, Command::End] {
                assert_eq!(kind(command, &format!("{code} 5.7.0 no")), "misconfigured", "{code} {command:?}");
            }
        }
    }

    #[test]
    fn a_refused_sender_means_misconfigured() {
        for reply in ["550 5.7.1 not yours", "553 sender rejected", "501 5.1.7 bad sender", "500 what"] {
            assert_eq!(kind(Command::Mail, reply), "misconfigured", "{reply}");
        }
    }

    #[test]
    fn a_denied_relay_means_misconfigured_and_other_recipient_errors_mean_refused() {
        for reply in ["554 5.7.1 <a@b.c>: Relay access denied", "550 #5.7.1 no", "550 (5.7.1) no"] {
            assert_eq!(kind(Command::Rcpt, reply), "misconfigured", "{reply}");
        }
        for reply in ["550 5.1.1 no such user", "550 no such user", "552 5.2.2 full", "550 5.7.10 x", "550"] {
            assert_eq!(kind(Command::Rcpt, reply), "refused", "{reply}");
        }
    }

    #[test]
    fn refused_content_means_refused() {
        for command in [Command::Data, Command::End] {
            assert_eq!(kind(command, "554 5.7.1 looks like spam"), "refused");
        }
    }
}
