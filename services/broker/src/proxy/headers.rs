//! Which headers pass between a client and a service of the user's, and which do not.

use axum::http::header::{
    CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use weft_mesh::Caller;

use crate::client::Client;
use crate::reply::ApiError;
use crate::session;

/// Of one connection, not of the message (RFC 9110, 7.6.1).
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
/// What the broker says of who calls; from a client it would be a lie.
const OURS: &str = "weft-";
const OF_THE_EDGE: [&str; 4] = ["traceparent", "tracestate", "baggage", "expect"];

/// Takes away what a client may not say to a service, and says who it is.
pub(super) fn of_request(headers: &mut HeaderMap, client: Client, host: Option<HeaderValue>) {
    hop_by_hop(headers);
    session::strip(headers);
    remove_if(headers, |name| {
        let read = as_services_read(name);
        let forwarded = read.starts_with("x-forwarded-") || read == "forwarded" || read == "x-real-ip";
        let of_the_hop = read != name && HOP_BY_HOP.iter().any(|of_hop| of_hop.as_str() == read);
        read.starts_with(OURS) || forwarded || of_the_hop || OF_THE_EDGE.contains(&read.as_str())
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

/// A header's name as many services read it: CGI, and what descends from it, has one character for all that are neither letters
/// nor digits. To these `Weft_User_Id` is the same as `weft-user-id`.
fn as_services_read(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Says who is signed in, under the names that gRPC services know it by.
///
/// # Errors
/// 401 when an id is no text for a header; a checked token never has such.
pub(super) fn caller(headers: &mut HeaderMap, caller: &Caller) -> Result<(), ApiError> {
    let Caller { user, session, role } = caller;
    let entries =
        [("weft-user-id", user.as_str()), ("weft-session-id", session), ("weft-user-role", role.as_str())];
    for (name, value) in entries {
        let value = HeaderValue::from_str(value)
            .map_err(|_| ApiError::invalid_token("the access token's ids are no text for a header"))?;
        headers.insert(name, value);
    }
    Ok(())
}

/// Takes away what a service may not say to a browser: CORS and the session are the broker's.
pub(super) fn of_response(headers: &mut HeaderMap) {
    hop_by_hop(headers);
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

fn hop_by_hop(headers: &mut HeaderMap) {
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
    fn a_client_can_not_say_who_is_signed_in_nor_whence_it_came() {
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
        of_request(&mut headers, client, Some(HeaderValue::from_static("shop.example.com")));
        let wanted = map(&[
            ("cookie", "a=1; b=2"),
            ("x-own", "kept"),
            ("x_own", "kept"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example.com"),
        ]);
        assert_eq!(headers, wanted);
    }

    #[test]
    fn a_service_can_not_set_the_session_nor_open_the_broker_to_other_origins() {
        let mut headers = map(&[
            ("set-cookie", "weft-session=mine; Path=/"),
            ("set-cookie", "__Host-weft-session=mine"),
            ("set-cookie", "basket=3"),
            ("access-control-allow-origin", "*"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"1\""),
        ]);
        headers.append(SET_COOKIE, HeaderValue::from_static("weft-session=mine"));
        of_response(&mut headers);
        assert_eq!(headers, map(&[("set-cookie", "basket=3"), ("etag", "\"1\"")]));
    }
}
