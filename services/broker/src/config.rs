//! The broker's settings; the crate's front page lists them.

use std::time::Duration;

use weft_events::Amqp;
use weft_mesh::MeshConfig;
use weft_runtime::config::{ConfigError, Settings};

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) amqp: Amqp,
    pub(crate) publish_timeout: Duration,
    pub(crate) trust_incoming_traces: bool,
    pub(crate) mesh: MeshConfig,
}

impl Config {
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            amqp: Amqp::from_settings(settings)?,
            publish_timeout: settings.duration("BROKER_PUBLISH_TIMEOUT", Duration::from_secs(2))?,
            trust_incoming_traces: settings.or("BROKER_TRUST_INCOMING_TRACES", "true or false", false)?,
            mesh: MeshConfig::from_settings(settings)?,
        })
    }
}
