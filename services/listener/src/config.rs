//! The listener's settings; the crate's front page lists them.

use std::time::Duration;

use weft_events::{Amqp, ConsumerOptions};
use weft_mesh::MeshConfig;
use weft_runtime::config::{ConfigError, Settings};

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) amqp: Amqp,
    pub(crate) consumer: ConsumerOptions,
    pub(crate) mesh: MeshConfig,
}

impl Config {
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            amqp: Amqp::from_settings(settings)?,
            consumer: ConsumerOptions {
                prefetch: prefetch(settings)?,
                handle_within: settings.duration("LISTENER_HANDLE_TIMEOUT", Duration::from_secs(10))?,
            },
            mesh: MeshConfig::from_settings(settings)?,
        })
    }
}

fn prefetch(settings: &Settings) -> Result<u16, ConfigError> {
    const NAME: &str = "LISTENER_PREFETCH";
    const WANTED: &str = "a number from 1 to 1000";
    let prefetch = settings.or(NAME, WANTED, ConsumerOptions::default().prefetch)?;
    // 0 would mean without a limit.
    if (1..=1_000).contains(&prefetch) {
        return Ok(prefetch);
    }
    let reason = "it lies outside".to_owned();
    Err(ConfigError::Invalid { name: NAME.to_owned(), value: prefetch.to_string(), wanted: WANTED, reason })
}

#[cfg(test)]
mod tests {
    use weft_runtime::config::Fixed;

    use super::*;

    fn read(name: &str, value: &str) -> Result<Config, ConfigError> {
        let settings =
            [("AMQP_URI", "amqp://u:p@rabbitmq"), ("WEFT_MESH_SECURITY", "plaintext"), (name, value)];
        Config::from_settings(&Settings::new(Fixed::new(settings)))
    }

    #[test]
    fn a_prefetch_without_limit_is_refused() {
        assert!(read("LISTENER_PREFETCH", "0").unwrap_err().to_string().contains("1 to 1000"));
        assert!(read("LISTENER_PREFETCH", "70000").is_err());
        assert_eq!(read("LISTENER_PREFETCH", "7").unwrap().consumer.prefetch, 7);
    }

    #[test]
    fn rabbitmq_is_required() {
        assert!(read("AMQP_URI", "").unwrap_err().to_string().contains("AMQP_URI"));
    }
}
