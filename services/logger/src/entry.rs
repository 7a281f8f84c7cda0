//! Log entries and queries, independent of protocol and store.

use std::str::FromStr;

use uuid::Uuid;

/// A validated log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Chosen by the caller. A second entry with the same id is not stored.
    pub id: Uuid,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: i64,
    /// When the logger received it, in milliseconds since 1970. Retention counts from here.
    pub received_ms: i64,
    /// The service that the entry is about.
    pub service: String,
    /// Severity.
    pub level: Level,
    /// What happened, as a short text.
    pub name: String,
    /// Details.
    pub data: String,
    /// The entry's trace, if any.
    pub trace_id: Option<String>,
    /// Sorted by key, each key once.
    pub attributes: Vec<(String, String)>,
}

impl Entry {
    /// Whether both have the same content: all fields that a caller repeats. Time and trace may differ.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self { id: _, time_ms: _, received_ms: _, service, level, name, data, trace_id: _, attributes } =
            self;
        (service, level, name, data, attributes)
            == (&other.service, &other.level, &other.name, &other.data, &other.attributes)
    }

    /// Approximate memory use of a waiting entry.
    pub fn weight_bytes(&self) -> usize {
        const OWN: usize = 512;
        let attributes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
        OWN + self.service.len() + self.name.len() + self.data.len() + attributes
    }
}

/// Severity of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Finest level.
    Trace,
    /// For debugging.
    Debug,
    /// Normal operation.
    Info,
    /// May need attention.
    Warning,
    /// Something failed.
    Error,
    /// The service can't continue.
    Fatal,
}

impl Level {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Error for an unknown level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown level `{0}`")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text {
            "TRACE" => Ok(Self::Trace),
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            "FATAL" => Ok(Self::Fatal),
            other => Err(UnknownLevel(other.to_owned())),
        }
    }
}

/// A search for entries. A filter that is `None` is not applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Entries of this service.
    pub service: Option<String>,
    /// Entries with this level.
    pub level: Option<Level>,
    /// Entries of this trace.
    pub trace_id: Option<String>,
    /// Entries whose name or data contains this text.
    pub text: Option<String>,
    /// Entries at or after this time, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Whether `from_ms` is the default instead of the caller's.
    pub default_range: bool,
    /// Entries before this time, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// Maximum number of entries.
    pub limit: usize,
    /// Entries after this place, newest first.
    pub after: Option<Place>,
}

/// A document's position in the order of a query: by time, then by id, both descending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The document's time, in milliseconds since 1970.
    pub time_ms: i64,
    /// The document's id as stored. An entry's id is a UUID; a page may also end at a document that is not an entry.
    pub id: String,
}

/// One page of a query's result.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Place>,
}
