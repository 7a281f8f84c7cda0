//! The signed-in caller, by access token. Endpoints take the caller as an argument, so that the check can't be forgotten.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use weft_mesh::Caller;
use weft_mesh::caller::Role;
use weft_runtime::clock::Clock;

use crate::keys::Keys;
use crate::open::{Action, OpenActions};
use crate::reply::{ApiError, Problem};
use crate::standing::{Purpose, Standings};
use crate::token::{self, Identity, Rules};
use crate::upstream::{self, AuthClient};

/// The bearer of a valid access token.
#[derive(Debug)]
pub(crate) struct SignedIn(pub(crate) Caller);

/// A viewer or an admin, by the access token. Authentication has confirmed that session and role are still valid.
#[derive(Debug)]
pub(crate) struct Viewer(pub(crate) Caller);

/// An admin, checked in the same way.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn
where
    Arc<Callers>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Arc::from_ref(state).identify(&parts.headers).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Arc<Callers>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Arc::from_ref(state).with_role(Role::Admin, parts).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Viewer
where
    Arc<Callers>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Arc::from_ref(state).with_role(Role::Viewer, parts).await?))
    }
}

/// Identifies callers by their access tokens.
pub(crate) struct Callers {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) rules: Rules,
    pub(crate) open_actions: OpenActions,
    pub(crate) authentication: AuthClient,
    pub(crate) standings: Standings,
}

impl Callers {
    /// The caller that the request's access token identifies.
    ///
    /// # Errors
    /// 401 when the token is missing or invalid, 503 when no keys to verify it with could be fetched.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let token = bearer(headers)?.ok_or_else(|| {
            ApiError::unauthorized(
                "sign in first: this needs an access token in the header Authorization: Bearer",
            )
        })?;
        let key_id = token::key_id(token)?;
        let Some(keys) = self.keys.with(&key_id).await else {
            return Err(ApiError::unavailable(
                "authentication can't be reached in time, so the access token can't be checked",
                upstream::RETRY_AFTER,
            ));
        };
        let Identity { caller } = self.rules.verify(token, &key_id, &keys, self.clock.now())?;
        Ok(caller)
    }

    /// The caller of an action; `None` only if the Stack has opened the action.
    ///
    /// # Errors
    /// As [`Self::identify`]; for an open action as [`Self::identify_if_ours`].
    pub(crate) async fn require(
        &self,
        headers: &HeaderMap,
        action: Action,
    ) -> Result<Option<Caller>, ApiError> {
        if self.open_actions.contains(action) {
            return self.identify_if_ours(headers).await;
        }
        self.identify(headers).await.map(Some)
    }

    /// The caller, for routed services, which decide themselves whom they let in. `None` if there is no token, or one that is not an
    /// access token of the broker; such a token is forwarded unchanged.
    ///
    /// # Errors
    /// As [`Self::identify`], if there is an access token of the broker.
    pub(crate) async fn identify_if_ours(&self, headers: &HeaderMap) -> Result<Option<Caller>, ApiError> {
        match bearer(headers) {
            Ok(Some(token)) if token::key_id(token).is_ok() => self.identify(headers).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The caller with their current role.
    async fn with_role(&self, needed: Role, parts: &Parts) -> Result<Caller, ApiError> {
        let caller = self.identify(&parts.headers).await?;
        check_role(needed, caller.role)?;
        let purpose = if parts.method.is_safe() { Purpose::Read } else { Purpose::Change };
        let role = self.standings.role(&self.authentication, &caller, purpose).await?;
        check_role(needed, role)?;
        Ok(Caller { role, ..caller })
    }
}

fn check_role(needed: Role, role: Role) -> Result<(), ApiError> {
    if role >= needed {
        return Ok(());
    }
    let needed = match needed {
        Role::User | Role::Viewer => "viewer or admin",
        Role::Admin => "admin",
    };
    let message = format!("this needs the role {needed}; yours is {}", role.as_str());
    Err(ApiError::new(StatusCode::FORBIDDEN, message))
}

/// The token after `Bearer`; `None` without the header.
///
/// # Errors
/// 401 when the header has another scheme or no token, or is given twice.
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
    fn accepts_only_one_bearer_token() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["Bearer abc"]), Ok(Some("abc".into())));
        assert_eq!(read(&["bearer  abc"]), Ok(Some("abc".into())));
        for invalid in
            [&["Basic abc"] as &[_], &["Bearer"], &["Bearer "], &["abc"], &["Bearer a", "Bearer b"]]
        {
            assert_eq!(read(invalid), Err(401), "{invalid:?}");
        }
    }

    #[test]
    fn another_scheme_gets_another_message_than_an_expired_token() {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"))]);
        let error = bearer(&headers).unwrap_err();
        assert!(error.message.contains("Bearer") && !error.message.contains("expired"), "{}", error.message);
        assert_eq!(error.challenge, Some("Bearer"));
    }
}
