//! The frontend's settings; the crate's front page lists them.
//!
//! Both addresses end up in pages, and the broker's in the content security policy too: each is taken only in a form
//! that can't say more there than it should.

use std::fmt::{self, Display};
use std::str::FromStr;

use axum::http::Uri;
use weft_runtime::config::{ConfigError, Settings};

#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The broker as the browser reaches it; nothing when it is the page's own origin.
    pub(crate) broker: Option<Origin>,
    /// Jaeger's page as the browser reaches it.
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

/// Scheme, host and port, with no path: what CORS and the content security policy know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(String);

/// An http or https URL that a link leads to, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageUrl(String);

/// Why a text is no URL of the wanted form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("it is no URL")]
    Syntax,
    #[error("it does not start with http:// or https://")]
    Scheme,
    #[error("it has a user name or a password, which every visitor would see")]
    UserInfo,
    #[error("its host has characters that no host has")]
    Host,
    #[error("it has a path, and an origin is only scheme, host and port")]
    Path,
    #[error("it has a query")]
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

/// The origin, and the path without its last slash.
fn split(text: &str) -> Result<(String, String), UrlError> {
    let uri: Uri = text.parse().map_err(|_| UrlError::Syntax)?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let scheme = scheme.ok_or(UrlError::Scheme)?;
    let authority = uri.authority().ok_or(UrlError::Syntax)?.as_str();
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    // A policy is split at spaces, semicolons and commas, and `*` is a pattern in it.
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
    fn what_would_say_more_in_a_policy_or_a_page_is_refused() {
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
    fn jaeger_may_live_below_a_path() {
        let jaeger: PageUrl = "https://a.example.com/jaeger/".parse().unwrap();
        assert_eq!(jaeger.to_string(), "https://a.example.com/jaeger");
    }
}
