//! What the logger keeps and how it is asked for, apart from any protocol or store.

use std::str::FromStr;

use uuid::Uuid;

/// One log entry, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Made by the caller; a second entry of the same id is not stored.
    pub id: Uuid,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: i64,
    /// When the logger got it, in milliseconds since 1970: retention counts from here.
    pub received_ms: i64,
    /// The service that it speaks of.
    pub service: String,
    /// How grave it is.
    pub level: Level,
    /// What happened, in a few words.
    pub name: String,
    /// The rest of it.
    pub data: String,
    /// The trace it belongs to, where there is one.
    pub trace_id: Option<String>,
    /// Sorted by key, each key once.
    pub attributes: Vec<(String, String)>,
}

impl Entry {
    /// Whether both say the same: everything that a caller who repeats an entry sends again. Time and trace may differ.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self { id: _, time_ms: _, received_ms: _, service, level, name, data, trace_id: _, attributes } =
            self;
        (service, level, name, data, attributes)
            == (&other.service, &other.level, &other.name, &other.data, &other.attributes)
    }

    /// About how much memory it takes while it waits.
    pub fn weight_bytes(&self) -> usize {
        const OWN: usize = 512;
        let attributes: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
        OWN + self.service.len() + self.name.len() + self.data.len() + attributes
    }
}

/// How grave an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The finest.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happens in the ordinary course.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
    /// Nothing goes on after it.
    Fatal,
}

impl Level {
    /// As it is stored.
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

/// A text that is no level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level")]
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

/// Which entries are wanted. A filter that is `None` is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Of this service.
    pub service: Option<String>,
    /// Of this level.
    pub level: Option<Level>,
    /// Of this trace.
    pub trace_id: Option<String>,
    /// With this literal part in name or data.
    pub text: Option<String>,
    /// At or after this moment, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Whether `from_ms` is the start of the default time range, not the caller's.
    pub default_range: bool,
    /// Before this moment, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// At most so many.
    pub limit: usize,
    /// Only what comes after this place, newest first.
    pub after: Option<Place>,
}

/// A document's place in the order of a query: by time, then by id, both descending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The document's time, in milliseconds since 1970.
    pub time_ms: i64,
    /// The document's id as stored. An entry's id is a UUID; a page may also end at a document that is not an entry.
    pub id: String,
}

/// Some of what a query asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<Place>,
}
