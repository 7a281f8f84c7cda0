//! The logger's settings, read once.

use std::ops::RangeInclusive;
use std::time::Duration;

use weft_runtime::config::{ConfigError, SecretString, Settings};

/// Everything that can be set, with its default.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store and how long it may take.
    pub store: StoreConfig,
    /// `LOG_RETENTION`, default `30d`: entries are deleted when they have been stored for so long. `0` keeps all.
    pub retention: Option<Duration>,
    /// `LOGGER_DEAD_LETTERS_MAX_AGE`, default `0`: older dead letters are deleted. `0` keeps all.
    pub letters_max_age: Option<Duration>,
    /// How writes are grouped.
    pub group: GroupConfig,
}

/// The store and how long it may take.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `MONGODB_URI` or `MONGODB_URI_FILE`, required: a `mongodb://` or `mongodb+srv://` connection string.
    pub uri: SecretString,
    /// `MONGODB_DATABASE`, default `logs`.
    pub database: String,
    /// `MONGODB_SELECTION_TIMEOUT`, default `2s`: how long a call looks for a server that can take it.
    pub selection_timeout: Duration,
    /// `LOG_INSERT_TIMEOUT`, default `5s`: after it a write is answered, while the insert goes on.
    pub insert_timeout: Duration,
    /// `LOG_QUERY_TIMEOUT`, default `10s`: upper bound for a query whose caller has a later deadline, or none.
    pub query_timeout: Duration,
}

/// How writes are grouped.
#[derive(Debug, Clone, Copy)]
pub struct GroupConfig {
    /// `LOG_GROUP_ENTRIES`, default 512: entries that share an insert. One call's entries stay together.
    pub max_entries: usize,
    /// `LOG_INSERTS_IN_FLIGHT`, default 1: inserts under way at once.
    pub in_flight: usize,
    /// `LOG_LINGER`, default `8ms`: under load, how long at most a group waits for the callers that were just answered.
    pub linger: Duration,
    /// `LOG_QUEUE_BYTES`, default 16 MiB: what may wait; past it a write is refused at once.
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
    /// Names the setting that is missing or wrong, and what it wants.
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
    /// Reads the settings of the store alone.
    ///
    /// # Errors
    /// Names the setting that is missing or wrong, and what it wants.
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
    /// The largest call, 4 MiB on the wire, has to find room in an empty queue.
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
    fn only_the_store_has_to_be_named() {
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
    fn sizes_outside_their_bounds_are_refused_by_name() {
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
    fn the_uri_is_never_shown() {
        let config = read([("MONGODB_URI", "mongodb://weft:hunter2@127.0.0.1")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
