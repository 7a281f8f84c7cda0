//! `mail.send`: sends a mail through the mail service.

use std::collections::HashMap;

use serde::Deserialize;
use tonic::{Code, Status};
use weft_events::{Handler, Outcome};
use weft_mesh::Channel;
use weft_proto::weft::mail::v1::{SendRequest, mail_service_client::MailServiceClient};

use super::{About, outcome, reason, typed};

/// The event's data.
#[derive(Debug, Deserialize)]
struct Payload {
    from: String,
    to: String,
    subject: String,
    message: String,
}

/// Sends each event to the mail service. A repeat has the same Message-ID.
pub(crate) fn handler(mail: MailServiceClient<Channel>) -> impl Handler {
    typed(move |about, payload| {
        let mut mail = mail.clone();
        async move { sent(mail.send(request(&about, payload)).await) }
    })
}

/// UNKNOWN and DEADLINE_EXCEEDED do not say whether the mail was sent, so a repeat may send a second copy.
fn sent<T>(answer: Result<T, Status>) -> Outcome {
    match answer {
        Err(status) if matches!(status.code(), Code::Unknown | Code::DeadlineExceeded) => {
            Outcome::Unknown(reason("mail", &status))
        }
        answer => outcome("mail", answer),
    }
}

fn request(about: &About, payload: Payload) -> SendRequest {
    let Payload { from, to, subject, message } = payload;
    SendRequest {
        id: about.effect_id().to_string(),
        template: "message".into(),
        to,
        // The sender is a setting of the mail service.
        reply_to: from,
        values: HashMap::from([("subject".into(), subject), ("message".into(), message)]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, event};
    use super::*;

    #[test]
    fn a_mail_has_the_events_id_and_reply_address() {
        let data = r#"{"from":"bob@example.org","to":"ann@example.org","subject":"s","message":"m"}"#;
        let request = request(&about("mail.send"), event("mail.send", data).json().unwrap());
        assert_eq!(request.id, "0199f3f0-0000-7000-8000-000000000001");
        assert_eq!((request.to.as_str(), request.reply_to.as_str()), ("ann@example.org", "bob@example.org"));
        assert_eq!((request.template.as_str(), request.values.len()), ("message", 2));
        assert_eq!((request.values["subject"].as_str(), request.values["message"].as_str()), ("s", "m"));
    }

    #[test]
    fn an_ambiguous_status_is_an_unknown_outcome() {
        let of = |code| sent::<()>(Err(Status::new(code, "why")));
        assert_eq!(sent(Ok(())), Outcome::Done);
        assert_eq!(of(Code::Unknown), Outcome::Unknown("mail answered Unknown: why".into()));
        assert!(matches!(of(Code::DeadlineExceeded), Outcome::Unknown(_)));
        assert!(matches!(of(Code::Unavailable), Outcome::Unavailable(_)));
        assert!(matches!(of(Code::FailedPrecondition), Outcome::Rejected(_)));
    }

    #[test]
    fn rejects_invalid_data_and_names_the_field() {
        let reason = |data| event("mail.send", data).json::<Payload>().unwrap_err();
        assert!(reason(r#"{"from":"b","to":"a","subject":"s"}"#).contains("`message`"));
        assert!(reason(r#"{"from":"b","to":["a"],"subject":"s","message":"m"}"#).contains("`to`"));
    }
}
