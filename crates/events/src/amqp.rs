//! Address and credentials of RabbitMQ.

use std::fmt;

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};
use weft_runtime::config::{ConfigError, Settings};

const NAME: &str = "AMQP_URI";
const WANTED: &str = "amqp://user:password@host:5672/vhost (amqps: for TLS; the vhost / is written %2f)";
/// Heartbeat interval. A peer that sends nothing for twice this time is considered dead. The protocol's default of 60 s would
/// detect a hung peer too late.
const HEARTBEAT_S: u16 = 10;
/// lapin allocates 64 frames for each connection: 8 MiB with the default frame size. A connection that only publishes needs
/// less. All headers of a message must fit into one frame.
pub(crate) const PUBLISHER_FRAME_BYTES: u32 = 32 * 1024;
/// The largest frame that RabbitMQ accepts from a client. Consumers must accept it too: otherwise a message with larger headers
/// would close the connection on every delivery.
pub(crate) const CONSUMER_FRAME_BYTES: u32 = 128 * 1024;

/// Address with credentials. `Debug` does not print the password.
#[derive(Clone)]
pub struct Amqp(pub(crate) AMQPUri);

impl Amqp {
    /// Reads `AMQP_URI`, or the file named by `AMQP_URI_FILE`.
    ///
    /// # Errors
    /// When neither is set, or the value is not a valid AMQP URI.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Self::parse(&settings.required_secret(NAME, WANTED)?)
    }

    /// Parses a URI.
    ///
    /// # Errors
    /// When `uri` is not a valid AMQP URI.
    pub fn parse(uri: &SecretString) -> Result<Self, ConfigError> {
        let invalid = |_| ConfigError::InvalidSecret { name: NAME.to_owned(), wanted: WANTED };
        let mut uri: AMQPUri = uri.expose_secret().parse().map_err(invalid)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        // RabbitMQ's Cluster Operator writes `amqp://…:5672/` for the default vhost. No vhost has an empty name.
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        Ok(Self(uri))
    }

    pub(crate) fn with_frame(mut self, bytes: u32) -> Self {
        self.0.query.frame_max = Some(bytes);
        self
    }

    /// Host name or IP address.
    pub fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// User name.
    pub fn username(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// Password. Must not be logged.
    pub fn password(&self) -> &str {
        &self.0.authority.userinfo.password
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.0.vhost
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.authority.port
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RabbitMQ at {}:{}, vhost {}", self.host(), self.port(), self.0.vhost)
    }
}

#[cfg(test)]
mod tests {
    use weft_runtime::config::{Fixed, Settings};

    use super::Amqp;

    #[test]
    fn hides_the_password_and_sets_the_heartbeat() {
        let settings = Settings::new(Fixed::new([("AMQP_URI", "amqp://me:hunter2@rabbit:5673/%2f")]));
        let amqp = Amqp::from_settings(&settings).unwrap();
        assert_eq!(format!("{amqp:?}"), "RabbitMQ at rabbit:5673, vhost /");
        assert_eq!(amqp.0.query.heartbeat, Some(10));
    }

    #[test]
    fn uses_the_default_vhost_when_none_is_given() {
        for uri in ["amqp://me:hunter2@rabbit:5672", "amqp://me:hunter2@rabbit:5672/"] {
            assert_eq!(Amqp::parse(&uri.into()).unwrap().vhost(), "/", "{uri}");
        }
    }

    #[test]
    fn rejects_an_invalid_uri_without_printing_it() {
        let settings = Settings::new(Fixed::new([("AMQP_URI", "http://me:hunter2@rabbit")]));
        let error = Amqp::from_settings(&settings).unwrap_err().to_string();
        assert!(error.contains("AMQP_URI") && !error.contains("hunter2"), "{error}");
    }
}
