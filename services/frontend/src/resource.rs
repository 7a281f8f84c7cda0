//! A page or file with its compressed form and its caching headers.

use std::io::Write as _;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// How browsers may cache a resource.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caching {
    /// Indefinitely, because the URL has the hash of the content.
    Forever,
    /// Cached, but revalidated for each use.
    Revalidate,
    /// Not cached.
    Never,
}

impl Caching {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Forever => "public, max-age=31536000, immutable",
            Self::Revalidate => "no-cache",
            Self::Never => "no-store",
        })
    }
}

/// Content in two encodings, compressed once at start.
#[derive(Debug)]
pub(crate) struct Resource {
    kind: &'static str,
    plain: Encoded,
    /// None if it would not be smaller.
    gzip: Option<Encoded>,
}

#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    etag: String,
}

impl Resource {
    pub(crate) fn new(kind: &'static str, content: &[u8]) -> Self {
        let hash: String =
            Sha256::digest(content).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let smaller = compress(content).ok().filter(|bytes| bytes.len() < content.len());
        Self {
            kind,
            plain: Encoded { bytes: Bytes::copy_from_slice(content), etag: format!("\"{hash}\"") },
            gzip: smaller.map(|bytes| Encoded { bytes: bytes.into(), etag: format!("\"{hash}-gzip\"") }),
        }
    }

    /// Replies to a request with these headers: 304 if the client has the content, otherwise `status` with the content.
    pub(crate) fn reply(&self, request: &HeaderMap, status: StatusCode, caching: Caching) -> Response {
        let gzip = self.gzip.as_ref().filter(|_| accepts_gzip(request));
        let Encoded { bytes, etag } = gzip.unwrap_or(&self.plain);
        let not_modified = status == StatusCode::OK && is_cached(request, etag);
        let mut reply = Response::new(if not_modified { Body::empty() } else { Body::from(bytes.clone()) });
        *reply.status_mut() = if not_modified { StatusCode::NOT_MODIFIED } else { status };
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, caching.value());
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let (StatusCode::OK, Ok(etag)) = (status, HeaderValue::from_str(etag)) {
            headers.insert(ETAG, etag);
        }
        if !not_modified {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            if gzip.is_some() {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        reply
    }
}

fn compress(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

/// Whether the client accepts gzip (RFC 9110, 12.5.3): the weight of gzip, or of `*` if gzip is not listed, is above zero.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let mut any = false;
    let lists = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for coding in lists.flat_map(|list| list.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                return weight > 0.0;
            }
            "*" => any = weight > 0.0,
            _ => {}
        }
    }
    any
}

/// Whether If-None-Match lists the tag, by weak comparison (RFC 9110, 13.1.2).
fn is_cached(request: &HeaderMap, etag: &str) -> bool {
    let lists = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn request(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn reads_accept_encoding() {
        for accepted in ["gzip", "br, GZIP;q=0.5", "*", "gzip;q=1.0, identity", "deflate, x-gzip"] {
            assert!(accepts_gzip(&request(ACCEPT_ENCODING, accepted)), "{accepted}");
        }
        for refused in ["", "br", "gzip;q=0", "*;q=0", "gzip; q=0.000, *", "gzip;q=x"] {
            assert!(!accepts_gzip(&request(ACCEPT_ENCODING, refused)), "{refused}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn finds_a_tag_in_if_none_match() {
        for not_modified in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(is_cached(&request(IF_NONE_MATCH, not_modified), "\"a\""), "{not_modified}");
        }
        assert!(!is_cached(&request(IF_NONE_MATCH, "\"a-gzip\", a"), "\"a\""));
        assert!(!is_cached(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn never_replies_304_with_an_error_page() {
        let page = Resource::new("text/html", b"nothing here");
        let reply = page.reply(&request(IF_NONE_MATCH, "*"), StatusCode::NOT_FOUND, Caching::Never);
        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
        assert!(!reply.headers().contains_key(ETAG));
    }
}
