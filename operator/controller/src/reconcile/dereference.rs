//! What a spec refers to, looked up: other Stacks in the namespace, Secrets, volumes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::{Api, ResourceExt as _};
use weft_operator_api::{SecretRef, Stack, Store};

use super::validate::Connection;
use crate::context::Context;
use crate::installation::Flavour;
use crate::names::{self, MONGODB, MONGODB_PORT, RABBITMQ};
use crate::view::{ContentDigest, SecretView};

/// What was found around a Stack.
#[derive(Clone, Debug)]
pub struct Found {
    /// The Stack that was in the namespace before this one.
    pub elder: Option<String>,
    pub mongodb: FoundStore,
    pub rabbitmq: FoundStore,
}

/// What was found of a store.
#[derive(Clone, Debug)]
pub enum FoundStore {
    /// Nobody asks for it.
    Unused,
    /// The spec asks for both kinds, or none.
    NotOne,
    Managed(Credentials),
    External(Result<Connection, SecretProblem>),
}

/// The password of a managed store.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// It was made before.
    Kept(ContentDigest),
    /// There is none: this may become it.
    Fresh(String),
    /// There is none, but data that an earlier one opens.
    Lost { claim: String },
}

/// What is wrong with a Secret that a Stack names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretProblem {
    #[error("Secret {name} does not exist in this namespace; the Stack goes on when it does")]
    Missing { name: String },
    #[error("Secret {name} has no key {key}")]
    NoKey { name: String, key: String },
    #[error(
        "Secret {name} has none of the keys uri and connection_string, and lacks {missing} to make a URI from host, \
         port, username and password"
    )]
    NoParts { name: String, missing: &'static str },
    #[error("key {key} of Secret {name} does not hold {wanted}")]
    Malformed { name: String, key: String, wanted: &'static str },
}

#[derive(Debug, thiserror::Error)]
pub enum DereferenceError {
    #[error("failed to read {kind} {name}")]
    Read { kind: &'static str, name: String, source: kube::Error },
}

/// How URIs of a store look.
struct Scheme {
    prefixes: &'static [&'static str],
    wanted: &'static str,
    default_port: &'static str,
    /// What stands behind the port.
    tail: &'static str,
}

const MONGODB_SCHEME: Scheme = Scheme {
    prefixes: &["mongodb://", "mongodb+srv://"],
    wanted: "a URI that begins with mongodb:// or mongodb+srv://",
    default_port: "27017",
    tail: "/",
};
const AMQP_SCHEME: Scheme = Scheme {
    prefixes: &["amqp://", "amqps://"],
    wanted: "a URI that begins with amqp:// or amqps://",
    default_port: "5672",
    tail: "/%2f",
};

/// Looks up what the spec refers to.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn dereference(stack: &Stack, context: &Context) -> Result<Found, DereferenceError> {
    let services = &stack.spec.services;
    let logger = services.logger.is_enabled();
    let events = services.broker.is_enabled() || services.listener.is_enabled();
    let lookup = Lookup { context, namespace: stack.namespace().unwrap_or_default() };
    let stores = &stack.spec.stores;
    let passwordless = context.installation.stores.mongodb.flavour == Flavour::FerretDb;
    Ok(Found {
        elder: context.cache.elder(stack),
        mongodb: lookup
            .store(MONGODB, stores.mongodb.as_ref(), logger, passwordless, &MONGODB_SCHEME)
            .await?,
        rabbitmq: lookup.store(RABBITMQ, stores.rabbitmq.as_ref(), events, false, &AMQP_SCHEME).await?,
    })
}

struct Lookup<'a> {
    context: &'a Context,
    namespace: String,
}

impl Lookup<'_> {
    async fn store(
        &self,
        name: &'static str,
        spec: Option<&Store>,
        needed: bool,
        passwordless: bool,
        scheme: &Scheme,
    ) -> Result<FoundStore, DereferenceError> {
        match spec {
            None if !needed => Ok(FoundStore::Unused),
            None | Some(Store { managed: Some(_), external: None }) => {
                self.credentials(name, passwordless).await.map(FoundStore::Managed)
            }
            Some(Store { managed: None, external: Some(external) }) => {
                self.connection(&external.secret_ref, scheme).await.map(FoundStore::External)
            }
            Some(_) => Ok(FoundStore::NotOne),
        }
    }

    /// What is not in the cache may be there all the same: only the API server's own word makes a new password.
    async fn credentials(&self, store: &str, passwordless: bool) -> Result<Credentials, DereferenceError> {
        if let Some(digest) = self.context.cache.secret(&self.namespace, store) {
            return Ok(Credentials::Kept(digest));
        }
        let client = || self.context.client.clone();
        let secret = Api::<SecretView>::namespaced(client(), &self.namespace).get_opt(store).await;
        if let Some(secret) = secret.map_err(read("Secret", store))? {
            return Ok(Credentials::Kept(secret.data));
        }
        let claim = names::claim(store);
        let found = Api::<PersistentVolumeClaim>::namespaced(client(), &self.namespace)
            .get_metadata_opt(&claim)
            .await;
        match found.map_err(read("PersistentVolumeClaim", &claim))? {
            Some(_) if !passwordless => Ok(Credentials::Lost { claim }),
            _ => Ok(Credentials::Fresh((self.context.password)())),
        }
    }

    async fn connection(
        &self,
        reference: &SecretRef,
        scheme: &Scheme,
    ) -> Result<Result<Connection, SecretProblem>, DereferenceError> {
        let SecretRef { name, key } = reference;
        let found =
            Api::<Secret>::namespaced(self.context.client.clone(), &self.namespace).get_opt(name).await;
        let Some(secret) = found.map_err(read("Secret", name))? else {
            return Ok(Err(SecretProblem::Missing { name: name.clone() }));
        };
        Ok(connection(name, key.as_deref(), &secret.data.unwrap_or_default(), scheme))
    }
}

fn read(kind: &'static str, name: &str) -> impl FnOnce(kube::Error) -> DereferenceError {
    let name = name.to_owned();
    move |source| DereferenceError::Read { kind, name, source }
}

fn connection(
    name: &str,
    key: Option<&str>,
    data: &BTreeMap<String, ByteString>,
    scheme: &Scheme,
) -> Result<Connection, SecretProblem> {
    let key = match key {
        Some(key) if data.contains_key(key) => Some(key),
        Some(key) => return Err(SecretProblem::NoKey { name: name.to_owned(), key: key.to_owned() }),
        None => ["uri", "connection_string"].into_iter().find(|key| data.contains_key(*key)),
    };
    let Some(key) = key else { return made(name, data, scheme) };
    let value = data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default();
    let rest = scheme.prefixes.iter().find_map(|prefix| value.strip_prefix(prefix));
    if rest.is_none_or(|rest| rest.trim().is_empty()) {
        return Err(SecretProblem::Malformed {
            name: name.to_owned(),
            key: key.to_owned(),
            wanted: scheme.wanted,
        });
    }
    let digest = ContentDigest::of([(&key.to_owned(), &value)]);
    Ok(Connection::Key { secret: name.to_owned(), key: key.to_owned(), digest })
}

fn made(
    name: &str,
    data: &BTreeMap<String, ByteString>,
    scheme: &Scheme,
) -> Result<Connection, SecretProblem> {
    let part = |key: &'static str| match data.get(key) {
        Some(value) if !value.0.is_empty() => match std::str::from_utf8(&value.0) {
            Ok(text) => Ok(text.trim_end_matches('\n')),
            Err(_) => {
                Err(SecretProblem::Malformed { name: name.to_owned(), key: key.to_owned(), wanted: "UTF-8" })
            }
        },
        _ => Err(SecretProblem::NoParts { name: name.to_owned(), missing: key }),
    };
    let (host, username, password) = (part("host")?, part("username")?, part("password")?);
    let port = if data.contains_key("port") { part("port")? } else { scheme.default_port };
    if port.parse::<u16>().is_err() {
        let wanted = "a port, 1 to 65535";
        return Err(SecretProblem::Malformed { name: name.to_owned(), key: "port".to_owned(), wanted });
    }
    let uri = format!(
        "{}{}:{}@{host}:{port}{}",
        scheme.prefixes[0],
        escape(username),
        escape(password),
        scheme.tail
    );
    Ok(Connection::Made { uri })
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// The port that a managed MongoDB listens on, as its URI has it.
pub fn mongodb_uri(flavour: Flavour, username: &str, password: &str, host: &str) -> String {
    match flavour {
        Flavour::MongoDb => {
            format!(
                "mongodb://{}:{}@{host}:{MONGODB_PORT}/?authSource=admin",
                escape(username),
                escape(password)
            )
        }
        Flavour::FerretDb => format!("mongodb://{host}:{MONGODB_PORT}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, ByteString> {
        entries.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).into()
    }

    fn key_of(result: Result<Connection, SecretProblem>) -> String {
        match result.unwrap() {
            Connection::Key { key, .. } => key,
            Connection::Made { uri } => uri,
        }
    }

    #[test]
    fn a_uri_goes_before_a_connection_string_before_parts() {
        let parts = [("host", "db"), ("username", "u"), ("password", "p@ss/word")];
        let with = |more: &[(&str, &str)]| {
            let mut data = secret(parts);
            data.extend(more.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))));
            key_of(connection("s", None, &data, &MONGODB_SCHEME))
        };
        assert_eq!(with(&[("uri", "mongodb://a"), ("connection_string", "mongodb://b")]), "uri");
        assert_eq!(with(&[("connection_string", "mongodb+srv://b")]), "connection_string");
        assert_eq!(with(&[("port", "27018")]), "mongodb://u:p%40ss%2Fword@db:27018/");
        assert_eq!(with(&[]), "mongodb://u:p%40ss%2Fword@db:27017/");
        let amqp = connection("s", None, &secret(parts), &AMQP_SCHEME);
        assert_eq!(key_of(amqp), "amqp://u:p%40ss%2Fword@db:5672/%2f");
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_with_its_key() {
        let check = |key, data| connection("my-mongo", key, &data, &MONGODB_SCHEME).unwrap_err().to_string();
        assert_eq!(check(Some("dsn"), secret([("uri", "mongodb://a")])), "Secret my-mongo has no key dsn");
        for wrong in ["", "mongodb://", "postgres://a", "mongodb:// \n"] {
            let said = check(None, secret([("uri", wrong)]));
            assert!(said.contains("key uri of Secret my-mongo"), "{wrong:?}: {said}");
        }
        assert!(check(None, secret([("host", "db"), ("username", "u")])).contains("lacks password"));
        let port = secret([("host", "db"), ("username", "u"), ("password", "p"), ("port", "99999")]);
        assert!(check(None, port).contains("key port"));
    }
}
