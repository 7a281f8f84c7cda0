//! `weft.log.v1.LogService`: translates between gRPC and the logger.

pub mod letters;
pub mod original;
mod status;

use std::sync::Arc;
use std::time::Duration;

use prost_types::Timestamp;
use tonic::{Code, Request, Response, Status};
use weft_mesh::joined::Served;
use weft_mesh::{Caller, Deadline};
use weft_proto::weft::log::v1 as pb;
use weft_proto::weft::log::v1::log_service_server::LogService;
use weft_runtime::clock::Clock;
use weft_runtime::trace::current_trace_id;
use weft_values::audit;

use crate::cursor;
use crate::entry::{Entry, Level};
use crate::group::{Writer, Written};
use crate::metrics::Metrics;
use crate::store::{LogStore, QueryError};
use crate::trace::DatabaseSpans;
use crate::validate::{self, Received};

const WRITE_MANY: &str = "/weft.log.v1.LogService/WriteMany";

/// State shared by `weft.log.v1.LogService` and the original's `logs.LogService`.
#[derive(Clone)]
pub struct Api {
    /// Queues writes.
    pub writer: Writer,
    /// Runs queries.
    pub store: Arc<dyn LogStore>,
    /// Upper bound for the duration of a query. The caller's deadline may be earlier.
    pub query_timeout: Duration,
    /// Current time.
    pub clock: Arc<dyn Clock>,
    /// Spans of queries.
    pub spans: DatabaseSpans,
    /// Metrics.
    pub metrics: Metrics,
}

impl Api {
    fn received(&self) -> Received {
        Received { now_ms: self.clock.now().as_millisecond(), trace_id: current_trace_id() }
    }

    async fn write_one(&self, entry: Entry) -> Result<Response<pb::WriteResponse>, Status> {
        let written = self.writer.write(vec![entry]).await.map_err(status::unwritten)?;
        match written.first().copied().unwrap_or(Written::Repeated) {
            Written::Conflict => Err(status::conflict()),
            written => Ok(Response::new(to_response(written))),
        }
    }
}

#[tonic::async_trait]
impl LogService for Api {
    async fn write(&self, request: Request<pb::WriteRequest>) -> Result<Response<pb::WriteResponse>, Status> {
        let entry = validate::single(request.into_inner(), &self.received()).map_err(status::invalid)?;
        refuse_records(std::slice::from_ref(&entry))?;
        self.write_one(entry).await
    }

    async fn write_audit(
        &self,
        request: Request<pb::WriteRequest>,
    ) -> Result<Response<pb::WriteResponse>, Status> {
        let entry = validate::single(request.into_inner(), &self.received()).map_err(status::invalid)?;
        if !audit::is_reserved(&entry.service) {
            let (broker, authentication) = (audit::BROKER, audit::AUTHENTICATION);
            let message = format!("entry.service: a record must be of {broker} or {authentication}");
            return Err(Status::invalid_argument(message));
        }
        self.write_one(entry).await
    }

    async fn write_many(
        &self,
        request: Request<pb::WriteManyRequest>,
    ) -> Result<Response<pb::WriteManyResponse>, Status> {
        let (entries, traceparents) =
            validate::many(request.into_inner(), &self.received()).map_err(status::invalid)?;
        refuse_records(&entries)?;
        let open = |traceparent: &String| Served::open(WRITE_MANY, traceparent);
        let joined: Vec<Served> = traceparents.iter().filter_map(open).collect();
        let below = joined.iter().map(|call| call.span().clone()).collect();
        let outcome = self.writer.write_joined(entries, below).await.map_err(status::unwritten);
        let code = outcome.as_ref().map_or_else(Status::code, |_| Code::Ok);
        joined.into_iter().for_each(|call| call.end(code));
        let results = outcome?.into_iter().map(to_response).collect();
        Ok(Response::new(pb::WriteManyResponse { results }))
    }

    async fn query(&self, request: Request<pb::QueryRequest>) -> Result<Response<pb::QueryResponse>, Status> {
        // The caller only determines the share of concurrent searches, so a call without a user is served too.
        let caller = Caller::from_metadata(request.metadata()).ok().flatten();
        let caller = caller.map(|caller| caller.user).unwrap_or_default();
        let query = validate::query(request.into_inner(), self.clock.now().as_millisecond())
            .map_err(status::invalid)?;
        let default_from = query.from_ms.filter(|_| query.default_range).map(to_timestamp);
        let deadline = Deadline::within(self.query_timeout).instant();
        let span = self.spans.find();
        let outcome = self.store.query(query, &caller, deadline).await;
        let failure = outcome.as_ref().err().map(QueryError::kind);
        self.metrics.queried(failure);
        span.end(failure);
        let page = outcome.map_err(status::unread)?;
        Ok(Response::new(pb::QueryResponse {
            items: page.entries.into_iter().map(to_proto).collect(),
            next_cursor: page.next.as_ref().map(cursor::encode).unwrap_or_default(),
            default_from,
        }))
    }
}

/// Refuses entries that would pass for records of who did what: those have a method of their own.
fn refuse_records(entries: &[Entry]) -> Result<(), Status> {
    match entries.iter().find(|entry| audit::is_reserved(&entry.service)) {
        None => Ok(()),
        Some(Entry { id, service, .. }) => Err(Status::permission_denied(format!(
            "entry {id}: the service name `{}` is reserved for records of who did what; expected another one",
            service.escape_debug()
        ))),
    }
}

fn to_response(written: Written) -> pb::WriteResponse {
    pb::WriteResponse { created: written == Written::Created, conflict: written == Written::Conflict }
}

fn to_proto(entry: Entry) -> pb::Entry {
    let Entry { id, time_ms, received_ms: _, service, level, name, data, trace_id, attributes } = entry;
    pb::Entry {
        id: id.to_string(),
        time: Some(to_timestamp(time_ms)),
        service,
        level: level_to_proto(level).into(),
        name,
        data,
        trace_id: trace_id.unwrap_or_default(),
        attributes: attributes.into_iter().collect(),
    }
}

fn to_timestamp(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    Timestamp { seconds: ms.div_euclid(1_000), nanos }
}

fn level_to_proto(level: Level) -> pb::Level {
    match level {
        Level::Trace => pb::Level::Trace,
        Level::Debug => pb::Level::Debug,
        Level::Info => pb::Level::Info,
        Level::Warning => pb::Level::Warning,
        Level::Error => pb::Level::Error,
        Level::Fatal => pb::Level::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GroupConfig;
    use crate::testing::{FakeStore, clock, entry, metrics, spans};

    #[tokio::test]
    async fn passes_the_callers_deadline_and_name_to_the_store() {
        let store = Arc::new(FakeStore::default());
        let within = Duration::from_secs(10);
        let (writer, _) = Writer::start(store.clone(), spans(), &metrics(), GroupConfig::default(), within);
        let api = Api {
            writer,
            store: store.clone(),
            query_timeout: within,
            clock: clock(),
            spans: spans(),
            metrics: metrics(),
        };
        let last_query = || store.last_query.lock().unwrap().clone().unwrap();

        let mut request = Request::new(pb::QueryRequest { text: "x".into(), ..pb::QueryRequest::default() });
        let (user, session) = ("ada".to_owned(), "s".to_owned());
        let caller = Caller { user, session, role: weft_mesh::caller::Role::User };
        caller.to_metadata(request.metadata_mut()).unwrap();
        let deadline = Deadline::within(Duration::from_millis(300));
        let reply = deadline.scope(api.query(request)).await.unwrap().into_inner();
        let (query, caller, until) = last_query();
        assert_eq!((caller.as_str(), until), ("ada", deadline.instant()));
        assert_eq!(reply.default_from, query.from_ms.map(to_timestamp));
        assert!(query.default_range);

        let before = Deadline::within(within).instant();
        let reply = api.query(Request::new(pb::QueryRequest::default())).await.unwrap().into_inner();
        let (_, caller, until) = last_query();
        assert!(caller.is_empty() && reply.default_from.is_none());
        assert!((before..=Deadline::within(within).instant()).contains(&until));
    }

    #[test]
    fn converts_a_time_before_1970() {
        let time = to_proto(Entry { time_ms: -1, ..entry(1) }).time.unwrap();
        assert_eq!((time.seconds, time.nanos), (-1, 999_000_000));
    }

    #[test]
    fn every_level_round_trips() {
        for level in [Level::Trace, Level::Debug, Level::Info, Level::Warning, Level::Error, Level::Fatal] {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(level_to_proto(level).as_str_name(), format!("LEVEL_{}", level.as_str()));
        }
    }
}
