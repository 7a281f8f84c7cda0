//! The session cookie, which has the refresh token. Scripts can't read the cookie, and other sites can't send it.

use std::str::FromStr;
use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use cookie::{Cookie, SameSite};

use crate::client::Client;

/// Browsers accept a cookie with this prefix only with Secure, Path=/ and no Domain, so no sibling host can set one. They reject it
/// over plain http.
const HOST_PREFIX: &str = "__Host-";
/// Prefix of every Stack's session cookie.
const BASE_NAME: &str = "weft-session";

/// When the cookie is sent only over https.
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
            _ => Err("unknown word".to_owned()),
        }
    }
}

/// The session cookie of this Stack. The name contains the issuer of the Stack's tokens, because browsers store cookies by host name:
/// another Stack on the same host name, even on another port, must not overwrite the cookie.
#[derive(Debug)]
pub(crate) struct SessionCookie {
    security: CookieSecurity,
    plain_name: String,
    secure_name: String,
}

impl SessionCookie {
    pub(crate) fn new(security: CookieSecurity, issuer: &str) -> Self {
        let plain_name = match issuer {
            "weft" => BASE_NAME.to_owned(),
            issuer => format!("{BASE_NAME}.{}", cookie_token(issuer.strip_prefix("weft:").unwrap_or(issuer))),
        };
        Self { security, secure_name: format!("{HOST_PREFIX}{plain_name}"), plain_name }
    }

    /// The refresh token in a request.
    pub(crate) fn read(&self, client: Client, headers: &HeaderMap) -> Option<String> {
        let name = self.name(client).as_bytes();
        let (_, value) = pairs(headers).find(|(key, _)| *key == name)?;
        Some(std::str::from_utf8(value).ok()?.to_owned())
    }

    /// `Set-Cookie` with a new refresh token; `None` if the token has characters that are not allowed in a cookie.
    pub(crate) fn set(&self, client: Client, token: &str, life: Duration) -> Option<HeaderValue> {
        let allowed = !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte));
        allowed.then(|| self.write(client, token, life)).flatten()
    }

    /// `Set-Cookie` that deletes the cookie.
    pub(crate) fn clear(&self, client: Client) -> Option<HeaderValue> {
        self.write(client, "", Duration::ZERO)
    }

    fn write(&self, client: Client, value: &str, life: Duration) -> Option<HeaderValue> {
        let name = self.name(client);
        let cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .secure(name == self.secure_name)
            .same_site(SameSite::Strict)
            .max_age(cookie::time::Duration::seconds(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)));
        HeaderValue::from_str(&cookie.build().to_string()).ok()
    }

    fn name(&self, client: Client) -> &str {
        if self.security == CookieSecurity::Always || client.https {
            &self.secure_name
        } else {
            &self.plain_name
        }
    }
}

/// Replaces characters that are not allowed in a cookie's name by dots. A namespace has no dot, so `<namespace>/<Stack>` stays
/// unambiguous.
fn cookie_token(issuer: &str) -> String {
    issuer.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '.' }).collect()
}

/// True for the session cookie of any Stack.
fn is_session(name: &[u8]) -> bool {
    let name = name.strip_prefix(HOST_PREFIX.as_bytes()).unwrap_or(name);
    name.strip_prefix(BASE_NAME.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'.')))
}

/// True if a request has a session cookie, of this Stack or another one.
pub(crate) fn is_present(headers: &HeaderMap) -> bool {
    pairs(headers).any(|(name, _)| is_session(name))
}

/// Removes the session cookies of a request before it is forwarded to a service.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if !is_present(headers) {
        return;
    }
    let others = pairs(headers).filter(|(name, _)| !is_session(name));
    let others = others.map(|(name, value)| [name, value].join(&b'=')).collect::<Vec<_>>().join(&b"; "[..]);
    headers.remove(COOKIE);
    if let Some(value) = HeaderValue::from_bytes(&others).ok().filter(|value| !value.is_empty()) {
        headers.insert(COOKIE, value);
    }
}

/// True for a `Set-Cookie` that would change a session cookie.
pub(crate) fn is_ours(set_cookie: &HeaderValue) -> bool {
    is_session(set_cookie.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii())
}

/// Names and values of all cookies. They are bytes, because other applications on the same host name set cookies, too.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    all.filter_map(|pair| {
        let mut parts = pair.trim_ascii().splitn(2, |byte| *byte == b'=');
        Some((parts.next()?, parts.next()?))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn client(https: bool) -> Client {
        Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https }
    }

    fn cookie(security: CookieSecurity) -> SessionCookie {
        SessionCookie::new(security, "weft")
    }

    fn set(security: CookieSecurity, https: bool) -> String {
        let header = cookie(security).set(client(https), "token", Duration::from_secs(60)).unwrap();
        header.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_cookie_is_secure_if_the_request_came_by_https() {
        let plain = set(CookieSecurity::Auto, false);
        assert_eq!(plain, "weft-session=token; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        let secure = "__Host-weft-session=token; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60";
        assert_eq!(set(CookieSecurity::Auto, true), secure);
        assert_eq!(set(CookieSecurity::Always, false), secure);
    }

    #[test]
    fn reads_only_the_cookie_of_the_requests_scheme() {
        let both = "a=1; weft-session=plain; __Host-weft-session=secure";
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(both))]);
        assert_eq!(cookie(CookieSecurity::Auto).read(client(false), &headers).unwrap(), "plain");
        assert_eq!(cookie(CookieSecurity::Auto).read(client(true), &headers).unwrap(), "secure");
        assert!(is_present(&headers));
        assert!(!is_present(&HeaderMap::new()));
    }

    #[test]
    fn cookies_of_other_applications_may_have_any_bytes() {
        for other in ["fran\u{e7}ais".as_bytes(), b"fran\xe7ais"] {
            let value = [b"lang=", other, b"; weft-session=token; b=2"].concat();
            let mut headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(&value).unwrap())]);
            assert_eq!(cookie(CookieSecurity::Auto).read(client(false), &headers).unwrap(), "token");
            strip(&mut headers);
            assert_eq!(headers[COOKIE].as_bytes(), [b"lang=", other, b"; b=2"].concat());
        }
    }

    #[test]
    fn clears_the_cookie_and_rejects_tokens_that_would_break_it() {
        let cleared = cookie(CookieSecurity::Auto).clear(client(false)).unwrap();
        assert!(cleared.to_str().unwrap().contains("Max-Age=0"));
        for token in ["", "a;b", "a b", "a\nb", "ü"] {
            assert_eq!(
                cookie(CookieSecurity::Auto).set(client(false), token, Duration::ZERO),
                None,
                "{token:?}"
            );
        }
    }

    #[test]
    fn each_stack_has_its_own_cookie() {
        let shop = SessionCookie::new(CookieSecurity::Auto, "weft:shop/web");
        let set = shop.set(client(true), "token", Duration::from_secs(60)).unwrap();
        assert!(set.to_str().unwrap().starts_with("__Host-weft-session.shop.web=token"), "{set:?}");
        let headers = |cookies| HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(cookies))]);
        let both = headers("weft-session.shop.web=ours; weft-session.shop.other=theirs; weft-session=old");
        assert_eq!(shop.read(client(false), &both).unwrap(), "ours");
        assert_eq!(shop.read(client(false), &headers("weft-session.shop.other=theirs")), None);
        assert!(is_present(&headers("weft-session.shop.other=theirs")));
        assert!(!is_present(&headers("weft-sessions=x; my-weft-session=x")));
    }
}
