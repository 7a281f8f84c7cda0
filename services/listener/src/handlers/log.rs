//! `log.<SEVERITY>`: stores an entry in the logger.

use std::collections::HashMap;

use serde::Deserialize;
use weft_events::{Handler, Outcome};
use weft_mesh::Channel;
use weft_proto::weft::log::v1::{Entry, Level, WriteRequest, log_service_client::LogServiceClient};
use weft_values::{audit, text};

use super::{About, outcome, typed};

/// The event's data.
#[derive(Debug, Deserialize)]
struct Payload {
    name: String,
    data: String,
}

/// Sends each event to the logger.
pub(crate) fn handler(logger: LogServiceClient<Channel>) -> impl Handler {
    typed(move |about, payload| {
        let mut logger = logger.clone();
        async move {
            match entry(about, payload) {
                Ok(entry) => outcome("logger", logger.write(WriteRequest { entry: Some(entry) }).await),
                Err(reason) => Outcome::Rejected(reason),
            }
        }
    })
}

fn entry(about: About, payload: Payload) -> Result<Entry, String> {
    let Payload { name, data } = payload;
    let level = level(&about.kind)?;
    text::entry_name(&name).map_err(|error| format!("invalid data at field `name`: {error}"))?;
    if audit::is_reserved(&about.source) {
        return Err(format!(
            "invalid source `{}`: reserved for audit records; expected another name",
            about.source
        ));
    }
    Ok(Entry {
        id: about.effect_id().to_string(),
        time: Some(about.time),
        service: about.source,
        level: level.into(),
        name,
        data,
        // Empty: the logger uses the trace of this call, which is the event's.
        trace_id: String::new(),
        attributes: HashMap::from([("event.id".into(), about.id), ("event.type".into(), about.kind)]),
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
            "event type `{kind}`: unknown severity; expected TRACE, DEBUG, INFO, WARNING, ERROR or FATAL"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, event};
    use super::*;

    #[test]
    fn an_entry_has_the_events_id_time_and_severity() {
        let payload = Payload { name: "n".into(), data: "d".into() };
        let entry = entry(about("log.WARNING"), payload).unwrap();
        assert_eq!(entry.id, "0199f3f0-0000-7000-8000-000000000001");
        assert_eq!(entry.level(), Level::Warning);
        assert_eq!((entry.name.as_str(), entry.data.as_str(), entry.service.as_str()), ("n", "d", "broker"));
        assert_eq!(entry.time, Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 678_000_000 }));
        assert_eq!(entry.attributes["event.type"], "log.WARNING");
    }

    #[test]
    fn rejects_a_source_reserved_for_audit_records() {
        for source in ["broker.audit", "authentication", "Authentication "] {
            let payload = Payload { name: "authentication".into(), data: "a@b.c logged in".into() };
            let refused = entry(About { source: source.into(), ..about("log.INFO") }, payload).unwrap_err();
            assert!(refused.contains("reserved"), "{refused}");
        }
    }

    #[test]
    fn rejects_invalid_data_and_names_the_field() {
        let reason = |kind, data| {
            let payload: Result<Payload, String> = event(kind, data).json();
            payload.and_then(|payload| entry(about(kind), payload)).unwrap_err()
        };
        assert!(reason("log.INFO", r#"{"name":5,"data":"d"}"#).contains("`name`"));
        assert!(reason("log.INFO", r#"{"name":"n","data":{}}"#).contains("`data`"));
        assert!(reason("log.INFO", r#"{"name":"n","data":null}"#).contains("`data`"));
        assert!(reason("log.INFO", r#"{"name":"n"}"#).contains("`data`"));
        assert!(reason("log.INFO", r#"{"name":"","data":"d"}"#).contains("`name`: the name is empty"));
        assert!(reason("log.INFO", "[]").contains("invalid data"));
        assert!(reason("log.LOUD", r#"{"name":"n","data":"d"}"#).contains("log.LOUD"));
    }
}
