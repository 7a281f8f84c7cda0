//! The spans of calls to the store, as OpenTelemetry's conventions for databases want them (1.44).

use std::sync::Arc;

use tracing::{Instrument as _, Span, field, info_span};

use crate::store::StoreError;

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database.
    pub database: String,
}

/// Makes spans for one store.
#[derive(Debug, Clone)]
pub struct DatabaseSpans(Arc<StoreAddress>);

impl DatabaseSpans {
    /// Spans for calls to this store.
    pub fn new(address: StoreAddress) -> Self {
        Self(Arc::new(address))
    }

    /// Runs a statement in a span of its own, where it serves a call: what the process does by itself has no trace.
    ///
    /// # Errors
    /// Those of the statement.
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
