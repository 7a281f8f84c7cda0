//! Where RabbitMQ is and who we are to it.

use std::fmt;

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};
use weft_runtime::config::{ConfigError, Settings};

const NAME: &str = "AMQP_URI";
const WANTED: &str = "amqp://user:password@host:5672/vhost (amqps: for TLS; the vhost / is written %2f)";
/// A peer that is silent for twice this long counts as gone. The protocol's usual 60 s is too long to hang for.
const HEARTBEAT_S: u16 = 10;
/// lapin keeps 64 frames of memory for each connection: 8 MiB with the protocol's usual size. A connection that only
/// publishes does with less. All headers of a message must fit one frame.
pub(crate) const PUBLISHER_FRAME_BYTES: u32 = 32 * 1024;
/// The largest frame that RabbitMQ takes from anybody. A consumer must be able to get it: headers that do not fit would end
/// its connection, again and again.
pub(crate) const CONSUMER_FRAME_BYTES: u32 = 128 * 1024;

/// An address with credentials; its text never shows the password.
#[derive(Clone)]
pub struct Amqp(pub(crate) AMQPUri);

impl Amqp {
    /// Reads `AMQP_URI` or the file that `AMQP_URI_FILE` names.
    ///
    /// # Errors
    /// When neither is set or the value is no AMQP URI.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Self::parse(&settings.required_secret(NAME, WANTED)?)
    }

    /// Reads a URI.
    ///
    /// # Errors
    /// When it is no AMQP URI.
    pub fn parse(uri: &SecretString) -> Result<Self, ConfigError> {
        let invalid = |_| ConfigError::InvalidSecret { name: NAME.to_owned(), wanted: WANTED };
        let mut uri: AMQPUri = uri.expose_secret().parse().map_err(invalid)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        // RabbitMQ's own operator writes `amqp://…:5672/` and means the default vhost, which nobody can name otherwise.
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        Ok(Self(uri))
    }

    pub(crate) fn with_frame(mut self, bytes: u32) -> Self {
        self.0.query.frame_max = Some(bytes);
        self
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// Who we are.
    pub fn username(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// What proves it. Not to be shown.
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
    fn the_password_is_never_shown_and_the_heartbeat_is_ours() {
        let settings = Settings::new(Fixed::new([("AMQP_URI", "amqp://me:hunter2@rabbit:5673/%2f")]));
        let amqp = Amqp::from_settings(&settings).unwrap();
        assert_eq!(format!("{amqp:?}"), "RabbitMQ at rabbit:5673, vhost /");
        assert_eq!(amqp.0.query.heartbeat, Some(10));
    }

    #[test]
    fn no_vhost_is_the_default_one() {
        for uri in ["amqp://me:hunter2@rabbit:5672", "amqp://me:hunter2@rabbit:5672/"] {
            assert_eq!(Amqp::parse(&uri.into()).unwrap().vhost(), "/", "{uri}");
        }
    }

    #[test]
    fn a_wrong_uri_is_refused_without_being_shown() {
        let settings = Settings::new(Fixed::new([("AMQP_URI", "http://me:hunter2@rabbit")]));
        let error = Amqp::from_settings(&settings).unwrap_err().to_string();
        assert!(error.contains("AMQP_URI") && !error.contains("hunter2"), "{error}");
    }
}
