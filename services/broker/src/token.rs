//! Verifies access tokens: algorithm and type, signature, issuer, audience, and times. Only the broker does this.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use weft_mesh::Caller;

use crate::reply::ApiError;

/// The audience of the tokens.
const AUDIENCE: &str = "weft-broker";
/// The type that distinguishes access tokens from other JWTs (RFC 9068).
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];
/// Tolerated difference between the clocks of two machines.
const LEEWAY_S: i64 = 5;
const MAX_BYTES: usize = 4_096;

/// The user that a token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
}

/// The rules for valid tokens.
#[derive(Debug)]
pub(crate) struct Rules(Validation);

/// Public keys by id, and the JSON of the key set.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: HashMap<String, DecodingKey>,
    json: String,
}

/// An invalid key set.
#[derive(Debug, thiserror::Error)]
#[error("invalid JSON Web Key Set")]
pub(crate) struct KeySetError(#[from] serde_json::Error);

/// An invalid token. The reason is for the log, not for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

/// One message for all reasons, so that clients learn nothing about the check.
impl From<Refused> for ApiError {
    fn from(Refused(reason): Refused) -> Self {
        tracing::debug!(reason, "an access token was refused");
        Self::invalid_token("invalid access token: it has expired, or it was not issued for this Stack")
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Uuid,
    sid: Uuid,
    role: String,
    exp: i64,
    nbf: i64,
}

impl KeySet {
    /// Parses a JSON Web Key Set (RFC 7517). Ignores keys other than Ed25519 and keys without an id.
    ///
    /// # Errors
    /// When the JSON is not a key set.
    pub(crate) fn parse(json: &str) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let Set { keys } = serde_json::from_str(json)?;
        let keys =
            keys.into_iter().filter_map(|key| ed25519(serde_json::from_str(key.get()).ok()?)).collect();
        Ok(Self { keys, json: json.to_owned() })
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// The JSON as received from authentication.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }
}

fn ed25519(key: Jwk) -> Option<(String, DecodingKey)> {
    let AlgorithmParameters::OctetKeyPair(parameters) = &key.algorithm else { return None };
    if parameters.curve != EllipticCurve::Ed25519 {
        return None;
    }
    Some((key.common.key_id?, DecodingKey::from_ed_components(&parameters.x).ok()?))
}

/// Checks the header of a token, and returns the id of the key that the token names.
pub(crate) fn key_id(token: &str) -> Result<String, Refused> {
    if token.len() > MAX_BYTES {
        return Err(Refused("too long"));
    }
    // An algorithm that jsonwebtoken does not know, such as `none`, is an error here already.
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refused("invalid JWT header"))?;
    if header.alg != Algorithm::EdDSA {
        return Err(Refused("the algorithm is not EdDSA"));
    }
    let typed =
        header.typ.as_deref().is_some_and(|typ| TYPES.iter().any(|valid| valid.eq_ignore_ascii_case(typ)));
    if !typed {
        return Err(Refused("the type is not at+jwt"));
    }
    header.kid.ok_or(Refused("missing key id"))
}

impl Rules {
    pub(crate) fn new(issuer: &str) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Checked in `verify`, with the clock that is passed in.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self(validation)
    }

    /// Verifies a token that names this key.
    pub(crate) fn verify(
        &self,
        token: &str,
        key_id: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Identity, Refused> {
        let key = keys.keys.get(key_id).ok_or(Refused("unknown key id"))?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.0);
        let Claims { sub, sid, role, exp, nbf } =
            decoded.map_err(|_| Refused("invalid signature or claim"))?.claims;
        let now = now.as_second();
        if exp.saturating_add(LEEWAY_S) <= now {
            return Err(Refused("expired"));
        }
        if nbf.saturating_sub(LEEWAY_S) > now {
            return Err(Refused("not valid yet"));
        }
        let role = role.parse().map_err(|_| Refused("unknown role"))?;
        Ok(Identity { caller: Caller { user: sub.to_string(), session: sid.to_string(), role } })
    }
}

/// The key set for other services that verify tokens: public members only.
pub(crate) fn public(json: &str) -> Result<serde_json::Value, KeySetError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<BTreeMap<String, serde_json::Value>>,
    }
    let Set { mut keys } = serde_json::from_str(json)?;
    // Authentication only sends public keys. If it sent a private one by mistake, it must not get out here.
    for key in &mut keys {
        key.retain(|name, _| ["kty", "crv", "x", "kid", "use", "alg"].contains(&name.as_str()));
    }
    Ok(serde_json::json!({ "keys": keys }))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const USER: &str = "0191d4b0-7d2a-7c3e-8f00-000000000001";

    fn claims() -> Value {
        json!({
            "iss": "weft:shop/shop", "aud": "weft-broker", "sub": USER, "sid": USER, "role": "admin",
            "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "x",
        })
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "one"})
    }

    fn token(header: &Value, claims: &Value, seed: u8) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = SigningKey::from_bytes(&[seed; 32]).sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn keys() -> KeySet {
        let x = URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&[1; 32]).verifying_key().as_bytes());
        let set = json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x, "use": "sig", "alg": "EdDSA"},
            {"kty": "RSA", "kid": "other"},
            {"kty": "something new"},
        ]});
        KeySet::parse(&set.to_string()).unwrap()
    }

    fn verify(token: &str, now: i64) -> Result<Identity, Refused> {
        let rules = Rules::new("weft:shop/shop");
        rules.verify(token, &key_id(token)?, &keys(), Timestamp::from_second(now).unwrap())
    }

    fn with(name: &str, value: Value) -> Result<Identity, Refused> {
        let mut changed = claims();
        changed[name] = value;
        verify(&token(&header(), &changed, 1), NOW)
    }

    #[test]
    fn a_valid_token_identifies_the_caller() {
        let caller = verify(&token(&header(), &claims(), 1), NOW).unwrap().caller;
        assert_eq!((caller.user.as_str(), caller.role), (USER, weft_mesh::caller::Role::Admin));
        assert!(with("aud", json!(["weft-broker", "other"])).is_ok());
    }

    #[test]
    fn times_have_a_leeway_of_5_seconds() {
        let good = token(&header(), &claims(), 1);
        assert!(verify(&good, NOW + 304).is_ok());
        assert_eq!(verify(&good, NOW + 305), Err(Refused("expired")));
        assert!(verify(&good, NOW - 5).is_ok());
        assert_eq!(verify(&good, NOW - 6), Err(Refused("not valid yet")));
    }

    #[test]
    fn rejects_wrong_and_missing_claims() {
        for (name, value) in [
            ("iss", json!("weft:other/shop")),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("sub", json!("no uuid")),
            ("sid", Value::Null),
            ("role", json!("root")),
            ("exp", Value::Null),
            ("exp", json!("soon")),
            ("nbf", Value::Null),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name} of {value} was accepted");
        }
    }

    #[test]
    fn rejects_another_key_algorithm_or_type() {
        let refused = |header: Value, seed| verify(&token(&header, &claims(), seed), NOW).unwrap_err().0;
        assert_eq!(refused(header(), 2), "invalid signature or claim");
        for (name, value) in [
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("RS256")),
            ("typ", json!("JWT")),
            ("typ", Value::Null),
            ("kid", json!("two")),
            ("kid", Value::Null),
        ] {
            let mut changed = header();
            changed[name] = value.clone();
            assert!(verify(&token(&changed, &claims(), 1), NOW).is_err(), "{name} of {value} was accepted");
        }
    }

    #[test]
    fn rejects_malformed_and_unsigned_tokens() {
        let good = token(&header(), &claims(), 1);
        let (message, _) = good.rsplit_once('.').unwrap();
        let long = format!("{good}{}", "x".repeat(MAX_BYTES));
        for invalid in ["", "x", "a.b.c", message, &format!("{message}."), &format!("{good}.x"), &long] {
            assert!(verify(invalid, NOW).is_err(), "{invalid:?} was accepted");
        }
    }

    #[test]
    fn the_public_set_has_no_private_parts() {
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"abc","d":"secret"}]}"#;
        assert!(!public(set).unwrap().to_string().contains("secret"));
    }
}
