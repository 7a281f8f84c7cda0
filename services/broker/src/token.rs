//! Access tokens, checked by nobody but the broker: signature, issuer, audience, type and times, in that order of doubt.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use weft_mesh::Caller;

/// Who the tokens are for.
const AUDIENCE: &str = "weft-broker";
/// The type that tells access tokens from any other JWT (RFC 9068).
const TYPES: [&str; 2] = ["at+jwt", "application/at+jwt"];
/// How far the clocks of two machines may be apart.
const LEEWAY_S: i64 = 5;
const LONGEST: usize = 4_096;

/// Who is signed in, as their token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
}

/// What tokens have to hold to.
#[derive(Debug)]
pub(crate) struct Rules(Validation);

/// Public keys by their ids, and the set's own text.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: HashMap<String, DecodingKey>,
    json: String,
}

/// A key set that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the JSON Web Key Set can't be read")]
pub(crate) struct KeySetError(#[from] serde_json::Error);

/// A token that is none of ours, or no longer one. The reason is for the log, not for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

#[derive(Debug, Deserialize)]
struct Claims {
    sub: Uuid,
    sid: Uuid,
    role: String,
    exp: i64,
    nbf: i64,
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517). Keys of another kind than Ed25519, or without an id, check nothing here.
    ///
    /// # Errors
    /// When it is no key set.
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

    /// The set as authentication gave it.
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

/// The id of the key that a token says it is signed with, once its header is one of ours.
pub(crate) fn key_id(token: &str) -> Result<String, Refused> {
    if token.len() > LONGEST {
        return Err(Refused("it is too long"));
    }
    // An algorithm that jsonwebtoken does not know, such as `none`, is an error here already.
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refused("it has no header of a JWT"))?;
    if header.alg != Algorithm::EdDSA {
        return Err(Refused("its algorithm is not EdDSA"));
    }
    let typed =
        header.typ.as_deref().is_some_and(|typ| TYPES.iter().any(|ours| ours.eq_ignore_ascii_case(typ)));
    if !typed {
        return Err(Refused("it is no access token"));
    }
    header.kid.ok_or(Refused("it names no key"))
}

impl Rules {
    pub(crate) fn new(issuer: &str) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // By our own clock, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self(validation)
    }

    /// Checks a token whose key's id is known.
    pub(crate) fn verify(
        &self,
        token: &str,
        key_id: &str,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Identity, Refused> {
        let key = keys.keys.get(key_id).ok_or(Refused("its key is unknown"))?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.0);
        let Claims { sub, sid, role, exp, nbf } =
            decoded.map_err(|_| Refused("its signature or a claim is wrong"))?.claims;
        let now = now.as_second();
        if exp.saturating_add(LEEWAY_S) <= now {
            return Err(Refused("it has expired"));
        }
        if nbf.saturating_sub(LEEWAY_S) > now {
            return Err(Refused("it is not valid yet"));
        }
        let role = role.parse().map_err(|_| Refused("its role is unknown"))?;
        Ok(Identity { caller: Caller { user: sub.to_string(), session: sid.to_string(), role } })
    }
}

/// The set as JSON for whoever wants to check tokens too: only what a key set's reader may expect.
pub(crate) fn public(json: &str) -> Result<serde_json::Value, KeySetError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<BTreeMap<String, serde_json::Value>>,
    }
    let Set { mut keys } = serde_json::from_str(json)?;
    // Authentication sends public keys alone; the private part of one must not pass here even by its mistake.
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
    fn a_good_token_says_who_is_signed_in() {
        let caller = verify(&token(&header(), &claims(), 1), NOW).unwrap().caller;
        assert_eq!((caller.user.as_str(), caller.role), (USER, weft_mesh::caller::Role::Admin));
        assert!(with("aud", json!(["weft-broker", "other"])).is_ok());
    }

    #[test]
    fn times_hold_within_5_seconds() {
        let good = token(&header(), &claims(), 1);
        assert!(verify(&good, NOW + 304).is_ok());
        assert_eq!(verify(&good, NOW + 305), Err(Refused("it has expired")));
        assert!(verify(&good, NOW - 5).is_ok());
        assert_eq!(verify(&good, NOW - 6), Err(Refused("it is not valid yet")));
    }

    #[test]
    fn a_claim_that_is_wrong_or_missing_is_refused() {
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
            assert!(with(name, value.clone()).is_err(), "{name} of {value} was taken");
        }
    }

    #[test]
    fn another_key_another_algorithm_and_another_type_are_refused() {
        let refused = |header: Value, seed| verify(&token(&header, &claims(), seed), NOW).unwrap_err().0;
        assert_eq!(refused(header(), 2), "its signature or a claim is wrong");
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
            assert!(verify(&token(&changed, &claims(), 1), NOW).is_err(), "{name} of {value} was taken");
        }
    }

    #[test]
    fn a_token_without_signature_or_shape_is_refused() {
        let good = token(&header(), &claims(), 1);
        let (message, _) = good.rsplit_once('.').unwrap();
        let long = format!("{good}{}", "x".repeat(LONGEST));
        for wrong in ["", "x", "a.b.c", message, &format!("{message}."), &format!("{good}.x"), &long] {
            assert!(verify(wrong, NOW).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_private_part_never_leaves() {
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":"abc","d":"secret"}]}"#;
        assert!(!public(set).unwrap().to_string().contains("secret"));
    }
}
