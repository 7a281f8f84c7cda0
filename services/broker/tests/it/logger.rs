//! The logger, as far as the broker sees it.

use std::sync::{Arc, Mutex};

use tonic::{Request, Response, Status};
use weft_proto::weft::log::v1::log_service_server::LogService;
use weft_proto::weft::log::v1::{
    Entry, QueryRequest, QueryResponse, WriteManyRequest, WriteManyResponse, WriteRequest, WriteResponse,
};

/// The text of a search that never ends.
pub(crate) const SEARCH_HANGS: &str = "search-that-never-ends";
/// The text of a search for which the logger has no room.
pub(crate) const SEARCH_BUSY: &str = "search-without-room";

/// Keeps what is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logger(pub(crate) Arc<Mutex<Vec<Entry>>>);

#[tonic::async_trait]
impl LogService for Logger {
    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        let entry = request.into_inner().entry.unwrap();
        let mut entries = self.0.lock().unwrap();
        let created = entries.iter().all(|other| other.id != entry.id);
        if created {
            entries.push(entry);
        }
        Ok(Response::new(WriteResponse { created }))
    }

    async fn write_many(&self, _: Request<WriteManyRequest>) -> Result<Response<WriteManyResponse>, Status> {
        Err(Status::unimplemented("the broker does not call it"))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let filter = request.into_inner();
        let wrong = |field: &str| Err(Status::invalid_argument(format!("{field} is wrong")));
        if !filter.trace_id.is_empty() && filter.trace_id.len() != 32 {
            return wrong("trace_id");
        }
        if filter.text.chars().count() > 256 {
            return wrong("text");
        }
        if filter.service.chars().count() > 128 {
            return wrong("service");
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
