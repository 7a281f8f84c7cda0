//! Validates the paths of forwarded requests. The broker routes by the path as sent; a service that normalizes or decodes the path must
//! not get another one.

use crate::reply::ApiError;

/// Rejects paths that a service may read as another path: with a segment that is empty, `.` or `..` (also encoded), with a backslash, or
/// with an encoded slash, backslash or NUL.
///
/// # Errors
/// 400 that says what is wrong.
pub(super) fn check(path: &str) -> Result<(), ApiError> {
    let lower = path.to_ascii_lowercase();
    if ["\\", "%5c", "%2f", "%00"].iter().any(|part| lower.contains(part)) {
        return Err(invalid("it has a backslash, or an encoded slash, backslash or NUL"));
    }
    let segments = lower.strip_prefix('/').unwrap_or(&lower);
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        // Some services cut segments at the first semicolon.
        let name = segment.split(';').next().unwrap_or_default().replace("%2e", ".");
        let is_last = segments.peek().is_none();
        if name == "." || name == ".." {
            return Err(invalid("it has a segment `.` or `..`"));
        }
        if name.is_empty() && !(is_last && segment.is_empty()) {
            return Err(invalid("it has an empty segment"));
        }
    }
    Ok(())
}

fn invalid(why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid path: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_paths_that_a_service_may_read_as_another_one() {
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
    fn accepts_other_paths() {
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
