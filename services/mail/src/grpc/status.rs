//! Maps errors to gRPC statuses.

use tonic::Status;

use super::SendError;
use crate::smtp::SmtpError;

/// The status has the SMTP server's reply, because it is about the caller's mail. A refusal of this service (login, encryption,
/// from address) is UNAVAILABLE: only the operator of the service can fix it, and the caller may repeat. UNAVAILABLE means that the
/// mail was not sent, UNKNOWN that it may have been sent.
pub(super) fn unsent(error: SendError) -> Status {
    let text = error.to_string();
    match error {
        SendError::Invalid(_) | SendError::Render(_) => Status::invalid_argument(text),
        SendError::Smtp(SmtpError::Refused(_) | SmtpError::Unsupported(_)) => {
            tracing::warn!(reason = text, "mail refused");
            Status::failed_precondition(text)
        }
        SendError::Smtp(SmtpError::Unknown(_)) => {
            tracing::warn!(reason = text, "mail outcome unknown");
            Status::unknown(text)
        }
        SendError::Smtp(
            SmtpError::Unreachable(_)
            | SmtpError::SessionRefused(_)
            | SmtpError::Unauthorized(_)
            | SmtpError::Misconfigured(_)
            | SmtpError::Later(_)
            | SmtpError::TimedOut(_)
            | SmtpError::Busy(_),
        ) => {
            tracing::warn!(reason = text, "mail not sent");
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
    fn maps_invalid_requests_to_invalid_argument() {
        assert_eq!(code(Invalid::new("to", "empty")), Code::InvalidArgument);
        let missing = RenderError::Missing { template: "t".into(), missing: "`v`".into() };
        assert_eq!(code(missing), Code::InvalidArgument);
    }

    #[test]
    fn maps_smtp_errors_and_keeps_the_reply() {
        let refused = unsent(SmtpError::Refused("550 5.1.1 no such user".into()).into());
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("550 5.1.1 no such user"));
        let later = unsent(SmtpError::Later("451 4.7.1 greylisted".into()).into());
        assert_eq!(later.code(), Code::Unavailable);
        assert!(later.message().contains("451 4.7.1 greylisted"));
        for error in [
            SmtpError::Unreachable("x".into()),
            SmtpError::SessionRefused("554 go away".into()),
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
