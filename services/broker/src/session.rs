//! The cookie that holds a session's refresh token. No script sees it, and no other site can send it.

use std::str::FromStr;
use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite};

use crate::client::Client;

/// Under https. Browsers take the prefix only with Secure, Path=/ and no Domain, so no sibling host can plant one.
const SECURE_NAME: &str = "__Host-weft-session";
/// Under plain http, where browsers refuse the prefix.
const PLAIN_NAME: &str = "weft-session";

/// When the cookie is for https alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieSecurity {
    /// When the request came by https through a trusted proxy.
    Auto,
    /// Always.
    Always,
}

impl FromStr for CookieSecurity {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            _ => Err("it is neither".to_owned()),
        }
    }
}

impl CookieSecurity {
    /// The refresh token that a request brings.
    pub(crate) fn read(self, client: Client, headers: &HeaderMap) -> Option<String> {
        let name = self.name(client);
        pairs(headers).find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }

    /// `Set-Cookie` with a new refresh token; nothing when the token is none that a cookie may hold.
    pub(crate) fn set(self, client: Client, token: &str, life: Duration) -> Option<HeaderValue> {
        let plain = !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte));
        plain.then(|| self.write(client, token, life)).flatten()
    }

    /// `Set-Cookie` that takes it away.
    pub(crate) fn clear(self, client: Client) -> Option<HeaderValue> {
        self.write(client, "", Duration::ZERO)
    }

    fn write(self, client: Client, value: &str, life: Duration) -> Option<HeaderValue> {
        let name = self.name(client);
        let cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .secure(name == SECURE_NAME)
            .same_site(SameSite::Strict)
            .max_age(cookie::time::Duration::seconds(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)));
        HeaderValue::from_str(&cookie.build().to_string()).ok()
    }

    fn name(self, client: Client) -> &'static str {
        if self == Self::Always || client.https { SECURE_NAME } else { PLAIN_NAME }
    }
}

/// True when a request brings a session of either name.
pub(crate) fn is_present(headers: &HeaderMap) -> bool {
    pairs(headers).any(|(name, _)| name == SECURE_NAME || name == PLAIN_NAME)
}

/// Takes the session out of what goes on to another service.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if !is_present(headers) {
        return;
    }
    let others = pairs(headers).filter(|(name, _)| *name != SECURE_NAME && *name != PLAIN_NAME);
    let others = others.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    headers.remove(COOKIE);
    if let Some(value) = HeaderValue::from_str(&others).ok().filter(|value| !value.is_empty()) {
        headers.insert(COOKIE, value);
    }
}

/// True of a `Set-Cookie` that would change the session.
pub(crate) fn is_ours(set_cookie: &HeaderValue) -> bool {
    let name = set_cookie.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    [SECURE_NAME, PLAIN_NAME].iter().any(|ours| ours.as_bytes() == name)
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(https: bool) -> Client {
        Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https }
    }

    fn set(security: CookieSecurity, https: bool) -> String {
        let header = security.set(client(https), "token", Duration::from_secs(60)).unwrap();
        header.to_str().unwrap().to_owned()
    }

    #[test]
    fn it_is_for_https_alone_where_the_request_came_by_https() {
        let plain = set(CookieSecurity::Auto, false);
        assert_eq!(plain, "weft-session=token; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        let secure = "__Host-weft-session=token; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60";
        assert_eq!(set(CookieSecurity::Auto, true), secure);
        assert_eq!(set(CookieSecurity::Always, false), secure);
    }

    #[test]
    fn only_the_cookie_of_the_requests_own_scheme_is_read() {
        let both = "a=1; weft-session=plain; __Host-weft-session=secure";
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(both))]);
        assert_eq!(CookieSecurity::Auto.read(client(false), &headers).unwrap(), "plain");
        assert_eq!(CookieSecurity::Auto.read(client(true), &headers).unwrap(), "secure");
        assert!(is_present(&headers));
        assert!(!is_present(&HeaderMap::new()));
    }

    #[test]
    fn clearing_ends_its_life_and_no_token_breaks_out_of_it() {
        let cleared = CookieSecurity::Auto.clear(client(false)).unwrap();
        assert!(cleared.to_str().unwrap().contains("Max-Age=0"));
        for token in ["", "a;b", "a b", "a\nb", "ü"] {
            assert_eq!(CookieSecurity::Auto.set(client(false), token, Duration::ZERO), None, "{token:?}");
        }
    }
}
