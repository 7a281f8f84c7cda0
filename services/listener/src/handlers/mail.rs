//! `mail.send`: a mail from one person to another.

use std::collections::HashMap;

use serde::Deserialize;
use tonic::{Code, Status};
use weft_events::{Handler, Outcome};
use weft_mesh::Channel;
use weft_proto::weft::mail::v1::{SendRequest, mail_service_client::MailServiceClient};

use super::{About, outcome, reason, typed};

/// An event's data.
#[derive(Debug, Deserialize)]
struct Payload {
    from: String,
    to: String,
    subject: String,
    message: String,
}

/// Has mail send each event. A repeat has the same Message-ID.
pub(crate) fn handler(mail: MailServiceClient<Channel>) -> impl Handler {
    typed(move |about, payload| {
        let mut mail = mail.clone();
        async move { sent(mail.send(request(&about, payload)).await) }
    })
}

/// Where mail does not say that the mail was not sent, the outcome is unknown: a repeat may be a second copy.
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
        // Who it is from is the Stack's to say.
        reply_to: from,
        values: HashMap::from([("subject".into(), subject), ("message".into(), message)]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, event};
    use super::*;

    #[test]
    fn a_mail_has_the_events_id_and_replies_go_to_who_wrote_it() {
        let data = r#"{"from":"bob@example.org","to":"ann@example.org","subject":"s","message":"m"}"#;
        let request = request(&about("mail.send"), event("mail.send", data).json().unwrap());
        assert_eq!(request.id, "0199f3f0-0000-7000-8000-000000000001");
        assert_eq!((request.to.as_str(), request.reply_to.as_str()), ("ann@example.org", "bob@example.org"));
        assert_eq!((request.template.as_str(), request.values.len()), ("message", 2));
        assert_eq!((request.values["subject"].as_str(), request.values["message"].as_str()), ("s", "m"));
    }

    #[test]
    fn only_what_mail_vouches_for_is_repeated_at_once() {
        let of = |code| sent::<()>(Err(Status::new(code, "why")));
        assert_eq!(sent(Ok(())), Outcome::Done);
        assert_eq!(of(Code::Unknown), Outcome::Unknown("mail answered Unknown: why".into()));
        assert!(matches!(of(Code::DeadlineExceeded), Outcome::Unknown(_)));
        assert!(matches!(of(Code::Unavailable), Outcome::Unavailable(_)));
        assert!(matches!(of(Code::FailedPrecondition), Outcome::Rejected(_)));
    }

    #[test]
    fn data_of_the_wrong_shape_is_refused_with_the_fields_name() {
        let reason = |data| event("mail.send", data).json::<Payload>().unwrap_err();
        assert!(reason(r#"{"from":"b","to":"a","subject":"s"}"#).contains("`message`"));
        assert!(reason(r#"{"from":"b","to":["a"],"subject":"s","message":"m"}"#).contains("`to`"));
    }
}
