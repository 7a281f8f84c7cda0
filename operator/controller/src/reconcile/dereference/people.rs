//! What the services around people refer to: the SMTP server's Secret, the templates, the first user.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use weft_operator_api::{Admin, Mail, Smtp, Stack};

use super::{
    DereferenceError, FoundAdmin, FoundEncryption, FoundSmtp, FoundTemplates, Lookup, SecretProblem, read,
};
use crate::names::{self, POSTGRES};
use crate::view::{Content, ContentDigest};

impl Lookup<'_> {
    pub(super) async fn smtp(
        &self,
        spec: Option<&Smtp>,
        needed: bool,
    ) -> Result<FoundSmtp, DereferenceError> {
        let external = match spec {
            None if !needed => return Ok(FoundSmtp::Unused),
            None | Some(Smtp { catcher: Some(_), external: None }) => return Ok(FoundSmtp::Catcher),
            Some(Smtp { catcher: None, external: Some(external) }) => external,
            Some(_) => return Ok(FoundSmtp::NotOne),
        };
        let Some(reference) = &external.secret_ref else { return Ok(FoundSmtp::External(Ok(None))) };
        let found = self.secret(&reference.name).await?;
        Ok(FoundSmtp::External(pair(&reference.name, found, "username").map(Some)))
    }

    pub(super) async fn templates(
        &self,
        spec: Option<&Mail>,
        needed: bool,
    ) -> Result<FoundTemplates, DereferenceError> {
        let named = spec.and_then(|mail| mail.templates.as_ref()).filter(|_| needed);
        let Some(config_map) = named.map(|templates| templates.config_map.clone()) else {
            return Ok(FoundTemplates::Unused);
        };
        Ok(match self.config_map_digest(&config_map).await? {
            Some(digest) => FoundTemplates::Kept { config_map, digest },
            None => FoundTemplates::Missing { config_map },
        })
    }

    /// A Secret that is there is taken as it is, whoever made it. A new one is made only where no user can be yet.
    pub(super) async fn admin(&self, stack: &Stack) -> Result<FoundAdmin, DereferenceError> {
        let postgres = stack.spec.stores.postgres.as_ref();
        if !stack.spec.services.authentication.is_enabled() && postgres.is_none() {
            return Ok(FoundAdmin::Unused);
        }
        let named = stack.spec.admin.as_ref().and_then(|Admin { secret_ref, .. }| secret_ref.as_ref());
        let name = named.map_or_else(|| names::admin_secret(&stack.name_any()), |named| named.name.clone());
        let found = self.secret(&name).await?;
        if found.is_some() || named.is_some() {
            let checked = long_enough(&name, found.as_ref()).and_then(|()| pair(&name, found, "email"));
            return Ok(match checked {
                Ok(digest) => FoundAdmin::Kept { secret: name, digest },
                Err(problem) => FoundAdmin::Wrong(problem),
            });
        }
        let managed = postgres.is_none_or(|store| store.external.is_none());
        let reported = self.has_reported_user().await?;
        // A managed store without a volume is empty, whatever was reported of the former one.
        let has_users =
            if managed { self.volume(&names::claim(POSTGRES)).await?.is_some() } else { reported };
        if has_users {
            return Ok(FoundAdmin::Gone { reported });
        }
        Ok(FoundAdmin::Fresh((self.context.password)()))
    }

    async fn has_reported_user(&self) -> Result<bool, DereferenceError> {
        let name = names::ENCRYPTION_SECRET;
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &self.namespace);
        let found = api.get_metadata_opt(name).await.map_err(read("Secret", name))?;
        Ok(found.is_some_and(|secret| names::is_reported(&secret.metadata)))
    }
}

impl Lookup<'_> {
    /// What is not in the cache may be there all the same: only the API server's own word makes a new key.
    pub(super) async fn encryption(&self, stack: &Stack) -> Result<FoundEncryption, DereferenceError> {
        let name = names::ENCRYPTION_SECRET;
        if !stack.spec.services.authentication.is_enabled() {
            return Ok(FoundEncryption::Unused);
        }
        let content = match self.context.cache.secret(&self.namespace, name) {
            Some(cached) => Some(cached.data.clone()),
            None => self.secret_view(name).await?.map(|secret| secret.data),
        };
        Ok(match content {
            Some(Content { digest, has_encryption_keys: true }) => FoundEncryption::Kept(digest),
            Some(_) => {
                let key = names::ENCRYPTION_KEYS.to_owned();
                FoundEncryption::Wrong(SecretProblem::NoKey { name: name.to_owned(), key })
            }
            // Two passwords have more than the 256 bits of a key.
            None => FoundEncryption::Fresh((self.context.password)() + &(self.context.password)()),
        })
    }
}

/// The rule of authentication's that a password of a user's own is likely to break; its pods would not start.
fn long_enough(name: &str, secret: Option<&Secret>) -> Result<(), SecretProblem> {
    let password = secret.and_then(|secret| secret.data.as_ref()?.get("password"));
    let short = |value: &ByteString| {
        let text = String::from_utf8_lossy(&value.0);
        !text.is_empty() && weft_values::password::check_new(text.trim_end_matches(['\n', '\r'])).is_err()
    };
    if password.is_some_and(short) {
        let (name, key) = (name.to_owned(), "password".to_owned());
        return Err(SecretProblem::Malformed {
            name,
            key,
            wanted: "a password of 15 to 256 characters, none a control character",
        });
    }
    Ok(())
}

/// What a Secret with a password, and with what it belongs to under this key, is told apart by.
fn pair(name: &str, secret: Option<Secret>, key: &str) -> Result<ContentDigest, SecretProblem> {
    let Some(secret) = secret else { return Err(SecretProblem::Missing { name: name.to_owned() }) };
    let mut data: BTreeMap<String, ByteString> = secret.data.unwrap_or_default();
    data.retain(|found, _| found == key || found == "password");
    for key in [key, "password"] {
        if data.get(key).is_none_or(|value| value.0.is_empty()) {
            return Err(SecretProblem::NoKey { name: name.to_owned(), key: key.to_owned() });
        }
    }
    Ok(ContentDigest::of(data.iter().map(|(key, value)| (key, &value.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret<const N: usize>(entries: [(&str, &str); N]) -> Secret {
        let data = entries.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn a_first_user_s_short_password_is_refused_before_a_pod_fails_of_it() {
        let check = |password| long_enough("boss", Some(&secret([("email", "e"), ("password", password)])));
        assert!(check("verysecret\n").unwrap_err().to_string().contains("15 to 256 characters"));
        assert!(check("fifteen letters\n").is_ok());
        assert!(check("fourteen le\u{308}tt").is_err(), "authentication counts what NFC leaves");
        assert!(long_enough("boss", None).is_ok(), "what is missing is said elsewhere");
    }

    #[test]
    fn both_halves_of_a_pair_have_to_be_there() {
        let check = |secret| pair("relay", secret, "username").map_err(|problem| problem.to_string());
        assert!(check(None).unwrap_err().contains("Secret relay does not exist"));
        let half = Some(secret([("username", "u"), ("password", "")]));
        assert_eq!(check(half).unwrap_err(), "Secret relay has no key password");
        let half = Some(secret([("password", "p")]));
        assert_eq!(check(half).unwrap_err(), "Secret relay has no key username");
        let whole = check(Some(secret([("username", "u"), ("password", "p")]))).unwrap();
        let more = secret([("username", "u"), ("password", "p"), ("note", "not ours")]);
        assert_eq!(check(Some(more)).unwrap(), whole, "what is not used makes no difference");
        assert_ne!(check(Some(secret([("username", "u"), ("password", "q")]))).unwrap(), whole);
    }
}
