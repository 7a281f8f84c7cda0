//! Routes to the user's own services: `BROKER_ROUTES`.

use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::Authority;

/// First segments of the broker's own paths, which no route may shadow.
pub(crate) const RESERVED: [&str; 6] = ["ping", "handle", "log-grpc", "logout", "v1", ".well-known"];

/// Forwards requests for a prefix, and all paths below it, to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) prefix: String,
    pub(crate) to: Authority,
}

/// All routes; the prefixes are unique.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Routes(pub(crate) Vec<Route>);

impl FromStr for Routes {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let mut routes: Vec<Route> = Vec::new();
        for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let (prefix, to) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
            let route = Route { prefix: read_prefix(prefix)?, to: read_address(to)? };
            if routes.iter().any(|other| other.prefix == route.prefix) {
                return Err(format!("duplicate prefix {prefix}"));
            }
            routes.push(route);
        }
        Ok(Self(routes))
    }
}

fn read_prefix(prefix: &str) -> Result<String, String> {
    let invalid = |why: &str| Err(format!("the prefix {prefix} {why}"));
    let Some(segments) = prefix.strip_prefix('/') else { return invalid("does not begin with a slash") };
    for segment in segments.split('/') {
        let plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        if segment.is_empty() || segment == "." || segment == ".." || !plain {
            return invalid(
                "has a segment that is empty, `.`, `..`, or has characters other than letters, digits and `-._~`",
            );
        }
    }
    if segments.split('/').next().is_some_and(|first| RESERVED.contains(&first)) {
        return invalid("is one of the broker's own paths");
    }
    Ok(prefix.to_owned())
}

fn read_address(text: &str) -> Result<Authority, String> {
    let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not an address"))?;
    let bare = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    match uri.authority().filter(|authority| bare && !authority.as_str().contains('@')) {
        Some(authority) => Ok(authority.clone()),
        None => Err(format!("`{text}` is not of the form http://host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prefixes_and_addresses() {
        let routes: Routes = "/shop=http://orders:8080, /shop/admin=http://10.0.0.1:80".parse().unwrap();
        let found: Vec<_> = routes.0.iter().map(|route| (route.prefix.as_str(), route.to.as_str())).collect();
        assert_eq!(found, [("/shop", "orders:8080"), ("/shop/admin", "10.0.0.1:80")]);
        assert_eq!("".parse::<Routes>().unwrap(), Routes::default());
    }

    #[test]
    fn rejects_reserved_and_invalid_prefixes_and_invalid_addresses() {
        for prefix in
            ["", "/", "shop", "/shop/", "//shop", "/a/../v1", "/./x", "/{x}", "/%761", "/ping", "/v1/logs"]
        {
            let error = format!("{prefix}=http://orders:8080").parse::<Routes>().unwrap_err();
            assert!(error.contains("prefix"), "{prefix}: {error}");
        }
        for to in ["orders", "https://orders", "http://u:p@orders", "http://orders/path", "http://orders/?q"]
        {
            assert!(format!("/shop={to}").parse::<Routes>().is_err(), "{to} was accepted");
        }
        assert!("/a=http://b,/a=http://c".parse::<Routes>().unwrap_err().contains("duplicate"));
        assert!("/vase=http://b".parse::<Routes>().is_ok(), "segments are compared as a whole");
    }
}
