//! One module for each kind of event: a function of the event's attributes and typed data.

pub(crate) mod log;
pub(crate) mod mail;

use std::marker::PhantomData;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};
use uuid::Uuid;
use weft_events::{Handler, Outcome, Received};

/// Attributes of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct About {
    /// The publisher's id. CloudEvents allows any text.
    pub(crate) id: String,
    /// Event type: the routing key of the first publication, such as `log.INFO`.
    pub(crate) kind: String,
    /// The publisher; empty for a message without CloudEvents headers.
    pub(crate) source: String,
    /// When it happened.
    pub(crate) time: prost_types::Timestamp,
}

impl About {
    fn of(event: &Received) -> Self {
        Self {
            id: event.id.clone(),
            kind: event.kind.clone(),
            source: event.source.clone(),
            time: weft_values::time::to_proto(event.time),
        }
    }

    /// The id of the event's effect (entry or mail). Always the same for one event, so that a repeat has no second effect. It is the
    /// event's id if that is a valid UUID, otherwise derived from the event's id and source, which together are unique.
    pub(crate) fn effect_id(&self) -> Uuid {
        const EVENTS: Uuid = Uuid::from_u128(0x7d1b_7f2c_5d4e_4c38_9a51_6f0d_2b8e_90a3);
        weft_values::id::parse(&self.id).unwrap_or_else(|_| {
            let name = format!("{}\0{}", self.source, self.id);
            Uuid::new_v5(&EVENTS, name.as_bytes())
        })
    }
}

/// Creates a handler from a function. Rejects events whose data is not a valid `P`.
pub(crate) fn typed<P, F, A>(act: F) -> impl Handler
where
    P: DeserializeOwned + Send + 'static,
    F: Fn(About, P) -> A + Send + Sync + 'static,
    A: Future<Output = Outcome> + Send + 'static,
{
    Typed { act, payload: PhantomData::<fn(P)> }
}

struct Typed<P, F> {
    act: F,
    payload: PhantomData<fn(P)>,
}

#[async_trait]
impl<P, F, A> Handler for Typed<P, F>
where
    P: DeserializeOwned + Send + 'static,
    F: Fn(About, P) -> A + Send + Sync + 'static,
    A: Future<Output = Outcome> + Send + 'static,
{
    async fn handle(&self, event: &Received) -> Outcome {
        match event.json() {
            Ok(payload) => (self.act)(About::of(event), payload).await,
            Err(reason) => Outcome::Rejected(reason),
        }
    }
}

/// Maps the result of a call to the event's outcome.
pub(crate) fn outcome<T>(service: &str, answer: Result<T, Status>) -> Outcome {
    let Err(status) = answer else { return Outcome::Done };
    let reason = reason(service, &status);
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => Outcome::Unavailable(reason),
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => Outcome::Rejected(reason),
        _ => Outcome::Retry(reason),
    }
}

fn reason(service: &str, status: &Status) -> String {
    format!("{service} answered {:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn event(kind: &str, data: &str) -> Received {
        let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
        Received {
            id: "0199f3f0-0000-7000-8000-000000000001".into(),
            kind: kind.into(),
            source: "broker".into(),
            time,
            data: data.into(),
            attempts: 0,
            failures: 0,
            unknowns: 0,
            first_attempt: time,
        }
    }

    pub(super) fn about(kind: &str) -> About {
        About::of(&event(kind, "{}"))
    }

    #[test]
    fn derives_the_same_uuid_from_other_ids() {
        let named = |id: &str, source: &str| {
            About { id: id.into(), source: source.into(), ..about("log.INFO") }.effect_id()
        };
        assert_eq!(about("log.INFO").effect_id().to_string(), "0199f3f0-0000-7000-8000-000000000001");
        assert_eq!(named("7", "a"), named("7", "a"));
        assert_ne!(named("7", "a"), named("7", "b"));
        assert_ne!(named("7", "a"), named("8", "a"));
        let nil = Uuid::nil().to_string();
        assert!(!named(&nil, "a").is_nil() && named(&nil, "a") != named(&nil, "b"));
    }

    #[test]
    fn converts_a_time_before_1970() {
        let time = "1969-12-31T23:59:59.5Z".parse().unwrap();
        let about = About::of(&Received { time, ..event("log.INFO", "{}") });
        assert_eq!(weft_values::time::to_ms(&about.time), Ok(-500));
    }

    #[tokio::test]
    async fn a_handler_is_a_function_of_the_event_and_its_typed_data() {
        let handler = typed(async |about: About, numbers: Vec<u8>| {
            if about.kind == "sum.three" && numbers.iter().sum::<u8>() == 3 {
                Outcome::Done
            } else {
                Outcome::Retry("not three".into())
            }
        });
        assert_eq!(handler.handle(&event("sum.three", "[1,2]")).await, Outcome::Done);
        assert!(matches!(handler.handle(&event("sum.three", "[1]")).await, Outcome::Retry(_)));
        let Outcome::Rejected(reason) = handler.handle(&event("sum.three", r#"[1,"x"]"#)).await else {
            panic!("expected Rejected")
        };
        assert!(reason.contains("`[1]`"), "{reason}");
    }

    #[test]
    fn maps_each_status_to_an_outcome() {
        let of = |code| outcome::<()>("mail", Err(Status::new(code, "why")));
        assert_eq!(outcome("mail", Ok(())), Outcome::Done);
        assert!(matches!(of(Code::Unavailable), Outcome::Unavailable(_)));
        assert!(matches!(of(Code::DeadlineExceeded), Outcome::Unavailable(_)));
        assert!(matches!(of(Code::InvalidArgument), Outcome::Rejected(_)));
        assert!(matches!(of(Code::FailedPrecondition), Outcome::Rejected(_)));
        assert!(matches!(of(Code::AlreadyExists), Outcome::Rejected(_)));
        assert_eq!(of(Code::Internal), Outcome::Retry("mail answered Internal: why".into()));
    }
}
