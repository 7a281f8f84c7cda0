//! The client's address and scheme, from the connection or from trusted proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Networks of trusted proxies: their `X-Forwarded-*` headers are used.
#[derive(Debug, Default, Clone)]
pub(crate) struct Proxies(Vec<IpNet>);

/// The client of a request. The edge adds it to the request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The nearest address that is not a trusted proxy.
    pub(crate) address: IpAddr,
    /// True if the request came by https to the nearest trusted proxy.
    pub(crate) https: bool,
}

impl FromStr for Proxies {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let networks = list.split(',').map(str::trim).filter(|network| !network.is_empty());
        networks
            .map(|network| {
                let address = || network.parse::<IpAddr>().map(IpNet::from);
                network.parse().or_else(|_| address()).map_err(|_| format!("`{network}` is not a network"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Proxies {
    /// The client of a request: the rightmost forwarded address that is not a trusted proxy. Addresses to the left of it could have
    /// been written by anyone.
    pub(crate) fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> Client {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let mut address = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if self.0.is_empty() || !self.trusts(address) {
            return Client { address, https: false };
        }
        for forwarded in parts_from_the_right(headers, FORWARDED_FOR) {
            let Some(forwarded) = read_address(forwarded) else { break };
            address = forwarded;
            if !self.trusts(address) {
                break;
            }
        }
        let https =
            parts_from_the_right(headers, FORWARDED_PROTO).next().is_some_and(|proto| proto == "https");
        Client { address, https }
    }

    /// True if the address belongs to a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The parts of a comma-separated header, last first, over all headers of this name.
fn parts_from_the_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.into_iter().rev().flat_map(|value| value.rsplit(',')).map(str::trim)
}

/// Parses an address, with or without a port.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = || text.trim_matches(['[', ']']).parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(proxies: &str, peer: &str, headers: &[(&'static str, &'static str)]) -> (String, bool) {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let client = proxies.parse::<Proxies>().unwrap().client(&extensions, &map);
        (client.address.to_string(), client.https)
    }

    #[test]
    fn ignores_forwarded_headers_without_a_trusted_proxy() {
        let headers = [(FORWARDED_FOR, "1.1.1.1"), (FORWARDED_PROTO, "https")];
        assert_eq!(client("", "10.0.0.1", &headers), ("10.0.0.1".into(), false));
        assert_eq!(client("192.168.0.0/16", "10.0.0.1", &headers), ("10.0.0.1".into(), false));
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_address() {
        let headers =
            [(FORWARDED_FOR, "6.6.6.6, 2.2.2.2"), (FORWARDED_FOR, "10.0.0.7"), (FORWARDED_PROTO, "https")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &headers), ("2.2.2.2".into(), true));
    }

    #[test]
    fn stops_at_an_invalid_address() {
        assert_eq!(client("10.0.0.1", "10.0.0.1", &[(FORWARDED_FOR, "1.1.1.1, unknown")]).0, "10.0.0.1");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &[]).0, "10.0.0.1");
    }

    #[test]
    fn accepts_ports_brackets_and_mapped_addresses() {
        for (forwarded, address) in
            [("1.2.3.4:80", "1.2.3.4"), ("[2001:db8::1]:80", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4")]
        {
            assert_eq!(client("10.0.0.1", "::ffff:10.0.0.1", &[(FORWARDED_FOR, forwarded)]).0, address);
        }
    }
}
