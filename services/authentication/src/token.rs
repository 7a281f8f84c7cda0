//! Access tokens: JSON Web Tokens (RFC 9068) signed with Ed25519.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::session::after;
use crate::user::User;

/// `aud` of access tokens.
pub const AUDIENCE: &str = "weft-broker";
/// The `typ` of an access token (RFC 9068).
const TYPE: &str = "at+jwt";

/// Signs tokens with one key.
pub struct Signer {
    id: Uuid,
    public: [u8; 32],
    private: EncodingKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a token was not signed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("failed to encode a signing key")]
    Key(#[from] ed25519_dalek::pkcs8::Error),
    #[error("failed to sign a token")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Debug, Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'static str,
    sub: Uuid,
    sid: Uuid,
    role: &'static str,
    email: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// The content of an access token.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    pub issuer: &'a str,
    pub user: &'a User,
    pub session: Uuid,
    /// `jti`.
    pub id: Uuid,
    pub now: Timestamp,
    pub life: Duration,
    /// The session's absolute end, which the token does not outlive.
    pub session_expires_at: Timestamp,
}

impl Signer {
    /// # Errors
    /// When the key can't be encoded.
    pub fn new(id: Uuid, key: &SigningKey) -> Result<Self, TokenError> {
        let private = EncodingKey::from_ed_der(key.to_pkcs8_der()?.as_bytes());
        Ok(Self { id, public: key.verifying_key().to_bytes(), private })
    }

    /// Signs a token. Also returns when it expires.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, grant: &Grant<'_>) -> Result<(SecretString, Timestamp), TokenError> {
        let ends = after(grant.now, grant.life).min(grant.session_expires_at);
        let (now, user) = (grant.now.as_second(), grant.user);
        let claims = Claims {
            iss: grant.issuer,
            aud: AUDIENCE,
            sub: user.id,
            sid: grant.session,
            role: user.role.as_str(),
            email: &user.email,
            iat: now,
            nbf: now,
            exp: ends.as_second(),
            jti: grant.id,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.id.to_string());
        Ok((encode(&header, &claims, &self.private)?.into(), ends))
    }

    /// The public half as a JSON Web Key (RFC 8037).
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.id,
            "x": URL_SAFE_NO_PAD.encode(self.public),
        })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::user::Role;

    #[test]
    fn signs_the_claims_and_publishes_the_key_that_verifies_them() {
        let signer = Signer::new(Uuid::from_u128(1), &SigningKey::from_bytes(&[7; 32])).unwrap();
        let now = Timestamp::from_second(1_764_000_000).unwrap();
        let user = User {
            id: Uuid::from_u128(2),
            email: "a@b.c".into(),
            first_name: "A".into(),
            last_name: "B".into(),
            role: Role::Admin,
            active: true,
            created_at: now,
            updated_at: now,
        };
        let grant = Grant {
            issuer: "weft",
            user: &user,
            session: Uuid::from_u128(3),
            id: Uuid::from_u128(4),
            now,
            life: Duration::from_secs(300),
            session_expires_at: after(now, Duration::from_secs(1_000)),
        };
        let (token, ends) = signer.sign(&grant).unwrap();
        assert_eq!(ends, after(now, Duration::from_secs(300)));
        let short = Grant { session_expires_at: after(now, Duration::from_secs(7)), ..grant };
        assert_eq!(signer.sign(&short).unwrap().1, short.session_expires_at);

        let key = DecodingKey::from_ed_components(signer.jwk()["x"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&["weft"]);
        validation.validate_exp = false;
        let read = decode::<Value>(token.expose_secret(), &key, &validation).unwrap();
        assert_eq!(read.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(read.header.kid, Some(Uuid::from_u128(1).to_string()));
        let expected = json!({
            "iss": "weft", "aud": "weft-broker", "sub": user.id, "sid": grant.session, "role": "admin", "email": "a@b.c",
            "iat": 1_764_000_000, "nbf": 1_764_000_000, "exp": 1_764_000_300, "jti": grant.id,
        });
        assert_eq!(read.claims, expected);
    }
}
