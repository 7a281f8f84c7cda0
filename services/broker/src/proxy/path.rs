//! Which paths are sent on. The broker routes by the path as it stands; a service that resolves or decodes it must come to
//! the same place.

use crate::reply::ApiError;

/// Refuses a path that a service may read as another one: with `.`, `..` or an empty segment, with a backslash, or with an
/// encoded dot segment, slash or backslash.
///
/// # Errors
/// 400, with what is wrong.
pub(super) fn check(path: &str) -> Result<(), ApiError> {
    let lower = path.to_ascii_lowercase();
    if ["\\", "%5c", "%2f", "%00"].iter().any(|wrong| lower.contains(wrong)) {
        return Err(refused("it has a backslash, or an encoded slash, backslash or NUL"));
    }
    let segments = lower.strip_prefix('/').unwrap_or(&lower);
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        // Some services cut a segment at its first semicolon.
        let name = segment.split(';').next().unwrap_or_default().replace("%2e", ".");
        let is_last = segments.peek().is_none();
        if name == "." || name == ".." {
            return Err(refused("it has a segment `.` or `..`"));
        }
        if name.is_empty() && !(is_last && segment.is_empty()) {
            return Err(refused("it has an empty segment"));
        }
    }
    Ok(())
}

fn refused(why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid path: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_service_may_read_as_another_path() {
        for path in [
            "/shop/../v1/users",
            "/shop/..",
            "/shop/./x",
            "/shop/%2e%2E/x",
            "/shop/.%2e",
            "/shop/a%2fb",
            "/shop/a%5Cb",
            "/shop/a\\b",
            "/shop//x",
            "/shop//",
            "/shop/..;x=1/y",
            "/shop/;/x",
            "/shop/x%00",
        ] {
            assert_eq!(check(path).unwrap_err().status.as_u16(), 400, "{path}");
        }
    }

    #[test]
    fn takes_everything_else() {
        for path in [
            "/",
            "/shop",
            "/shop/",
            "/shop/...",
            "/shop/.hidden",
            "/shop/a..b",
            "/shop/a%20b;c=d",
            "/shop/%252f",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }
}
