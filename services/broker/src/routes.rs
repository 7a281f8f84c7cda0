//! Which paths go on to services of the user's own: `BROKER_ROUTES`.

use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::Authority;

/// The first segments of the broker's own paths: no route may stand before them.
pub(crate) const OWN: [&str; 6] = ["ping", "handle", "log-grpc", "logout", "v1", ".well-known"];

/// Requests for a path, and all below it, go on to this service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) prefix: String,
    pub(crate) to: Authority,
}

/// All routes, no prefix twice.
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
                return Err(format!("{prefix} is there twice"));
            }
            routes.push(route);
        }
        Ok(Self(routes))
    }
}

fn read_prefix(prefix: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("the prefix {prefix} {why}"));
    let Some(segments) = prefix.strip_prefix('/') else { return wrong("does not begin with a slash") };
    for segment in segments.split('/') {
        let plain = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        if segment.is_empty() || segment == "." || segment == ".." || !plain {
            return wrong("has a segment that is empty or not of letters, digits and `-._~`");
        }
    }
    if segments.split('/').next().is_some_and(|first| OWN.contains(&first)) {
        return wrong("is one of the broker's own paths");
    }
    Ok(prefix.to_owned())
}

fn read_address(text: &str) -> Result<Authority, String> {
    let uri: Uri = text.parse().map_err(|_| format!("`{text}` is no address"))?;
    let bare = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    match uri.authority().filter(|authority| bare && !authority.as_str().contains('@')) {
        Some(authority) => Ok(authority.clone()),
        None => Err(format!("`{text}` is not http://, a host and a port alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_prefix_and_an_address() {
        let routes: Routes = "/shop=http://orders:8080, /shop/admin=http://10.0.0.1:80".parse().unwrap();
        let found: Vec<_> = routes.0.iter().map(|route| (route.prefix.as_str(), route.to.as_str())).collect();
        assert_eq!(found, [("/shop", "orders:8080"), ("/shop/admin", "10.0.0.1:80")]);
        assert_eq!("".parse::<Routes>().unwrap(), Routes::default());
    }

    #[test]
    fn what_would_shadow_the_broker_or_is_no_path_is_refused() {
        for prefix in
            ["", "/", "shop", "/shop/", "//shop", "/a/../v1", "/./x", "/{x}", "/%761", "/ping", "/v1/logs"]
        {
            let said = format!("{prefix}=http://orders:8080").parse::<Routes>().unwrap_err();
            assert!(said.contains("prefix"), "{prefix}: {said}");
        }
        for to in ["orders", "https://orders", "http://u:p@orders", "http://orders/path", "http://orders/?q"]
        {
            assert!(format!("/shop={to}").parse::<Routes>().is_err(), "{to} was taken");
        }
        assert!("/a=http://b,/a=http://c".parse::<Routes>().unwrap_err().contains("twice"));
        assert!("/vase=http://b".parse::<Routes>().is_ok(), "a segment counts as a whole");
    }
}
