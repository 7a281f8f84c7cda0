//! Why the SMTP server did not take a mail.

use std::time::Duration;

use lettre::transport::smtp::{Error, response::Severity};
use weft_runtime::telemetry::chain;

/// What is shown of a reply: it is a stranger's text.
const MAX_REPLY_CHARS: usize = 512;
/// Replies that are about this service's login, whenever they come: authentication required, mechanism too weak, credentials
/// invalid, encryption required.
const ABOUT_LOGIN: [u16; 4] = [530, 534, 535, 538];
/// The enhanced code of a server that does not relay for this service (RFC 3463: delivery not authorized).
const NOT_RELAYED: &str = "5.7.1";

/// Why the SMTP server did not take a mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// No connection, or it was lost before the end of the mail.
    #[error("the SMTP server can't be reached: {0}")]
    Unreachable(String),
    /// It answers, and does not let us in: no STARTTLS, or a refusal before any mail.
    #[error("the SMTP server does not let us in: {0}")]
    NotLetIn(String),
    /// It does not know our name and password.
    #[error("the SMTP server refuses MAIL_USERNAME and MAIL_PASSWORD: {0}")]
    Unauthorized(String),
    /// It takes no mail from this service, whatever the mail is.
    #[error("the SMTP server takes no mail from this service, check FROM_ADDRESS and MAIL_USERNAME: {0}")]
    Misconfigured(String),
    /// It answered 4xx.
    #[error("the SMTP server does not take the mail now: {0}")]
    Later(String),
    /// It answered 5xx.
    #[error("the SMTP server refuses the mail: {0}")]
    Refused(String),
    /// It lacks what this mail needs.
    #[error("the SMTP server can't take the mail: {0}")]
    Unsupported(&'static str),
    /// It did not answer in time, before the end of the mail.
    #[error("the SMTP server did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The end of the mail was sent, and no reply to it has come.
    #[error("the SMTP server may have the mail or not: {0}")]
    Unknown(String),
    /// All connections were in use all the time.
    #[error("no connection to the SMTP server became free within {} ms", .0.as_millis())]
    Busy(Duration),
}

/// What the server was asked when it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Mail,
    Rcpt,
    Data,
    /// The end of the mail.
    End,
}

impl SmtpError {
    /// A name of the kind, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::NotLetIn(_) => "not_let_in",
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

    /// Whose fault a 5xx is: the configuration's, then every mail would get it, or this mail's.
    fn of_refusal(command: Command, code: u16, reply: String) -> Self {
        let ours = ABOUT_LOGIN.contains(&code)
            || command == Command::Mail
            || (command == Command::Rcpt && enhanced_code(&reply) == Some(NOT_RELAYED));
        if ours { Self::Misconfigured(reply) } else { Self::Refused(reply) }
    }
}

/// The code after the first one, as in `550 5.7.1 relaying denied`. Some servers write it as `#5.7.1` or `(5.7.1)`.
fn enhanced_code(reply: &str) -> Option<&str> {
    let word = reply.split_whitespace().nth(1)?;
    Some(word.trim_matches(|c: char| !c.is_ascii_digit()))
}

/// A reply on one line, without what a terminal or a header could take for a command, and without fragments of URLs: the server may
/// quote the mail, and the fragment of a link that resets a password is a secret.
pub(super) fn shown(code: impl std::fmt::Display, text: &str) -> String {
    let line = format!("{code} {text}");
    let words = line.trim().split(|c: char| c == ' ' || c.is_control()).map(without_fragment);
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_REPLY_CHARS).collect()
}

/// Not every `#` begins a fragment: some servers write `#5.7.1`.
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
    fn a_reply_is_shown_on_one_line_and_without_the_fragments_of_urls() {
        let reply = "5.7.1 <https://shop.example.com/account/reset-password#s3cret> is\r\non a list, #5.7.1";
        let shown = shown(550, reply);
        assert_eq!(shown, "550 5.7.1 <https://shop.example.com/account/reset-password is  on a list, #5.7.1");
    }

    #[test]
    fn a_login_that_is_refused_is_the_configurations_fault_wherever_it_is_said() {
        for code in ABOUT_LOGIN {
            for command in [Command::Mail, Command::Rcpt, Command::Data, Command::End] {
                assert_eq!(kind(command, &format!("{code} 5.7.0 no")), "misconfigured", "{code} {command:?}");
            }
        }
    }

    #[test]
    fn a_sender_that_is_refused_is_the_configurations_fault() {
        for reply in ["550 5.7.1 not yours", "553 sender rejected", "501 5.1.7 bad sender", "500 what"] {
            assert_eq!(kind(Command::Mail, reply), "misconfigured", "{reply}");
        }
    }

    #[test]
    fn a_relay_that_is_refused_is_the_configurations_fault_and_any_other_recipient_the_mails() {
        for reply in ["554 5.7.1 <a@b.c>: Relay access denied", "550 #5.7.1 no", "550 (5.7.1) no"] {
            assert_eq!(kind(Command::Rcpt, reply), "misconfigured", "{reply}");
        }
        for reply in ["550 5.1.1 no such user", "550 no such user", "552 5.2.2 full", "550 5.7.10 x", "550"] {
            assert_eq!(kind(Command::Rcpt, reply), "refused", "{reply}");
        }
    }

    #[test]
    fn content_that_is_refused_is_the_mails_fault() {
        for command in [Command::Data, Command::End] {
            assert_eq!(kind(command, "554 5.7.1 looks like spam"), "refused");
        }
    }
}
