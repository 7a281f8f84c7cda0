//! The one place where mail's errors become gRPC's.

use tonic::Status;

use super::SendError;
use crate::smtp::SmtpError;

/// The SMTP server's own words go to the caller: they are about the caller's mail. A refusal that is about this service
/// (its login, its encryption, its from address) can only be fixed here, so the caller is told to come back: UNAVAILABLE means
/// that the mail was not sent. UNKNOWN means that it may have been.
pub(super) fn unsent(error: SendError) -> Status {
    let text = error.to_string();
    match error {
        SendError::Invalid(_) | SendError::Render(_) => Status::invalid_argument(text),
        SendError::Smtp(SmtpError::Refused(_) | SmtpError::Unsupported(_)) => {
            tracing::warn!(reason = text, "a mail was refused");
            Status::failed_precondition(text)
        }
        SendError::Smtp(SmtpError::Unknown(_)) => {
            tracing::warn!(reason = text, "it is unknown whether a mail was sent");
            Status::unknown(text)
        }
        SendError::Smtp(
            SmtpError::Unreachable(_)
            | SmtpError::NotLetIn(_)
            | SmtpError::Unauthorized(_)
            | SmtpError::Misconfigured(_)
            | SmtpError::Later(_)
            | SmtpError::TimedOut(_)
            | SmtpError::Busy(_),
        ) => {
            tracing::warn!(reason = text, "a mail was not sent");
            Status::unavailable(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::*;
    use crate::template::RenderError;
    use crate::validate::Invalid;

    fn code(error: impl Into<SendError>) -> Code {
        unsent(error.into()).code()
    }

    #[test]
    fn what_can_never_work_is_the_callers_fault() {
        assert_eq!(code(Invalid::new("to", "it is empty")), Code::InvalidArgument);
        let lacking = RenderError::Lacking { template: "t".into(), lacking: "`v`".into() };
        assert_eq!(code(lacking), Code::InvalidArgument);
    }

    #[test]
    fn what_smtp_says_decides_and_is_told() {
        let refused = unsent(SmtpError::Refused("550 5.1.1 no such user".into()).into());
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("550 5.1.1 no such user"));
        let later = unsent(SmtpError::Later("451 4.7.1 greylisted".into()).into());
        assert_eq!(later.code(), Code::Unavailable);
        assert!(later.message().contains("451 4.7.1 greylisted"));
        for error in [
            SmtpError::Unreachable("x".into()),
            SmtpError::NotLetIn("554 go away".into()),
            SmtpError::Unauthorized("535 no".into()),
            SmtpError::Misconfigured("553 5.7.1 not your address".into()),
            SmtpError::TimedOut(Duration::from_secs(1)),
            SmtpError::Busy(Duration::from_secs(1)),
        ] {
            assert_eq!(code(error), Code::Unavailable);
        }
        assert_eq!(code(SmtpError::Unknown("no reply".into())), Code::Unknown);
        assert_eq!(code(SmtpError::Unsupported("no SMTPUTF8")), Code::FailedPrecondition);
    }
}
