//! The logger's settings.

use std::ops::RangeInclusive;
use std::time::Duration;

use weft_runtime::config::{ConfigError, SecretString, Settings};

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Store and timeouts.
    pub store: StoreConfig,
    /// `LOG_RETENTION`, default `30d`: how long entries are kept. `0` keeps all.
    pub retention: Option<Duration>,
    /// `LOGGER_DEAD_LETTERS_MAX_AGE`, default `0`: older dead letters are deleted. `0` keeps all.
    pub letters_max_age: Option<Duration>,
    /// Grouping of writes.
    pub group: GroupConfig,
}

/// Store and timeouts.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `MONGODB_URI` or `MONGODB_URI_FILE`, required: a `mongodb://` or `mongodb+srv://` connection string.
    pub uri: SecretString,
    /// `MONGODB_DATABASE`, default `logs`.
    pub database: String,
    /// `MONGODB_SELECTION_TIMEOUT`, default `2s`: timeout for selecting a server.
    pub selection_timeout: Duration,
    /// `LOG_INSERT_TIMEOUT`, default `5s`: after it a write is answered, while the insert continues.
    pub insert_timeout: Duration,
    /// `LOG_QUERY_TIMEOUT`, default `10s`: upper bound for a query whose caller has a later deadline, or none.
    pub query_timeout: Duration,
}

/// Grouping of writes.
#[derive(Debug, Clone, Copy)]
pub struct GroupConfig {
    /// `LOG_GROUP_ENTRIES`, default 512: maximum number of entries in an insert. The entries of one call are not split.
    pub max_entries: usize,
    /// `LOG_INSERTS_IN_FLIGHT`, default 1: maximum number of concurrent inserts.
    pub in_flight: usize,
    /// `LOG_LINGER`, default `8ms`: under load, how long a group waits at most for the callers that were just answered.
    pub linger: Duration,
    /// `LOG_QUEUE_BYTES`, default 16 MiB: maximum size of waiting writes. Beyond it a write is refused at once.
    pub queue_bytes: u32,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { max_entries: 512, in_flight: 1, linger: Duration::from_millis(8), queue_bytes: 16 << 20 }
    }
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a setting is missing or invalid. The error names it and what was expected.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let retention = settings.duration("LOG_RETENTION", Duration::from_secs(30 * 86_400))?;
        let letters_max_age = settings.duration("LOGGER_DEAD_LETTERS_MAX_AGE", Duration::ZERO)?;
        Ok(Self {
            store: StoreConfig::from_settings(settings)?,
            retention: (!retention.is_zero()).then_some(retention),
            letters_max_age: Some(letters_max_age).filter(|age| !age.is_zero()),
            group: group(settings)?,
        })
    }
}

impl StoreConfig {
    /// Reads only the settings of the store.
    ///
    /// # Errors
    /// When a setting is missing or invalid. The error names it and what was expected.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        const WANTED: &str = "a connection string such as mongodb://mongodb:27017";
        Ok(Self {
            uri: settings.required_secret("MONGODB_URI", WANTED)?,
            database: settings.text("MONGODB_DATABASE").unwrap_or_else(|| "logs".to_owned()),
            selection_timeout: settings.duration("MONGODB_SELECTION_TIMEOUT", Duration::from_secs(2))?,
            insert_timeout: settings.duration("LOG_INSERT_TIMEOUT", Duration::from_secs(5))?,
            query_timeout: settings.duration("LOG_QUERY_TIMEOUT", Duration::from_secs(10))?,
        })
    }
}

fn group(settings: &Settings) -> Result<GroupConfig, ConfigError> {
    /// The largest call, 4 MiB on the wire, must fit into an empty queue.
    const QUEUE_BYTES: RangeInclusive<u32> = (8 << 20)..=(1 << 30);
    let default = GroupConfig::default();
    Ok(GroupConfig {
        max_entries: settings.in_range("LOG_GROUP_ENTRIES", default.max_entries, 1..=10_000)?,
        in_flight: settings.in_range("LOG_INSERTS_IN_FLIGHT", default.in_flight, 1..=8)?,
        linger: settings.duration("LOG_LINGER", default.linger)?,
        queue_bytes: settings.in_range("LOG_QUEUE_BYTES", default.queue_bytes, QUEUE_BYTES)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_runtime::config::Fixed;

    const URI: (&str, &str) = ("MONGODB_URI", "mongodb://127.0.0.1");

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<Config, ConfigError> {
        Config::from_settings(&Settings::new(Fixed::new(values)))
    }

    #[test]
    fn requires_only_the_store() {
        let config = read([URI]).unwrap();
        assert_eq!(config.store.database, "logs");
        assert_eq!(config.retention, Some(Duration::from_secs(2_592_000)));
        let error = read([]).unwrap_err().to_string();
        assert!(error.contains("MONGODB_URI") && error.contains("connection string"), "{error}");
    }

    #[test]
    fn a_retention_of_0_keeps_all() {
        assert_eq!(read([URI, ("LOG_RETENTION", "0")]).unwrap().retention, None);
    }

    #[test]
    fn dead_letters_are_kept_unless_an_age_is_set() {
        assert_eq!(read([URI]).unwrap().letters_max_age, None);
        let age = read([URI, ("LOGGER_DEAD_LETTERS_MAX_AGE", "90d")]).unwrap().letters_max_age;
        assert_eq!(age, Some(Duration::from_secs(90 * 86_400)));
    }

    #[test]
    fn rejects_sizes_out_of_range() {
        for (name, value) in [
            ("LOG_GROUP_ENTRIES", "0"),
            ("LOG_INSERTS_IN_FLIGHT", "9"),
            ("LOG_QUEUE_BYTES", "1"),
            ("LOG_QUEUE_BYTES", "x"),
        ] {
            let error = read([URI, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn hides_the_uri() {
        let config = read([("MONGODB_URI", "mongodb://weft:hunter2@127.0.0.1")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
