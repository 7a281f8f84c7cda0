//! Who is signed in: the bearer of an access token. Endpoints take them as an argument, so that none is forgotten.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use tonic::Request;
use weft_mesh::Caller;
use weft_mesh::caller::Role;

use crate::app::App;
use crate::open::Action;
use crate::reply::{ApiError, Problem};
use crate::standing::Purpose;
use crate::token::{self, Identity, Refused};
use crate::upstream;

/// The bearer of a valid access token.
#[derive(Debug)]
pub(crate) struct SignedIn(pub(crate) Caller);

/// A viewer or an admin: by the access token, and still so by what authentication says of session and role.
#[derive(Debug)]
pub(crate) struct Viewer(pub(crate) Caller);

/// An admin, in the same way.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Caller);

impl FromRequestParts<App> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(identify(app, &parts.headers).await?))
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(at_least(Role::Admin, parts, app).await?))
    }
}

impl FromRequestParts<App> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(at_least(Role::Viewer, parts, app).await?))
    }
}

/// The caller, with the role that they have now.
async fn at_least(least: Role, parts: &Parts, app: &App) -> Result<Caller, ApiError> {
    let caller = identify(app, &parts.headers).await?;
    check_role(least, caller.role)?;
    let purpose = if parts.method.is_safe() { Purpose::Read } else { Purpose::Change };
    let role = app.standings.role(&app.authentication, &caller, purpose).await?;
    check_role(least, role)?;
    Ok(Caller { role, ..caller })
}

fn check_role(least: Role, role: Role) -> Result<(), ApiError> {
    if role >= least {
        return Ok(());
    }
    let needed = match least {
        Role::User | Role::Viewer => "viewer or admin",
        Role::Admin => "admin",
    };
    let message = format!("this needs the role {needed}; yours is {}", role.as_str());
    Err(ApiError::new(StatusCode::FORBIDDEN, message))
}

/// The bearer of the request's access token.
///
/// # Errors
/// 401 when there is none or it is not valid, 503 while no keys could be fetched to check it with.
pub(crate) async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let token = bearer(headers)?.ok_or_else(|| {
        ApiError::unauthorized(
            "sign in first: this needs an access token in the header Authorization: Bearer",
        )
    })?;
    let key_id = token::key_id(token).map_err(refused)?;
    let Some(keys) = app.keys.with(&key_id).await else {
        return Err(ApiError::unavailable(
            "authentication can't be reached in time, so the access token can't be checked",
            upstream::RETRY_AFTER,
        ));
    };
    let Identity { caller } =
        app.token_rules.verify(token, &key_id, &keys, app.clock.now()).map_err(refused)?;
    Ok(caller)
}

/// The caller of an action; nobody only when the Stack has opened the action.
///
/// # Errors
/// As [`identify`]; for an open action as [`identify_if_ours`].
pub(crate) async fn require(
    app: &App,
    headers: &HeaderMap,
    action: Action,
) -> Result<Option<Caller>, ApiError> {
    if app.open_actions.contains(action) {
        return identify_if_ours(app, headers).await;
    }
    identify(app, headers).await.map(Some)
}

/// Who is signed in, for a service of the user's that decides itself whom it lets in: nobody when there is no token, or one that
/// was never of ours, which then goes on as it is.
///
/// # Errors
/// As [`identify`], when there is one of ours.
pub(crate) async fn identify_if_ours(app: &App, headers: &HeaderMap) -> Result<Option<Caller>, ApiError> {
    match bearer(headers) {
        Ok(Some(token)) if token::key_id(token).is_ok() => identify(app, headers).await.map(Some),
        _ => Ok(None),
    }
}

/// One message whatever is wrong: who made the token knows, and nobody else needs to.
fn refused(Refused(reason): Refused) -> ApiError {
    tracing::debug!(reason, "an access token was refused");
    ApiError::invalid_token(
        "the access token is not valid here: it has expired, or it was not issued for this Stack",
    )
}

/// The token after `Bearer`; nothing when there is no such header.
///
/// # Errors
/// 401 that says what is expected, when the header has another scheme, no token, or is given twice.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match token.filter(|token| !token.is_empty()) {
        Some(token) if values.next().is_none() => Ok(Some(token)),
        _ => Err(ApiError::unauthorized(
            "Authorization: expected one header with the scheme Bearer and an access token",
        )),
    }
}

/// A call on behalf of who is signed in.
///
/// # Errors
/// 401 when their ids are none that metadata may hold; a checked token never has such.
pub(crate) fn on_behalf<T>(caller: &Caller, message: T) -> Result<Request<T>, ApiError> {
    let mut request = Request::new(message);
    caller.to_metadata(request.metadata_mut()).map_err(|_| refused(Refused("its ids are no metadata")))?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).map(|token| token.map(str::to_owned)).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn one_bearer_token_is_read_and_all_else_refused() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["Bearer abc"]), Ok(Some("abc".into())));
        assert_eq!(read(&["bearer  abc"]), Ok(Some("abc".into())));
        for wrong in [&["Basic abc"] as &[_], &["Bearer"], &["Bearer "], &["abc"], &["Bearer a", "Bearer b"]]
        {
            assert_eq!(read(wrong), Err(401), "{wrong:?}");
        }
    }

    #[test]
    fn another_scheme_is_told_from_an_expired_token() {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"))]);
        let error = bearer(&headers).unwrap_err();
        assert!(error.message.contains("Bearer") && !error.message.contains("expired"), "{}", error.message);
        assert_eq!(error.challenge, Some("Bearer"));
    }
}
