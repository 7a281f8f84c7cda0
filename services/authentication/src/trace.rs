//! Spans of database calls, following OpenTelemetry's semantic conventions for databases (1.44).

use std::sync::Arc;

use tracing::{Instrument as _, Span, field, info_span};
use weft_runtime::store::StoreError;

/// Address of the database, for span attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    pub host: String,
    pub port: u16,
    pub database: String,
}

/// Creates the spans of one database.
#[derive(Debug, Clone)]
pub struct DatabaseSpans(Arc<StoreAddress>);

impl DatabaseSpans {
    pub fn new(address: StoreAddress) -> Self {
        Self(Arc::new(address))
    }

    /// Runs a statement in its own span if it serves a call. Background work has no trace.
    ///
    /// # Errors
    /// The error of the statement.
    pub async fn run<T>(
        &self,
        operation: &'static str,
        table: &'static str,
        statement: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if Span::current().is_none() {
            return statement.await;
        }
        let span = self.span(operation, table);
        let outcome = statement.instrument(span.clone()).await;
        if let Err(error) = &outcome {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.kind());
        }
        outcome
    }

    fn span(&self, operation: &'static str, table: &'static str) -> Span {
        let StoreAddress { host, port, database } = &*self.0;
        let summary = if table.is_empty() { operation.to_owned() } else { format!("{operation} {table}") };
        info_span!(
            "statement",
            otel.name = summary.as_str(),
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "postgresql",
            db.operation.name = operation,
            db.collection.name = (!table.is_empty()).then_some(table),
            db.query.summary = summary.as_str(),
            db.namespace = database.as_str(),
            server.address = host.as_str(),
            server.port = i64::from(*port),
            error.type = field::Empty,
        )
    }
}
