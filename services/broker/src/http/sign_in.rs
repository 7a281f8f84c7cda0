//! Action `auth` of `POST /handle`: a password becomes a session.

use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_proto::weft::auth::v1::SignInRequest;

use crate::app::App;
use crate::body::Rest;
use crate::client::Client;
use crate::reply::{ApiError, success_with};
use crate::upstream;
use crate::user::{AccessToken, Tokens, User};

/// No address is longer (RFC 5321).
const LONGEST_EMAIL: usize = 254;
/// Far above any password that could have been set: past it, it is not worth a hash.
pub(super) const LONGEST_PASSWORD: usize = 1_024;
const LONGEST_USER_AGENT: usize = 256;

/// An email address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object with email and password")]
pub(super) struct Credentials {
    #[schema(schema_with = crate::mail::address_schema)]
    email: String,
    #[schema(min_length = 1, max_length = 1024)]
    password: String,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// Who is signed in now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignInData {
    #[serde(flatten)]
    user: User,
    #[serde(flatten)]
    token: AccessToken,
}

pub(super) async fn sign_in(
    app: &App,
    client: Client,
    headers: &HeaderMap,
    credentials: Credentials,
) -> Result<Response, ApiError> {
    let Credentials { email, password, _rest } = credentials;
    check_email("auth.email", &email)?;
    check_password("auth.password", &password)?;
    let request = SignInRequest {
        email,
        password,
        client_address: client.address.to_string(),
        user_agent: user_agent(headers),
    };
    let reply = app.authentication.clone().sign_in(request).await;
    let reply = reply.map_err(|status| upstream::credentials(&status, "invalid credentials"))?.into_inner();
    let tokens = Tokens::read(reply.tokens, app.clock.now())?;
    let cookie = app
        .cookies
        .set(client, &tokens.refresh, tokens.session_life)
        .ok_or_else(|| upstream::nonsense("authentication", "refresh_token"))?;
    let data = SignInData { user: reply.user.try_into()?, token: tokens.access };
    let mut response = success_with(StatusCode::ACCEPTED, "Authenticated!", data);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Refuses what can't be an address that anybody has.
pub(super) fn check_email(field: &str, email: &str) -> Result<(), ApiError> {
    let refused = |what: &str| ApiError::bad_request(format!("{field} {what}"));
    if email.trim().is_empty() {
        return Err(refused("is empty"));
    }
    if email.chars().count() > LONGEST_EMAIL {
        return Err(refused("has more than 254 characters: no address is longer"));
    }
    if email.chars().any(char::is_control) {
        return Err(refused("has a line break or another control character"));
    }
    Ok(())
}

/// Refuses what can be no password before anybody hashes it.
pub(super) fn check_password(field: &str, password: &str) -> Result<(), ApiError> {
    if password.is_empty() {
        return Err(ApiError::bad_request(format!("{field} is empty")));
    }
    if password.chars().count() > LONGEST_PASSWORD {
        return Err(ApiError::bad_request(format!("{field} has more than {LONGEST_PASSWORD} characters")));
    }
    Ok(())
}

/// What the list of sessions shows of a browser: printable, and bounded.
fn user_agent(headers: &HeaderMap) -> String {
    let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(LONGEST_USER_AGENT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_address_or_password_is_refused_before_a_hash() {
        for email in ["", "  ", "a@b.c\nBcc: x", &"x".repeat(10_000)] {
            assert!(
                check_email("auth.email", email).unwrap_err().message.starts_with("auth.email"),
                "{email:?}"
            );
        }
        assert_eq!(check_email("auth.email", "用户@例子.广告"), Ok(()));
        assert!(check_password("p", &"x".repeat(1 << 20)).is_err());
        assert!(check_password("p", "").is_err());
        assert_eq!(check_password("p", "verysecret"), Ok(()));
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials =
            Credentials { email: "me@example.com".into(), password: "hunter2".into(), _rest: Rest {} };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
