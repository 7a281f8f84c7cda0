//! What each kind of event starts: a function of what is known of the event and of its data.

pub(crate) mod log;
pub(crate) mod mail;

use std::marker::PhantomData;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};
use uuid::Uuid;
use weft_events::{Handler, Outcome, Received};

/// What is known of an event beside its data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct About {
    /// The publisher's id; CloudEvents allows any text.
    pub(crate) id: String,
    /// The first routing key, such as `log.INFO`.
    pub(crate) kind: String,
    /// Who says so; empty in a plain message.
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

    /// The id of what the event starts, always the same: a repeat is no second effect. It is the event's own where that is
    /// valid, otherwise one that derives from the event's id and source, which together are unique.
    pub(crate) fn effect_id(&self) -> Uuid {
        const EVENTS: Uuid = Uuid::from_u128(0x7d1b_7f2c_5d4e_4c38_9a51_6f0d_2b8e_90a3);
        weft_values::id::parse(&self.id).unwrap_or_else(|_| {
            let name = format!("{}\0{}", self.source, self.id);
            Uuid::new_v5(&EVENTS, name.as_bytes())
        })
    }
}

/// A handler that is this function. Data of another shape is rejected before it.
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

/// What a service's answer means for the event.
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
    fn an_id_that_is_no_uuid_gives_always_the_same_one() {
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
    fn a_time_before_1970_is_one_that_the_logger_takes() {
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
                Outcome::Retry("no three".into())
            }
        });
        assert_eq!(handler.handle(&event("sum.three", "[1,2]")).await, Outcome::Done);
        assert!(matches!(handler.handle(&event("sum.three", "[1]")).await, Outcome::Retry(_)));
        let Outcome::Rejected(reason) = handler.handle(&event("sum.three", r#"[1,"x"]"#)).await else {
            panic!("data of another shape should be rejected")
        };
        assert!(reason.contains("`[1]`"), "{reason}");
    }

    #[test]
    fn the_services_answer_decides() {
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
