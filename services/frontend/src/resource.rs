//! One thing to send: its bytes as they are and compressed, and what a browser may keep of it.

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

/// How long a browser may go without asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caching {
    /// The URL has the content's hash.
    Forever,
    /// It may keep it, but has to ask each time whether it is still the one.
    Revalidate,
    /// It keeps nothing.
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

/// A content in its two encodings, compressed once at start.
#[derive(Debug)]
pub(crate) struct Resource {
    kind: &'static str,
    plain: Encoded,
    /// Nothing where it would not be smaller.
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

    /// The reply to a request with these headers: 304 when the client has it, else `status` with the content.
    pub(crate) fn reply(&self, request: &HeaderMap, status: StatusCode, caching: Caching) -> Response {
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(request));
        let Encoded { bytes, etag } = gzip.unwrap_or(&self.plain);
        let known = status == StatusCode::OK && knows(request, etag);
        let mut reply = Response::new(if known { Body::empty() } else { Body::from(bytes.clone()) });
        *reply.status_mut() = if known { StatusCode::NOT_MODIFIED } else { status };
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, caching.value());
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let (StatusCode::OK, Ok(etag)) = (status, HeaderValue::from_str(etag)) {
            headers.insert(ETAG, etag);
        }
        if !known {
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

/// RFC 9110, 12.5.3: the weight of gzip, or of `*` where gzip is not named, is above zero.
fn takes_gzip(request: &HeaderMap) -> bool {
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

/// RFC 9110, 13.1.2: a weak comparison with each tag of the list.
fn knows(request: &HeaderMap, etag: &str) -> bool {
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
    fn gzip_is_sent_to_whoever_takes_it() {
        for takes in ["gzip", "br, GZIP;q=0.5", "*", "gzip;q=1.0, identity", "deflate, x-gzip"] {
            assert!(takes_gzip(&request(ACCEPT_ENCODING, takes)), "{takes}");
        }
        for refuses in ["", "br", "gzip;q=0", "*;q=0", "gzip; q=0.000, *", "gzip;q=x"] {
            assert!(!takes_gzip(&request(ACCEPT_ENCODING, refuses)), "{refuses}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_tag_is_found_in_its_list() {
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(knows(&request(IF_NONE_MATCH, known), "\"a\""), "{known}");
        }
        assert!(!knows(&request(IF_NONE_MATCH, "\"a-gzip\", a"), "\"a\""));
        assert!(!knows(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn an_error_page_is_never_not_modified() {
        let page = Resource::new("text/html", b"nothing here");
        let reply = page.reply(&request(IF_NONE_MATCH, "*"), StatusCode::NOT_FOUND, Caching::Never);
        assert_eq!(reply.status(), StatusCode::NOT_FOUND);
        assert!(!reply.headers().contains_key(ETAG));
    }
}
