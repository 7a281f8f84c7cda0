//! Settings, read once at start.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lettre::message::Mailbox;
use weft_runtime::config::{ConfigError, SecretString, Settings};
use weft_values::text;

use crate::address;

/// All settings of the service, with their defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// The SMTP server.
    pub smtp: SmtpConfig,
    /// `FROM_NAME` and `FROM_ADDRESS` (required): the sender of every mail.
    pub from: Mailbox,
    /// `MAIL_DOMAIN`, default the domain of `FROM_ADDRESS`: right side of Message-IDs, and the name in EHLO.
    pub domain: String,
    /// `MAIL_TEMPLATES_DIR`, default none: folder of templates, which override built-in ones of the same name.
    pub templates: Option<PathBuf>,
}

/// How to connect to the SMTP server.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// `MAIL_HOST`, required.
    pub host: String,
    /// `MAIL_PORT`, default 587 with `tls`, 465 with `ssl`, 25 with `none`.
    pub port: u16,
    /// `MAIL_ENCRYPTION`, default `tls`.
    pub encryption: Encryption,
    /// `MAIL_USERNAME` and `MAIL_PASSWORD` (or `MAIL_PASSWORD_FILE`), both or neither.
    pub login: Option<Login>,
    /// Timeouts of each phase.
    pub timeouts: Timeouts,
    /// `MAIL_CONNECTIONS`, default 8: maximum of open connections.
    pub connections: usize,
}

/// Timeouts by phase (RFC 5321, 4.5.3.2).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// `MAIL_CONNECT_TIMEOUT`, default `10s`: to wait for a free connection, and to connect to any address of the server.
    pub connect: Duration,
    /// `MAIL_SMTP_TIMEOUT`, default `5m`: for the greeting, for each reply, and to send each part of a mail.
    pub reply: Duration,
    /// `MAIL_END_TIMEOUT`, default `10m`: for the reply to the end of the mail data.
    pub end: Duration,
}

/// Credentials for the SMTP server.
#[derive(Debug, Clone)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// Encryption of the connection. The values are those of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// `tls`: STARTTLS, required. Nothing is sent to a server that does not offer it.
    StartTls,
    /// `ssl`: TLS from the first byte.
    Tls,
    /// `none`: unencrypted.
    None,
}

impl FromStr for Encryption {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.to_ascii_lowercase().as_str() {
            "tls" => Ok(Self::StartTls),
            "ssl" => Ok(Self::Tls),
            "none" => Ok(Self::None),
            _ => Err("unknown value"),
        }
    }
}

impl Encryption {
    fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// Names the setting that is missing or invalid, and what is expected.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let from = from(settings)?;
        Ok(Self {
            smtp: smtp(settings)?,
            domain: domain(settings, &from)?,
            from,
            templates: settings.text("MAIL_TEMPLATES_DIR").map(PathBuf::from),
        })
    }
}

fn from(settings: &Settings) -> Result<Mailbox, ConfigError> {
    const WANTED: &str = "an email address, such as weft@example.com";
    let text = settings.required_text("FROM_ADDRESS", WANTED)?;
    let address = address::mailbox("FROM_ADDRESS", &text)
        .map_err(|error| invalid("FROM_ADDRESS", text.escape_debug().to_string(), WANTED, &error.reason))?;
    let name = settings.text("FROM_NAME");
    if let Some(name) = name.as_ref().filter(|name| text::one_line(name).is_err()) {
        return Err(invalid(
            "FROM_NAME",
            name.escape_debug().to_string(),
            "a name",
            "it has a line break or a control character",
        ));
    }
    Ok(Mailbox::new(name.or(address.name), address.email))
}

fn domain(settings: &Settings, from: &Mailbox) -> Result<String, ConfigError> {
    const WANTED: &str = "a DNS name, such as mail.example.com";
    let Some(domain) = settings.text("MAIL_DOMAIN") else { return Ok(from.email.domain().to_owned()) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    match idna::domain_to_ascii(&domain) {
        Ok(ascii) if !ascii.is_empty() && ascii.chars().all(allowed) => Ok(ascii),
        _ => Err(invalid("MAIL_DOMAIN", domain, WANTED, "not a valid DNS name")),
    }
}

fn smtp(settings: &Settings) -> Result<SmtpConfig, ConfigError> {
    let encryption = settings.or(
        "MAIL_ENCRYPTION",
        "`tls` (STARTTLS, required), `ssl` or `none`",
        Encryption::StartTls,
    )?;
    Ok(SmtpConfig {
        host: settings
            .required_text("MAIL_HOST", "the host name of the SMTP server, such as smtp.example.com")?,
        port: settings.or("MAIL_PORT", "a port", encryption.port())?,
        encryption,
        login: login(settings)?,
        timeouts: Timeouts {
            connect: settings.duration("MAIL_CONNECT_TIMEOUT", Duration::from_secs(10))?,
            reply: settings.duration("MAIL_SMTP_TIMEOUT", Duration::from_secs(300))?,
            end: settings.duration("MAIL_END_TIMEOUT", Duration::from_secs(600))?,
        },
        connections: settings.in_range("MAIL_CONNECTIONS", 8, 1..=100)?,
    })
}

fn login(settings: &Settings) -> Result<Option<Login>, ConfigError> {
    let missing = |name: &str, wanted| ConfigError::Missing { name: name.to_owned(), wanted };
    match (settings.text("MAIL_USERNAME"), settings.secret("MAIL_PASSWORD")?) {
        (Some(username), Some(password)) => Ok(Some(Login { username, password })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(missing("MAIL_PASSWORD (or MAIL_PASSWORD_FILE)", "the password of MAIL_USERNAME"))
        }
        (None, Some(_)) => Err(missing("MAIL_USERNAME", "the user name that MAIL_PASSWORD belongs to")),
    }
}

fn invalid(name: &str, value: String, wanted: &'static str, reason: &str) -> ConfigError {
    ConfigError::Invalid { name: name.to_owned(), value, wanted, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_runtime::config::Fixed;

    const HOST: (&str, &str) = ("MAIL_HOST", "smtp.example.com");
    const FROM: (&str, &str) = ("FROM_ADDRESS", "weft@example.com");

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<Config, ConfigError> {
        Config::from_settings(&Settings::new(Fixed::new(values)))
    }

    #[test]
    fn requires_only_host_and_from_and_defaults_to_starttls() {
        let config = read([HOST, FROM]).unwrap();
        assert_eq!((config.smtp.encryption, config.smtp.port), (Encryption::StartTls, 587));
        assert_eq!(config.domain, "example.com");
        assert!(config.smtp.login.is_none() && config.templates.is_none());
        assert!(read([FROM]).unwrap_err().to_string().contains("MAIL_HOST"));
        assert!(read([HOST]).unwrap_err().to_string().contains("FROM_ADDRESS"));
    }

    #[test]
    fn reads_the_encryption_values_of_the_original() {
        let port = |word| read([HOST, FROM, ("MAIL_ENCRYPTION", word)]).map(|config| config.smtp.port);
        assert_eq!((port("tls").unwrap(), port("ssl").unwrap(), port("none").unwrap()), (587, 465, 25));
        assert!(port("starttls?").unwrap_err().to_string().contains("MAIL_ENCRYPTION"));
    }

    #[test]
    fn requires_user_name_and_password_together_and_hides_the_password() {
        let error = read([HOST, FROM, ("MAIL_USERNAME", "u")]).unwrap_err().to_string();
        assert!(error.contains("MAIL_PASSWORD"), "{error}");
        let error = read([HOST, FROM, ("MAIL_PASSWORD", "hunter2")]).unwrap_err().to_string();
        assert!(error.contains("MAIL_USERNAME") && !error.contains("hunter2"), "{error}");
        let config = read([HOST, FROM, ("MAIL_USERNAME", "u"), ("MAIL_PASSWORD", "hunter2")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn rejects_a_from_that_could_end_its_header() {
        for (name, value) in [
            ("FROM_NAME", "Weft\r\nBcc: eve@example.com"),
            ("FROM_ADDRESS", "weft@example.com\n"),
            ("FROM_ADDRESS", "nobody"),
            ("MAIL_DOMAIN", "a>b"),
            ("MAIL_CONNECTIONS", "0"),
        ] {
            let error = read([HOST, FROM, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn reads_the_name_of_the_sender() {
        let config = read([HOST, FROM, ("FROM_NAME", "Weft, Ünicode"), ("MAIL_DOMAIN", "mail.example.com")]);
        let config = config.unwrap();
        assert_eq!(config.from.to_string(), "\"Weft, Ünicode\" <weft@example.com>");
        assert_eq!(config.domain, "mail.example.com");
    }
}
