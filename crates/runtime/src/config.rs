//! Typed settings, read once from a source that tests can replace.
//!
//! Every error names the setting and what is expected. An empty value counts as not set, because that is what an empty
//! `value` in a Kubernetes manifest means.

use std::collections::HashMap;
use std::fmt::{self, Debug, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use secrecy::{ExposeSecret, SecretString};

/// Where settings come from.
pub trait Source: Send + Sync {
    /// The value of a setting.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Environment;

impl Source for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

/// Fixed settings, for tests.
#[derive(Debug, Clone, Default)]
pub struct Fixed(HashMap<String, String>);

impl Fixed {
    /// Settings from pairs of name and value.
    pub fn new<const N: usize>(values: [(&str, &str); N]) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Source for Fixed {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// A missing or invalid setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A required setting is not set.
    #[error("{name} is not set: expected {wanted}")]
    Missing {
        /// The setting.
        name: String,
        /// What is expected.
        wanted: &'static str,
    },
    /// The value does not have the expected form.
    #[error("{name}: invalid value `{value}`: expected {wanted} ({reason})")]
    Invalid {
        /// The setting.
        name: String,
        /// The value; never a secret.
        value: String,
        /// What is expected.
        wanted: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// The value is out of range.
    #[error("{name}: invalid value `{value}`: expected {least} to {most}")]
    OutOfRange {
        /// The setting.
        name: String,
        /// The value.
        value: String,
        /// The smallest valid value.
        least: String,
        /// The largest valid value.
        most: String,
    },
    /// The value of a secret does not have the expected form. The value is not shown.
    #[error("{name}: invalid value (not shown): expected {wanted}")]
    InvalidSecret {
        /// The setting.
        name: String,
        /// What is expected.
        wanted: &'static str,
    },
    /// The file that `NAME_FILE` names can't be read.
    #[error("{name}: failed to read the file {path}")]
    File {
        /// The setting, with `_FILE`.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Both `NAME` and `NAME_FILE` are set.
    #[error("{name} and {name}_FILE are both set: set only one of them")]
    Both {
        /// The setting, without `_FILE`.
        name: String,
    },
}

/// Reads settings from a [`Source`].
#[derive(Clone)]
pub struct Settings(Arc<dyn Source>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

impl Settings {
    /// Reads from this source.
    pub fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// A text, if set and not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty())
    }

    /// A required text.
    ///
    /// # Errors
    /// When it is not set.
    pub fn required_text(&self, name: &str, wanted: &'static str) -> Result<String, ConfigError> {
        self.text(name).ok_or_else(|| ConfigError::Missing { name: name.to_owned(), wanted })
    }

    /// A value of any type that parses from text, if set.
    ///
    /// # Errors
    /// When the value does not parse as a `T`.
    pub fn optional<T>(&self, name: &str, wanted: &'static str) -> Result<Option<T>, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(name)
            .map(|value| {
                value.parse().map_err(|error: T::Err| ConfigError::Invalid {
                    name: name.to_owned(),
                    reason: error.to_string(),
                    wanted,
                    value,
                })
            })
            .transpose()
    }

    /// A value of any type that parses from text, or the default.
    ///
    /// # Errors
    /// When the value does not parse as a `T`.
    pub fn or<T>(&self, name: &str, wanted: &'static str, default: T) -> Result<T, ConfigError>
    where
        T: FromStr,
        T::Err: Display,
    {
        Ok(self.optional(name, wanted)?.unwrap_or(default))
    }

    /// A number in this range, or the default.
    ///
    /// # Errors
    /// When the value is not a number or out of range.
    pub fn in_range<T>(&self, name: &str, default: T, range: RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Debug,
        T::Err: Display,
    {
        within(name, self.or(name, "a number", default)?, &range)
    }

    /// A duration in this range, or the default; written as in [`Self::duration`].
    ///
    /// # Errors
    /// When the value is not a duration or out of range.
    pub fn duration_in_range(
        &self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        within(name, self.duration(name, default)?, &range)
    }

    /// A duration with a unit, such as `250ms`, `2s` or `30d`, or the default.
    ///
    /// # Errors
    /// When the value is not a duration.
    pub fn duration(&self, name: &str, default: Duration) -> Result<Duration, ConfigError> {
        const WANTED: &str = "a duration with a unit, such as 250ms, 2s or 30d";
        let Some(value) = self.text(name) else { return Ok(default) };
        parse_duration(&value).map_err(|reason| ConfigError::Invalid {
            name: name.to_owned(),
            value,
            wanted: WANTED,
            reason,
        })
    }

    /// A secret, from `NAME` or from the file that `NAME_FILE` names (trailing line ends are removed).
    ///
    /// # Errors
    /// When both are set, or the file can't be read.
    pub fn secret(&self, name: &str) -> Result<Option<SecretString>, ConfigError> {
        let file_setting = format!("{name}_FILE");
        match (self.text(name), self.text(&file_setting)) {
            (Some(_), Some(_)) => Err(ConfigError::Both { name: name.to_owned() }),
            (Some(value), None) => Ok(Some(value.into())),
            (None, None) => Ok(None),
            (None, Some(path)) => {
                let path = PathBuf::from(path);
                let value = std::fs::read_to_string(&path).map_err(|source| ConfigError::File {
                    name: file_setting,
                    path,
                    source,
                })?;
                Ok(Some(value.trim_end_matches(['\n', '\r']).to_owned().into()))
            }
        }
    }

    /// A required secret.
    ///
    /// # Errors
    /// As [`Self::secret`], and when it is not set.
    pub fn required_secret(&self, name: &str, wanted: &'static str) -> Result<SecretString, ConfigError> {
        self.secret(name)?
            .ok_or_else(|| ConfigError::Missing { name: format!("{name} (or {name}_FILE)"), wanted })
    }
}

fn within<T: PartialOrd + Debug>(name: &str, value: T, range: &RangeInclusive<T>) -> Result<T, ConfigError> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::OutOfRange {
        name: name.to_owned(),
        value: format!("{value:?}"),
        least: format!("{:?}", range.start()),
        most: format!("{:?}", range.end()),
    })
}

/// Parses a duration such as `2s`. A day has 24 hours.
fn parse_duration(value: &str) -> Result<Duration, String> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "no whole number before the unit".to_owned())?;
    let seconds = |each: u64| number.checked_mul(each).ok_or_else(|| "too long".to_owned());
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => seconds(60).map(Duration::from_secs),
        "h" => seconds(3_600).map(Duration::from_secs),
        "d" => seconds(86_400).map(Duration::from_secs),
        "" if number == 0 => Ok(Duration::ZERO),
        "" => Err("missing unit".to_owned()),
        other => Err(format!("unknown unit `{other}`; expected ms, s, m, h or d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings<const N: usize>(values: [(&str, &str); N]) -> Settings {
        Settings::new(Fixed::new(values))
    }

    #[test]
    fn errors_name_the_setting_and_what_is_expected() {
        let error = settings([("SMTP_PORT", "x")]).or::<u16>("SMTP_PORT", "a port", 25).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SMTP_PORT: invalid value `x`: expected a port (invalid digit found in string)"
        );
        let error = settings([]).required_text("MONGODB_URI", "a URI").unwrap_err();
        assert_eq!(error.to_string(), "MONGODB_URI is not set: expected a URI");
    }

    #[test]
    fn rejects_values_out_of_range() {
        let read = |value| settings([("N", value)]).in_range("N", 10, 1..=100);
        assert_eq!((read("").unwrap(), read("1").unwrap(), read("100").unwrap()), (10, 1, 100));
        assert_eq!(read("0").unwrap_err().to_string(), "N: invalid value `0`: expected 1 to 100");
        let day = Duration::from_secs(86_400);
        let error = settings([("D", "2d")]).duration_in_range("D", day, Duration::ZERO..=day).unwrap_err();
        assert_eq!(error.to_string(), "D: invalid value `172800s`: expected 0ns to 86400s");
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        assert_eq!(settings([("X", "")]).or("X", "a number", 7).unwrap(), 7);
    }

    #[test]
    fn parses_durations_with_units() {
        let read = |value: &str| settings([("D", value)]).duration("D", Duration::ZERO);
        assert_eq!(read("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(read("30d").unwrap(), Duration::from_secs(30 * 86_400));
        assert_eq!(read("0").unwrap(), Duration::ZERO);
        for invalid in ["5", "s", "5 s", "-1s", "1w", "99999999999999999999d"] {
            assert!(read(invalid).is_err(), "{invalid} was accepted");
        }
    }

    #[test]
    fn reads_a_secret_from_a_file_and_never_shows_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let path = file.path().to_str().unwrap();
        let secret = settings([("P_FILE", path)]).required_secret("P", "a password").unwrap();
        assert_eq!(secret.expose_secret(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(settings([("P_FILE", path), ("P", "y")]).secret("P").is_err());
        assert!(settings([("P_FILE", "/nonexistent")]).secret("P").is_err());
    }
}
