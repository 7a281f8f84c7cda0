//! Stores the broker's entries and audit records in the logger, and searches the logger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use weft_mesh::{Caller, Channel};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, Level, QueryRequest, QueryResponse, WriteRequest};
use weft_runtime::clock::Clock;
use weft_runtime::trace;
use weft_values::audit;

use crate::reply::ApiError;
use crate::upstream::{self, on_behalf};
use crate::writes::Writes;

/// A search for a text has no index: it reads every entry in its time range.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Logger {
    clock: Arc<dyn Clock>,
    writes: Writes,
    audits: LogServiceClient<Channel>,
    searches: LogServiceClient<Channel>,
}

impl Logger {
    pub(crate) fn new(clock: Arc<dyn Clock>, channel: Channel) -> Self {
        Self {
            clock,
            audits: LogServiceClient::new(channel.clone()),
            searches: LogServiceClient::new(channel.clone().with_timeout(SEARCH_TIMEOUT)),
            writes: Writes::start(channel),
        }
    }

    /// Stores an entry.
    pub(crate) async fn write(&self, id: Uuid, name: String, data: String) -> Result<(), ApiError> {
        let entry = self.entry(id, name, data);
        self.writes.write(entry).await.map_err(|status| upstream::logger(&status))
    }

    /// Stores an audit record of an operation that is about to happen.
    ///
    /// # Errors
    /// When the logger has not stored the record. Then the operation must not happen.
    pub(crate) async fn audit<const N: usize>(
        &self,
        name: &str,
        attributes: [(&str, &str); N],
    ) -> Result<(), ApiError> {
        let entry = self.entry(self.clock.new_id(), name.to_owned(), String::new());
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let entry = Entry { service: audit::BROKER.to_owned(), attributes: attributes.collect(), ..entry };
        let written = self.audits.clone().write_audit(WriteRequest { entry: Some(entry) }).await;
        written.map(drop).map_err(|status| upstream::logger(&status))
    }

    /// Finds entries, newest first.
    pub(crate) async fn search(
        &self,
        caller: &Caller,
        request: QueryRequest,
    ) -> Result<QueryResponse, ApiError> {
        let found = self.searches.clone().query(on_behalf(caller, request)?).await;
        Ok(found.map_err(|status| upstream::search(&status))?.into_inner())
    }

    fn entry(&self, id: Uuid, name: String, data: String) -> Entry {
        Entry {
            id: id.to_string(),
            time: Some(weft_values::time::to_proto(self.clock.now())),
            service: "broker".to_owned(),
            level: Level::Info.into(),
            name,
            data,
            trace_id: trace::current_trace_id().unwrap_or_default(),
            attributes: HashMap::new(),
        }
    }
}
