//! How an external store is reached, from what its Secret holds.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::SecretProblem;
use crate::installation::Flavour;
use crate::names::MONGODB_PORT;
use crate::reconcile::validate::Connection;
use crate::view::ContentDigest;

/// How URIs of a store look.
pub(super) struct Scheme {
    prefixes: &'static [&'static str],
    wanted: &'static str,
    default_port: &'static str,
    /// What stands behind the port.
    tail: &'static str,
    /// The key, if there may be one, whose value goes behind the tail.
    database: Option<&'static str>,
}

pub(super) const MONGODB_SCHEME: Scheme = Scheme {
    prefixes: &["mongodb://", "mongodb+srv://"],
    wanted: "a URI that begins with mongodb:// or mongodb+srv://",
    default_port: "27017",
    tail: "/",
    database: None,
};
pub(super) const AMQP_SCHEME: Scheme = Scheme {
    prefixes: &["amqp://", "amqps://"],
    wanted: "a URI that begins with amqp:// or amqps://",
    default_port: "5672",
    tail: "/%2f",
    database: None,
};
pub(super) const POSTGRES_SCHEME: Scheme = Scheme {
    prefixes: &["postgres://", "postgresql://"],
    wanted: "a URI that begins with postgres:// or postgresql://",
    default_port: "5432",
    tail: "/",
    database: Some("dbname"),
};

pub(super) fn connection(
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
    let database = match scheme.database {
        Some(key) if data.contains_key(key) => escape(part(key)?),
        _ => String::new(),
    };
    let uri = format!(
        "{}{}:{}@{host}:{port}{}{database}",
        scheme.prefixes[0],
        escape(username),
        escape(password),
        scheme.tail
    );
    Ok(Connection::Made { uri })
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn escape(text: &str) -> String {
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
        let mut people = secret(parts);
        let postgres = |data: &BTreeMap<_, _>| key_of(connection("s", None, data, &POSTGRES_SCHEME));
        assert_eq!(postgres(&people), "postgres://u:p%40ss%2Fword@db:5432/");
        people.extend(secret([("dbname", "people")]));
        assert_eq!(postgres(&people), "postgres://u:p%40ss%2Fword@db:5432/people");
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
