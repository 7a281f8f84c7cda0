//! CORS by a list of origins, and protection against requests forged by other pages (CSRF).
//!
//! tower-http's CORS layer is not used: it sends the headers about credentials and exposed headers to every origin, and answers every
//! OPTIONS. Here an origin that is not listed gets no CORS headers.

use std::str::FromStr;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};

use crate::session;

const FETCH_SITE: &str = "sec-fetch-site";
const EXPOSED: HeaderValue =
    HeaderValue::from_static("traceresponse, Retry-After, RateLimit, RateLimit-Policy");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Idempotency-Key, traceparent, tracestate");
/// Two hours, the longest that browsers cache a preflight.
const PREFLIGHT_MAX_AGE_S: HeaderValue = HeaderValue::from_static("7200");

/// The list of allowed origins.
#[derive(Debug, Default, Clone)]
pub(crate) struct Origins(Vec<String>);

impl FromStr for Origins {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let origins = list.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        origins.map(read_origin).collect::<Result<_, _>>().map(Self)
    }
}

/// Parses an origin and writes it as browsers do: scheme, host, and the port unless it is the scheme's default.
fn read_origin(text: &str) -> Result<String, String> {
    let invalid = || format!("`{text}` is not an origin");
    let uri: Uri = text.parse().map_err(|_| invalid())?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or_else(invalid)?;
    let authority =
        uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(invalid)?;
    if uri.path() != "/" || uri.query().is_some() || authority.host() == "*" {
        return Err(invalid());
    }
    let port = match (scheme, authority.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    Ok(format!("{scheme}://{}{port}", authority.host().to_ascii_lowercase()))
}

impl Origins {
    /// The request's origin, if it is on the list.
    pub(crate) fn listed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        headers
            .get(ORIGIN)
            .filter(|origin| self.0.iter().any(|listed| listed.as_bytes() == origin.as_bytes()))
    }

    /// Adds the CORS headers with which a page of a listed origin may read the reply.
    pub(crate) fn allow(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }

    /// True if this unsafe request comes from a page of another origin that is not listed, and either carries the session cookie or
    /// is one that browsers send without a preflight.
    pub(crate) fn is_forged(&self, method: &Method, headers: &HeaderMap) -> bool {
        if method.is_safe() || !is_foreign(headers) || self.listed(headers).is_some() {
            return false;
        }
        session::is_present(headers) || (method == Method::POST && !is_json(headers))
    }
}

/// Decides by fetch metadata, or by comparing Origin with Host if the browser sends none.
fn is_foreign(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    host.is_none() || of_origin.map(|(_, host)| host) != host
}

/// An HTML form can't send `application/json`, and for a script it requires a preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// True for a CORS preflight.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds the headers of the reply to a preflight from a listed origin.
pub(crate) fn answer_preflight(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn normalizes_origins_as_browsers_do() {
        assert_eq!(read_origin("https://Console.example:443/").unwrap(), "https://console.example");
        assert_eq!(read_origin("http://127.0.0.1:30081").unwrap(), "http://127.0.0.1:30081");
        for invalid in
            ["*", "null", "https://*", "console.example", "ftp://x", "https://x/path", "https://u@x"]
        {
            assert!(invalid.parse::<Origins>().is_err(), "{invalid} was accepted");
        }
    }

    /// Columns: fetch site, origin, content type, cookie; and whether a POST is refused.
    #[test]
    fn refuses_only_requests_forged_by_other_pages() {
        let origins: Origins = "https://listed.example".parse().unwrap();
        let (json, form) = ("application/json", "application/x-www-form-urlencoded");
        let (cookie, none) = ("weft-session=x", "");
        let (ours, evil, listed) = ("http://broker:8080", "https://evil.example", "https://listed.example");
        for (site, origin, content_type, cookie, forged) in [
            // Not a browser: curl sends no origin, and a form's content type by default.
            ("", "", form, none, false),
            ("", "", json, cookie, false),
            ("same-origin", ours, json, cookie, false),
            ("none", "", form, cookie, false),
            ("cross-site", evil, json, cookie, true),
            ("cross-site", "", json, cookie, true),
            ("same-site", evil, json, cookie, true),
            ("cross-site", listed, json, cookie, false),
            ("same-site", listed, json, cookie, false),
            ("cross-site", evil, form, none, true),
            ("cross-site", evil, "text/plain", none, true),
            ("cross-site", evil, "", none, true),
            ("cross-site", evil, json, none, false),
            // Without fetch metadata the origin decides.
            ("", evil, json, cookie, true),
            ("", evil, form, none, true),
            ("", "null", json, cookie, true),
            ("", ours, json, cookie, false),
            ("", listed, json, cookie, false),
        ] {
            let all = [
                ("host", "broker:8080"),
                (FETCH_SITE, site),
                ("origin", origin),
                ("content-type", content_type),
                ("cookie", cookie),
            ];
            let given: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let headers = headers(&given);
            assert_eq!(origins.is_forged(&Method::POST, &headers), forged, "{given:?}");
            assert!(!origins.is_forged(&Method::GET, &headers), "{given:?}");
        }
    }

    #[test]
    fn only_a_listed_origin_gets_cors_headers() {
        let origins: Origins = "https://a.example, https://b.example".parse().unwrap();
        let answer = |origin: &'static str| {
            let mut answer = HeaderMap::new();
            origins.allow(origins.listed(&headers(&[("origin", origin)])).cloned(), &mut answer);
            answer
        };
        assert_eq!(answer("https://b.example")[ACCESS_CONTROL_ALLOW_ORIGIN], "https://b.example");
        assert_eq!(answer("https://b.example")[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let other = answer("https://c.example");
        assert_eq!((other.len(), &other[VARY]), (1, &HeaderValue::from_static("Origin")));
    }
}
