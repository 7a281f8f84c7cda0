//! The settings, read once at the start.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use weft_runtime::config::{ConfigError, SecretString, Settings};

use crate::email::Email;
use crate::keys::Rotation;
use crate::limits::Rate;
use crate::password::{self, HashConfig};
use crate::seal::Sealer;
use crate::session::Lifetimes;
use crate::store::postgres::StoreConfig;

/// Default length of the hash queue for each thread. At about 20 ms a hash, the last one waits about half a second.
const QUEUE_PER_THREAD: usize = 32;

/// All settings, with their defaults.
#[derive(Debug, Clone)]
pub struct Config {
    pub store: StoreConfig,
    /// `AUTH_ISSUER`, default `weft`: `iss` of access tokens.
    pub issuer: String,
    /// `AUTH_FIRST_USER_EMAIL` and `AUTH_FIRST_USER_PASSWORD`: an admin that is created unless a user
    /// has the address.
    pub first_user: Option<FirstUser>,
    pub hash: HashConfig,
    /// `AUTH_SIGN_IN_BURST` and `AUTH_SIGN_IN_PER_MINUTE`, default 3 and 3: limit of failed sign-ins for each
    /// address; 0: unlimited.
    pub sign_in_rate: Option<Rate>,
    /// `AUTH_RECIPIENT_MAILS_PER_HOUR`, default 20: mails to each user and hour; 0: unlimited.
    pub mails_per_recipient: Option<NonZeroU64>,
    /// `AUTH_CONSOLE_URL`: public URL of the console. Password resets need it.
    pub console: Option<ConsoleUrl>,
    /// `AUTH_SESSION_IDLE`, default `30m`, and `AUTH_SESSION_ABSOLUTE`, default `8h`.
    pub lifetimes: Lifetimes,
    /// `AUTH_ACCESS_TOKEN_LIFE`, default `5m`.
    pub token_life: Duration,
    /// `AUTH_KEY_LIFE`, default `30d`.
    pub rotation: Rotation,
    /// `AUTH_ENCRYPTION_KEYS` or `AUTH_ENCRYPTION_KEYS_FILE`, required: keys that encrypt the signing keys in the
    /// store.
    pub sealer: Sealer,
}

/// The first admin.
#[derive(Debug, Clone)]
pub struct FirstUser {
    pub email: Email,
    pub password: SecretString,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// Names the setting that is missing or invalid, and the expected value.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        const DAY: Duration = Duration::from_secs(86_400);
        let token_life = duration(settings, "AUTH_ACCESS_TOKEN_LIFE", Duration::from_secs(300), DAY)?;
        Ok(Self {
            store: StoreConfig::from_settings(settings)?,
            issuer: settings.text("AUTH_ISSUER").unwrap_or_else(|| "weft".to_owned()),
            first_user: first_user(settings)?,
            hash: hash(settings)?,
            sign_in_rate: sign_in_rate(settings)?,
            mails_per_recipient: NonZeroU64::new(settings.or(
                "AUTH_RECIPIENT_MAILS_PER_HOUR",
                "a number; 0 for no limit",
                20,
            )?),
            console: settings.optional("AUTH_CONSOLE_URL", "a URL such as https://shop.example.com")?,
            lifetimes: Lifetimes {
                idle: duration(settings, "AUTH_SESSION_IDLE", Duration::from_secs(1_800), DAY * 366)?,
                absolute: duration(
                    settings,
                    "AUTH_SESSION_ABSOLUTE",
                    Duration::from_secs(28_800),
                    DAY * 366,
                )?,
            },
            token_life,
            rotation: Rotation {
                life: duration(settings, "AUTH_KEY_LIFE", DAY * 30, DAY * 3_660)?,
                token_life,
            },
            sealer: sealer(settings)?,
        })
    }
}

impl StoreConfig {
    /// Reads only the settings of the store.
    ///
    /// # Errors
    /// Names the setting that is missing or invalid, and the expected value.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        const WANTED: &str = "a URL such as postgres://user:password@postgres:5432/weft";
        const TIMEOUT: Duration = Duration::from_millis(1_500);
        Ok(Self {
            url: settings.required_secret("DATABASE_URL", WANTED)?,
            timeout: duration(settings, "AUTH_STORE_TIMEOUT", TIMEOUT, Duration::from_secs(60))?,
            connections: settings.in_range("AUTH_STORE_CONNECTIONS", 10, 1..=1_000)?,
        })
    }
}

fn sealer(settings: &Settings) -> Result<Sealer, ConfigError> {
    const NAME: &str = "AUTH_ENCRYPTION_KEYS";
    let lines = settings.required_secret(NAME, Sealer::EXPECTED)?;
    let wanted = Sealer::EXPECTED;
    Sealer::from_lines(&lines).ok_or_else(|| ConfigError::InvalidSecret { name: NAME.to_owned(), wanted })
}

/// An http or https URL without user name, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleUrl(pub String);

impl std::str::FromStr for ConsoleUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: http::Uri = text.parse().map_err(|_| "invalid URL")?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err("must start with http:// or https://");
        }
        // The URL is inserted into the HTML and text of mails.
        if url.query().is_some()
            || text.contains(['#', '@'])
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err("must not have a user name, a query, a fragment or non-ASCII characters");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

fn first_user(settings: &Settings) -> Result<Option<FirstUser>, ConfigError> {
    const EMAIL: &str = "AUTH_FIRST_USER_EMAIL";
    const PASSWORD: &str = "AUTH_FIRST_USER_PASSWORD";
    let (email, password) = match (settings.text(EMAIL), settings.secret(PASSWORD)?) {
        (None, None) => return Ok(None),
        (Some(email), Some(password)) => (email, password),
        (Some(_), None) => {
            let name = format!("{PASSWORD} (or {PASSWORD}_FILE)");
            return Err(ConfigError::Missing {
                name,
                wanted: "a password, because AUTH_FIRST_USER_EMAIL is set",
            });
        }
        (None, Some(_)) => {
            let wanted = "an email address, because AUTH_FIRST_USER_PASSWORD is set";
            return Err(ConfigError::Missing { name: EMAIL.to_owned(), wanted });
        }
    };
    let email = Email::parse(&email).map_err(|invalid| ConfigError::Invalid {
        name: EMAIL.to_owned(),
        value: email.escape_debug().to_string(),
        wanted: "an email address such as admin@example.com",
        reason: invalid.reason.to_owned(),
    })?;
    if password::check_new("password", password.expose_secret(), &[email.as_str()]).is_err() {
        let wanted = "15 to 256 characters without control characters, and not a common password";
        return Err(ConfigError::InvalidSecret { name: PASSWORD.to_owned(), wanted });
    }
    Ok(Some(FirstUser { email, password }))
}

fn hash(settings: &Settings) -> Result<HashConfig, ConfigError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = settings.in_range("AUTH_HASH_THREADS", cores, 1..=1_024)?;
    let queue = settings.or("AUTH_HASH_QUEUE", "a number", threads * QUEUE_PER_THREAD)?;
    Ok(HashConfig { threads, queue: queue.min(1 << 20) })
}

fn sign_in_rate(settings: &Settings) -> Result<Option<Rate>, ConfigError> {
    let read = |name| settings.or::<u32>(name, "a number; 0 for no limit", 3);
    let (burst, per_minute) = (read("AUTH_SIGN_IN_BURST")?, read("AUTH_SIGN_IN_PER_MINUTE")?);
    let limit = |per_minute: NonZeroU32| Rate { burst, every: Duration::from_secs(60) / per_minute.get() };
    Ok(NonZeroU32::new(per_minute).filter(|_| burst > 0).map(limit))
}

/// A duration from 1 ms to `most`, which keeps timestamps in range.
fn duration(
    settings: &Settings,
    name: &str,
    default: Duration,
    most: Duration,
) -> Result<Duration, ConfigError> {
    settings.duration_in_range(name, default, Duration::from_millis(1)..=most)
}

#[cfg(test)]
mod tests {
    use weft_runtime::config::{Fixed, Source};

    use super::*;

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://weft:hunter2@127.0.0.1/weft");

    const KEYS: (&str, &str) =
        ("AUTH_ENCRYPTION_KEYS", "an encryption key for tests, of 43 characters and more");

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<Config, ConfigError> {
        Config::from_settings(&Settings::new(WithKeys(Fixed::new(values))))
    }

    struct WithKeys(Fixed);

    impl Source for WithKeys {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).or_else(|| (name == KEYS.0).then(|| KEYS.1.to_owned()))
        }
    }

    #[test]
    fn requires_long_encryption_keys_and_never_prints_them() {
        let error = |source| Config::from_settings(&Settings::new(source)).unwrap_err().to_string();
        assert!(error(Fixed::new([URL])).contains("AUTH_ENCRYPTION_KEYS (or AUTH_ENCRYPTION_KEYS_FILE)"));
        let short = error(Fixed::new([URL, (KEYS.0, "hunter2")]));
        assert!(
            short.contains(KEYS.0) && short.contains("43 characters") && !short.contains("hunter2"),
            "{short}"
        );
        assert!(!format!("{:?}", read([URL]).unwrap()).contains(KEYS.1));
    }

    #[test]
    fn requires_the_store_url_and_never_prints_it() {
        let config = read([URL]).unwrap();
        assert_eq!(config.issuer, "weft");
        assert_eq!(config.sign_in_rate, Some(Rate { burst: 3, every: Duration::from_secs(20) }));
        assert_eq!(config.rotation.life, Duration::from_secs(2_592_000));
        assert!(config.first_user.is_none());
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(read([]).unwrap_err().to_string().contains("DATABASE_URL"));
    }

    #[test]
    fn a_limit_of_0_disables_the_limit() {
        assert_eq!(read([URL, ("AUTH_SIGN_IN_BURST", "0")]).unwrap().sign_in_rate, None);
        assert_eq!(read([URL, ("AUTH_SIGN_IN_PER_MINUTE", "0")]).unwrap().sign_in_rate, None);
    }

    #[test]
    fn the_first_user_needs_an_email_and_a_valid_password() {
        const EMAIL: (&str, &str) = ("AUTH_FIRST_USER_EMAIL", "admin@example.com");
        const PASSWORD: &str = "AUTH_FIRST_USER_PASSWORD";
        let error = |error: ConfigError| error.to_string();
        assert!(read([URL, EMAIL, (PASSWORD, "correct horse battery")]).unwrap().first_user.is_some());
        assert!(error(read([URL, EMAIL]).unwrap_err()).contains(PASSWORD));
        assert!(error(read([URL, (PASSWORD, "correct horse battery")]).unwrap_err()).contains(EMAIL.0));
        let short = error(read([URL, EMAIL, (PASSWORD, "verysecret")]).unwrap_err());
        assert!(short.contains("15 to 256") && !short.contains("verysecret"), "{short}");
        assert!(read([URL, ("AUTH_FIRST_USER_EMAIL", "no"), (PASSWORD, "correct horse battery")]).is_err());
    }

    #[test]
    fn rejects_a_console_url_with_user_query_or_fragment() {
        let console = |value| read([URL, ("AUTH_CONSOLE_URL", value)]).map(|config| config.console);
        assert_eq!(
            console("https://shop.example.com/").unwrap(),
            Some(ConsoleUrl("https://shop.example.com".into()))
        );
        for invalid in [
            "shop.example.com",
            "javascript:alert(1)",
            "https://a/?x",
            "https://a/#x",
            "https://me@a",
            "https://ü",
        ] {
            assert!(console(invalid).unwrap_err().to_string().contains("AUTH_CONSOLE_URL"), "{invalid}");
        }
    }

    #[test]
    fn rejects_values_out_of_range_and_names_the_setting() {
        for (name, value) in [
            ("AUTH_HASH_THREADS", "0"),
            ("AUTH_SESSION_IDLE", "0"),
            ("AUTH_KEY_LIFE", "99999999d"),
            ("AUTH_STORE_CONNECTIONS", "x"),
            ("AUTH_SIGN_IN_BURST", "-1"),
            ("AUTH_RECIPIENT_MAILS_PER_HOUR", "many"),
        ] {
            let error = read([URL, (name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
