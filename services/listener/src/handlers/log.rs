//! `log.<SEVERITY>`: an entry for the logger.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Deserialize;
use tonic::{Code, Status};
use uuid::Uuid;
use weft_events::{Handler, Outcome, Received};
use weft_mesh::Channel;
use weft_proto::weft::log::v1::{Entry, Level, WriteRequest, log_service_client::LogServiceClient};

/// Has the logger store each event.
#[derive(Debug)]
pub(crate) struct LogHandler {
    logger: LogServiceClient<Channel>,
}

/// An event's data.
#[derive(Debug, Deserialize)]
struct Payload {
    name: String,
    data: String,
}

impl LogHandler {
    pub(crate) fn new(logger: LogServiceClient<Channel>) -> Self {
        Self { logger }
    }
}

#[async_trait]
impl Handler for LogHandler {
    async fn handle(&self, event: &Received) -> Outcome {
        let entry = match entry(event) {
            Ok(entry) => entry,
            Err(reason) => return Outcome::Rejected(reason),
        };
        match self.logger.clone().write(WriteRequest { entry: Some(entry) }).await {
            Ok(_) => Outcome::Done,
            Err(status) => outcome(&status),
        }
    }
}

fn entry(event: &Received) -> Result<Entry, String> {
    let level = level(&event.kind)?;
    let Payload { name, data } = event.json()?;
    if name.is_empty() {
        return Err("the data's field `name` is empty".into());
    }
    let time =
        prost_types::Timestamp { seconds: event.time.as_second(), nanos: event.time.subsec_nanosecond() };
    Ok(Entry {
        id: entry_id(event).to_string(),
        time: Some(time),
        service: event.source.clone(),
        level: level.into(),
        name,
        data,
        // The logger takes the trace of this call, which is the event's.
        trace_id: String::new(),
        attributes: HashMap::from([
            ("event.id".into(), event.id.clone()),
            ("event.type".into(), event.kind.clone()),
        ]),
    })
}

/// The event's own id; CloudEvents allows any text, which together with its source is unique.
fn entry_id(event: &Received) -> Uuid {
    const EVENTS: Uuid = Uuid::from_u128(0x7d1b_7f2c_5d4e_4c38_9a51_6f0d_2b8e_90a3);
    Uuid::parse_str(&event.id).unwrap_or_else(|_| {
        let name = format!("{}\0{}", event.source, event.id);
        Uuid::new_v5(&EVENTS, name.as_bytes())
    })
}

fn level(kind: &str) -> Result<Level, String> {
    let severity = kind.rsplit('.').next().unwrap_or_default();
    match severity.to_ascii_uppercase().as_str() {
        "TRACE" => Ok(Level::Trace),
        "DEBUG" => Ok(Level::Debug),
        "INFO" => Ok(Level::Info),
        "WARNING" | "WARN" => Ok(Level::Warning),
        "ERROR" => Ok(Level::Error),
        "FATAL" => Ok(Level::Fatal),
        _ => Err(format!(
            "the type `{kind}` has an unknown severity: TRACE, DEBUG, INFO, WARNING, ERROR, FATAL are known"
        )),
    }
}

fn outcome(status: &Status) -> Outcome {
    let reason = format!("the logger answered {:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => Outcome::Unavailable(reason),
        Code::InvalidArgument | Code::FailedPrecondition => Outcome::Rejected(reason),
        _ => Outcome::Retry(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Received {
        let time = "2026-01-02T03:04:05.678Z".parse().unwrap();
        Received {
            id: "0199f3f0-0000-7000-8000-000000000001".into(),
            kind: kind.into(),
            source: "broker".into(),
            time,
            data: data.into(),
            attempts: 0,
            failures: 0,
            first_attempt: time,
        }
    }

    #[test]
    fn an_entry_has_the_events_id_time_and_severity() {
        let entry = entry(&event("log.WARNING", r#"{"name":"n","data":"d"}"#)).unwrap();
        assert_eq!(entry.id, "0199f3f0-0000-7000-8000-000000000001");
        assert_eq!(entry.level(), Level::Warning);
        assert_eq!((entry.name.as_str(), entry.data.as_str(), entry.service.as_str()), ("n", "d", "broker"));
        assert_eq!(entry.time, Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 678_000_000 }));
        assert_eq!(entry.attributes["event.type"], "log.WARNING");
    }

    #[test]
    fn an_id_that_is_no_uuid_gives_always_the_same_one() {
        let named = |id: &str, source: &str| {
            entry_id(&Received { id: id.into(), source: source.into(), ..event("log.INFO", "{}") })
        };
        assert_eq!(named("7", "a"), named("7", "a"));
        assert_ne!(named("7", "a"), named("7", "b"));
        assert_ne!(named("7", "a"), named("8", "a"));
    }

    #[test]
    fn data_of_the_wrong_shape_is_refused_with_the_fields_name() {
        let reason = |kind, data| entry(&event(kind, data)).unwrap_err();
        assert!(reason("log.INFO", r#"{"name":5,"data":"d"}"#).contains("`name`"));
        assert!(reason("log.INFO", r#"{"name":"n","data":{}}"#).contains("`data`"));
        assert!(reason("log.INFO", r#"{"name":"n","data":null}"#).contains("`data`"));
        assert!(reason("log.INFO", r#"{"name":"n"}"#).contains("`data`"));
        assert!(reason("log.INFO", r#"{"name":"","data":"d"}"#).contains("`name` is empty"));
        assert!(reason("log.INFO", "[]").contains("wanted shape"));
        assert!(reason("log.LOUD", r#"{"name":"n","data":"d"}"#).contains("log.LOUD"));
    }

    #[test]
    fn the_loggers_answer_decides() {
        let of = |code| outcome(&Status::new(code, "why"));
        assert!(matches!(of(Code::Unavailable), Outcome::Unavailable(_)));
        assert!(matches!(of(Code::DeadlineExceeded), Outcome::Unavailable(_)));
        assert!(matches!(of(Code::InvalidArgument), Outcome::Rejected(_)));
        assert!(matches!(of(Code::FailedPrecondition), Outcome::Rejected(_)));
        let Outcome::Retry(reason) = of(Code::Internal) else { panic!("it should be tried again") };
        assert_eq!(reason, "the logger answered Internal: why");
    }
}
