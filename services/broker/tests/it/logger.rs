//! A fake of the logger.

use std::sync::{Arc, Mutex};

use tonic::{Request, Response, Status};
use weft_proto::weft::log::v1::log_service_server::LogService;
use weft_proto::weft::log::v1::{
    Entry, QueryRequest, QueryResponse, WriteManyRequest, WriteManyResponse, WriteRequest, WriteResponse,
};

/// An entry with this name is stored, but its write is never answered.
pub(crate) const HANGS: &str = "hangs";
/// The text of a search that never ends.
pub(crate) const SEARCH_HANGS: &str = "search-that-never-ends";
/// The text of a search that is refused because too many are running.
pub(crate) const SEARCH_BUSY: &str = "search-refused";

/// Stores entries in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logger(pub(crate) Arc<Mutex<Vec<Entry>>>);

impl Logger {
    fn keep(&self, entry: Entry) -> WriteResponse {
        let mut entries = self.0.lock().unwrap();
        let stored = entries.iter().find(|other| other.id == entry.id);
        let conflict =
            stored.is_some_and(|stored| (&stored.name, &stored.data) != (&entry.name, &entry.data));
        let created = stored.is_none();
        if created {
            entries.push(entry);
        }
        WriteResponse { created, conflict }
    }
}

#[tonic::async_trait]
impl LogService for Logger {
    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let entry = request.into_inner().entry.unwrap();
        if entry.name == HANGS {
            self.0.lock().unwrap().push(entry);
            return std::future::pending().await;
        }
        let written = self.keep(entry);
        if written.conflict {
            return Err(Status::already_exists("other content"));
        }
        Ok(Response::new(written))
    }

    async fn write_audit(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Ok(Response::new(self.keep(request.into_inner().entry.unwrap())))
    }

    async fn write_many(
        &self,
        request: Request<WriteManyRequest>,
    ) -> Result<Response<WriteManyResponse>, Status> {
        let entries = request.into_inner().entries;
        let results = entries.into_iter().map(|entry| self.keep(entry)).collect();
        Ok(Response::new(WriteManyResponse { results }))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let filter = request.into_inner();
        let invalid = |field: &str| Err(Status::invalid_argument(format!("{field}: invalid value")));
        if !filter.trace_id.is_empty() && filter.trace_id.len() != 32 {
            return invalid("trace_id");
        }
        if filter.text.chars().count() > 256 {
            return invalid("text");
        }
        if filter.service.chars().count() > 128 {
            return invalid("service");
        }
        match filter.text.as_str() {
            SEARCH_HANGS => return std::future::pending().await,
            SEARCH_BUSY => return Err(Status::resource_exhausted("too many searches are running")),
            _ => {}
        }
        let default_from =
            (!filter.text.is_empty()).then_some(prost_types::Timestamp { seconds: 5, nanos: 0 });
        let items = self.0.lock().unwrap().iter().rev().take(3).cloned().collect();
        Ok(Response::new(QueryResponse { items, next_cursor: String::new(), default_from }))
    }
}
