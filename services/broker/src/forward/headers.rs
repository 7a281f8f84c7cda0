//! Filters the headers of forwarded requests and replies.

use axum::http::header::{
    CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use weft_mesh::Caller;

use crate::client::Client;
use crate::reply::ApiError;
use crate::session;

/// Headers of a connection, not of the message (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// Prefix of the headers in which the broker identifies the caller. Clients must not set them.
const CALLER_PREFIX: &str = "weft-";
/// Headers that the broker itself sets or answers, and `Proxy`, which CGI and its successors take for the variable `HTTP_PROXY`
/// (CVE-2016-5385 and others).
const EDGE: [&str; 5] = ["traceparent", "tracestate", "baggage", "expect", "proxy"];

/// Removes headers that a client must not send to a service, and adds the client's address, scheme and host.
pub(super) fn filter_request(headers: &mut HeaderMap, client: Client, host: Option<HeaderValue>) {
    remove_hop_by_hop(headers);
    session::strip(headers);
    remove_if(headers, |name| {
        let read = as_services_read(name);
        let forwarded = read.starts_with("x-forwarded-") || read == "forwarded" || read == "x-real-ip";
        let hop_by_hop = read != name && HOP_BY_HOP.iter().any(|hop| hop.as_str() == read);
        read.starts_with(CALLER_PREFIX) || forwarded || hop_by_hop || EDGE.contains(&read.as_str())
    });
    if let Ok(address) = HeaderValue::from_str(&client.address.to_string()) {
        headers.insert(FORWARDED_FOR, address);
    }
    let proto = HeaderValue::from_static(if client.https { "https" } else { "http" });
    headers.insert(FORWARDED_PROTO, proto);
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// A header's name as many services read it: CGI and its successors map all characters other than letters and digits to the same one.
/// For them `Weft_User_Id` is the same as `weft-user-id`.
fn as_services_read(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Adds the headers that identify the caller, named like the metadata of gRPC calls.
///
/// # Errors
/// 401 when an id is not valid in a header, which can't happen for a verified token.
pub(super) fn caller(headers: &mut HeaderMap, caller: &Caller) -> Result<(), ApiError> {
    let Caller { user, session, role } = caller;
    let entries =
        [("weft-user-id", user.as_str()), ("weft-session-id", session), ("weft-user-role", role.as_str())];
    for (name, value) in entries {
        let value = HeaderValue::from_str(value).map_err(|_| {
            ApiError::invalid_token("invalid access token: its ids are not valid in a header")
        })?;
        headers.insert(name, value);
    }
    Ok(())
}

/// Removes headers that a service must not send to a browser: only the broker decides on CORS and sessions.
pub(super) fn filter_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    remove_if(headers, |name| {
        name.starts_with("access-control-") || name.starts_with("ratelimit") || name == "traceresponse"
    });
    let kept: Vec<_> =
        headers.get_all(SET_COOKIE).iter().filter(|cookie| !session::is_ours(cookie)).cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in kept {
        headers.append(SET_COOKIE, cookie);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let texts = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        texts.flat_map(|text| text.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn map(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        let entry = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn clients_cannot_forge_the_caller_or_their_address() {
        let mut headers = map(&[
            ("weft-user-id", "root"),
            ("weft_user_id", "root"),
            ("weft.user_id", "root"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("transfer_encoding", "chunked"),
            ("x_own", "kept"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/x"),
            ("forwarded", "for=6.6.6.6"),
            ("traceparent", "00-1-1-01"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("upgrade", "websocket"),
            ("cookie", "a=1; weft-session=secret; __Host-weft-session=secret; b=2"),
            ("x-own", "kept"),
        ]);
        let client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https: false };
        filter_request(&mut headers, client, Some(HeaderValue::from_static("shop.example.com")));
        let expected = map(&[
            ("cookie", "a=1; b=2"),
            ("x-own", "kept"),
            ("x_own", "kept"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example.com"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn services_cannot_set_session_cookies_or_cors_headers() {
        let mut headers = map(&[
            ("set-cookie", "weft-session=mine; Path=/"),
            ("set-cookie", "__Host-weft-session=mine"),
            ("set-cookie", "basket=3"),
            ("access-control-allow-origin", "*"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"1\""),
        ]);
        headers.append(SET_COOKIE, HeaderValue::from_static("weft-session=mine"));
        filter_response(&mut headers);
        assert_eq!(headers, map(&[("set-cookie", "basket=3"), ("etag", "\"1\"")]));
    }
}
