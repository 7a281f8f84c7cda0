//! Action `auth` of `POST /handle`: signs in with a password.

use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_proto::weft::auth::v1::SignInRequest;

use super::Parts;
use crate::body::Rest;
use crate::client::Client;
use crate::reply::{ApiError, success_with};
use crate::upstream;
use crate::user::{AccessToken, Tokens, User};

/// Maximum length of an email address (RFC 5321).
const MAX_EMAIL_CHARS: usize = 254;
/// Far above the longest password that can be set. Longer ones are rejected without hashing them.
pub(super) const MAX_PASSWORD_CHARS: usize = 1_024;
const MAX_USER_AGENT_CHARS: usize = 256;

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

/// The signed-in user and the access token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignInData {
    #[serde(flatten)]
    user: User,
    #[serde(flatten)]
    token: AccessToken,
}

pub(super) async fn sign_in(
    Parts { clock, authentication, cookies, .. }: &Parts,
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
    let reply = authentication.clone().sign_in(request).await;
    let reply = reply.map_err(|status| upstream::credentials(&status, "invalid credentials"))?.into_inner();
    let tokens = Tokens::read(reply.tokens, clock.now())?;
    let cookie = cookies
        .set(client, &tokens.refresh, tokens.session_life)
        .ok_or_else(|| upstream::invalid_reply("authentication", "refresh_token"))?;
    let data = SignInData { user: reply.user.try_into()?, token: tokens.access };
    let mut response = success_with(StatusCode::ACCEPTED, "Authenticated!", data);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Rejects texts that can't be the address of a user.
fn check_email(field: &str, email: &str) -> Result<(), ApiError> {
    let invalid = |what: &str| ApiError::bad_request(format!("{field}: the email address {what}"));
    if email.trim().is_empty() {
        return Err(invalid("is empty"));
    }
    if email.chars().count() > MAX_EMAIL_CHARS {
        return Err(invalid("is too long; expected at most 254 characters"));
    }
    if email.chars().any(char::is_control) {
        return Err(invalid("has a line break or another control character"));
    }
    Ok(())
}

/// Rejects empty and overlong passwords before they are hashed.
pub(super) fn check_password(field: &str, password: &str) -> Result<(), ApiError> {
    if password.is_empty() {
        return Err(ApiError::bad_request(format!("{field}: the password is empty")));
    }
    if password.chars().count() > MAX_PASSWORD_CHARS {
        return Err(ApiError::bad_request(format!(
            "{field}: the password is too long; expected at most {MAX_PASSWORD_CHARS} characters"
        )));
    }
    Ok(())
}

/// The user agent that the list of sessions shows: without control characters, and bounded in length.
fn user_agent(headers: &HeaderMap) -> String {
    let text = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_addresses_and_passwords_before_hashing() {
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
    fn debug_output_hides_the_password() {
        let credentials =
            Credentials { email: "me@example.com".into(), password: "hunter2".into(), _rest: Rest {} };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
