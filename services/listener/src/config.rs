//! The listener's settings, listed in the README.

use std::time::Duration;

use weft_events::{Amqp, ConsumerOptions};
use weft_mesh::MeshConfig;
use weft_runtime::config::{ConfigError, Settings};

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) amqp: Amqp,
    pub(crate) log: ConsumerOptions,
    pub(crate) mail: ConsumerOptions,
    /// Timeout of a call to mail.
    pub(crate) mail_within: Duration,
    pub(crate) mesh: MeshConfig,
}

/// How much longer the handler's timeout is than its call's, so that the call's status decides the outcome.
const AFTER_CALL: Duration = Duration::from_secs(5);

impl Config {
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        // RabbitMQ takes 0 as no limit.
        let prefetch =
            settings.in_range("LISTENER_PREFETCH", ConsumerOptions::default().prefetch, 1..=1_000)?;
        let handle_within = settings.duration("LISTENER_HANDLE_TIMEOUT", Duration::from_secs(10))?;
        let mail_within = settings.duration("LISTENER_MAIL_TIMEOUT", Duration::from_secs(300))?;
        Ok(Self {
            amqp: Amqp::from_settings(settings)?,
            log: ConsumerOptions { prefetch, handle_within },
            mail: ConsumerOptions { prefetch, handle_within: mail_within.saturating_add(AFTER_CALL) },
            mail_within,
            mesh: MeshConfig::from_settings(settings)?,
        })
    }
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
    fn rejects_an_unlimited_prefetch() {
        assert!(read("LISTENER_PREFETCH", "0").unwrap_err().to_string().contains("1 to 1000"));
        assert!(read("LISTENER_PREFETCH", "70000").is_err());
        assert_eq!(read("LISTENER_PREFETCH", "7").unwrap().log.prefetch, 7);
    }

    #[test]
    fn a_call_to_mail_times_out_before_its_handler() {
        let config = read("LISTENER_MAIL_TIMEOUT", "2s").unwrap();
        assert_eq!(config.mail_within, Duration::from_secs(2));
        assert_eq!(config.mail.handle_within, Duration::from_secs(7));
        assert_eq!(config.log.handle_within, Duration::from_secs(10));
    }

    #[test]
    fn rabbitmq_is_required() {
        assert!(read("AMQP_URI", "").unwrap_err().to_string().contains("AMQP_URI"));
    }
}
