//! Settings; the README lists them.
//!
//! Both URLs are inserted into pages, and the broker's also into the content security policy. So only forms are accepted that
//! can't inject anything there.

use std::fmt::{self, Display};
use std::str::FromStr;

use axum::http::Uri;
use weft_runtime::config::{ConfigError, Settings};

#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// Origin of the broker, as browsers reach it; none if it is the page's own origin.
    pub(crate) broker: Option<Origin>,
    /// URL of Jaeger, as browsers reach it.
    pub(crate) jaeger: Option<PageUrl>,
}

impl Config {
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            broker: settings.optional("FRONTEND_BROKER_URL", "an origin such as https://api.example.com")?,
            jaeger: settings
                .optional("FRONTEND_JAEGER_URL", "a URL such as https://jaeger.example.com/ui")?,
        })
    }
}

/// Scheme, host and port without a path, as in CORS and the content security policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(String);

/// An http or https URL for links, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageUrl(String);

/// Why a URL is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("not a valid URL")]
    Syntax,
    #[error("it must start with http:// or https://")]
    Scheme,
    #[error("a user name or password is not allowed, because every visitor would see it")]
    UserInfo,
    #[error("the host has invalid characters")]
    Host,
    #[error("a path is not allowed; an origin is scheme, host and port")]
    Path,
    #[error("a query is not allowed")]
    Query,
}

impl FromStr for Origin {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (origin, path) = split(text)?;
        if path.is_empty() { Ok(Self(origin)) } else { Err(UrlError::Path) }
    }
}

impl FromStr for PageUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (origin, path) = split(text)?;
        Ok(Self(origin + &path))
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits a URL into its origin, and its path without trailing slashes.
fn split(text: &str) -> Result<(String, String), UrlError> {
    let uri: Uri = text.parse().map_err(|_| UrlError::Syntax)?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let scheme = scheme.ok_or(UrlError::Scheme)?;
    let authority = uri.authority().ok_or(UrlError::Syntax)?.as_str();
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    // In a policy spaces, semicolons and commas are separators, and `*` is a wildcard.
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if authority.is_empty() || !authority.chars().all(plain) {
        return Err(UrlError::Host);
    }
    if uri.query().is_some() {
        return Err(UrlError::Query);
    }
    let path = uri.path().trim_end_matches('/').to_owned();
    Ok((format!("{scheme}://{}", authority.to_ascii_lowercase()), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Result<String, UrlError> {
        text.parse::<Origin>().map(|origin| origin.to_string())
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("http://127.0.0.1:30080").unwrap(), "http://127.0.0.1:30080");
        assert_eq!(origin("https://API.example.com/").unwrap(), "https://api.example.com");
        assert_eq!(origin("http://[::1]:8080").unwrap(), "http://[::1]:8080");
    }

    #[test]
    fn rejects_what_could_inject_into_a_policy_or_a_page() {
        assert_eq!(origin("https://*"), Err(UrlError::Host));
        assert_eq!(origin("https://a,b"), Err(UrlError::Host));
        assert_eq!(origin("https://a;script-src"), Err(UrlError::Host));
        assert_eq!(origin("https://a b"), Err(UrlError::Syntax));
        assert_eq!(origin("https://me:secret@a"), Err(UrlError::UserInfo));
        assert_eq!(origin("https://a/api"), Err(UrlError::Path));
        assert_eq!(origin("https://a/?x"), Err(UrlError::Query));
        assert_eq!(origin("a.example.com"), Err(UrlError::Scheme));
        assert_eq!(origin("/api"), Err(UrlError::Scheme));
        assert!(origin("javascript:alert(1)").is_err());
        assert_eq!("ftp://a".parse::<PageUrl>(), Err(UrlError::Scheme));
    }

    #[test]
    fn accepts_a_jaeger_url_with_a_path() {
        let jaeger: PageUrl = "https://a.example.com/jaeger/".parse().unwrap();
        assert_eq!(jaeger.to_string(), "https://a.example.com/jaeger");
    }
}
