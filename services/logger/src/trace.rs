//! Spans of calls to the store. They follow OpenTelemetry's semantic conventions for databases (1.44).

use tracing::{Span, field, info_span};

use crate::store::mongo::{COLLECTION, StoreAddress};

/// Creates spans for one store.
#[derive(Debug, Clone)]
pub struct DatabaseSpans(std::sync::Arc<Target>);

#[derive(Debug)]
struct Target {
    address: StoreAddress,
    database: String,
}

/// The span of a running call to the store.
#[derive(Debug)]
pub struct DatabaseSpan(Span);

impl DatabaseSpans {
    /// Creates spans for this store.
    pub fn new(address: StoreAddress, database: String) -> Self {
        Self(std::sync::Arc::new(Target { address, database }))
    }

    /// Starts the span of a call in a grouped insert, in that call's trace.
    pub fn insert(&self, parent: &Span, batch_size: usize) -> DatabaseSpan {
        let Target { address: StoreAddress { host, port }, database } = &*self.0;
        // The conventions omit the size of a batch of one.
        let batch_size = (batch_size > 1).then_some(batch_size);
        DatabaseSpan(info_span!(
            parent: parent,
            "insert logs",
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "mongodb",
            db.operation.name = "insert",
            db.operation.batch.size = batch_size,
            db.collection.name = COLLECTION,
            db.namespace = database.as_str(),
            server.address = host.as_str(),
            server.port = port,
            error.type = field::Empty,
        ))
    }

    /// Starts the span of a query, in the current trace.
    pub fn find(&self) -> DatabaseSpan {
        let Target { address: StoreAddress { host, port }, database } = &*self.0;
        DatabaseSpan(info_span!(
            "find logs",
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "mongodb",
            db.operation.name = "find",
            db.collection.name = COLLECTION,
            db.namespace = database.as_str(),
            server.address = host.as_str(),
            server.port = port,
            error.type = field::Empty,
        ))
    }
}

impl DatabaseSpan {
    /// Ends the span, with the kind of error if there is one.
    pub fn end(self, error: Option<&'static str>) {
        if let Some(kind) = error {
            self.0.record("otel.status_code", "ERROR");
            self.0.record("error.type", kind);
        }
    }
}
