//! Connection Secrets: username, password, host, port and uri, as clients and other operators expect them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use weft_operator_api::Moment;

use super::meta;
use crate::names;
use crate::reconcile::dereference::Login;
use crate::reconcile::validate::{Connection, Validated};
use crate::view::ContentDigest;

/// The first user of a managed store's service, and the name of PostgreSQL's database whichever user comes later.
pub(super) const USERNAME: &str = "weft";

/// A user of a managed store, the request that it was made for, and what gave it its rights.
#[derive(Clone, Copy, Default)]
pub(super) struct User<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    pub(super) rotated_at: Option<&'a str>,
    pub(super) granted_by: Option<&'a str>,
    pub(super) granted_on: Option<&'a str>,
}

impl<'a> User<'a> {
    /// The first one of the service: it need not be rotated to what was asked for before. It has no rights yet, which also tells it
    /// from the superuser that an earlier operator gave to the service.
    pub(super) fn first(password: &'a str, rotated_at: Option<&'a Moment>) -> Self {
        let rotated_at = rotated_at.map(|moment| moment.0.as_str());
        Self { username: USERNAME, password, rotated_at, granted_by: Some(""), ..Self::default() }
    }

    pub(super) fn superuser(login: &'a Login) -> Self {
        Self { username: &login.username, password: &login.password, ..Self::default() }
    }
}

/// How a managed store is reached.
pub(super) struct Access<'a> {
    pub(super) user: User<'a>,
    pub(super) host: &'a str,
    pub(super) port: i32,
    pub(super) uri: &'a str,
}

/// A Secret that opens a managed store's data.
pub(super) fn data(stack: &Validated, name: &str, access: &Access<'_>) -> Secret {
    let Access { user, host, port, uri } = access;
    let User { username, password, .. } = user;
    let port = port.to_string();
    let entries =
        [("username", *username), ("password", password), ("host", host), ("port", &port), ("uri", uri)];
    opaque(made_for(data_meta(stack, name), user), bytes(&entries))
}

/// The Secret of a managed store's next user, and whose place it takes.
pub(super) fn next(stack: &Validated, store: &str, user: &User<'_>, former: &str) -> Secret {
    let User { username, password, .. } = user;
    let metadata = data_meta(stack, &names::next_secret(store));
    let entries = [("username", *username), ("password", password), ("former", former)];
    opaque(made_for(metadata, user), bytes(&entries))
}

fn made_for(metadata: ObjectMeta, user: &User<'_>) -> ObjectMeta {
    let told = [
        (names::ROTATED_AT, user.rotated_at),
        (names::GRANTED_BY, user.granted_by),
        (names::GRANTED_ON, user.granted_on),
    ];
    let told = told.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    let annotations: BTreeMap<_, _> = told.collect();
    ObjectMeta { annotations: (!annotations.is_empty()).then_some(annotations), ..metadata }
}

/// The Secret that tells whom to sign in as.
pub(super) fn admin(stack: &Validated, name: &str, email: &str, password: &str) -> Secret {
    opaque(data_meta(stack, name), bytes(&[("email", email), ("password", password)]))
}

/// The Secret with the keys that authentication encrypts its signing keys with.
pub(super) fn encryption(stack: &Validated, key: &str) -> Secret {
    let data = bytes(&[(names::ENCRYPTION_KEYS, key)]);
    opaque(data_meta(stack, names::ENCRYPTION_SECRET), data)
}

fn data_meta(stack: &Validated, name: &str) -> ObjectMeta {
    let mut metadata = meta::data(stack, name);
    metadata.labels.get_or_insert_default().insert(names::DATA.to_owned(), "true".to_owned());
    metadata
}

fn opaque(metadata: ObjectMeta, data: BTreeMap<String, ByteString>) -> Secret {
    Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

/// Where a service's pod finds a URI, and the Secret to make for it, if any.
pub(super) struct UriSource {
    pub(super) secret: String,
    pub(super) key: String,
    pub(super) digest: ContentDigest,
}

/// Where the URI of an external store is found.
pub(super) fn external(
    stack: &Validated,
    store: &str,
    connection: &Connection,
) -> (UriSource, Option<Secret>) {
    match connection {
        Connection::Key { secret, key, digest } => {
            (UriSource { secret: secret.clone(), key: key.clone(), digest: digest.clone() }, None)
        }
        Connection::Made { uri } => {
            let name = format!("{store}-external");
            let data = bytes(&[("uri", uri)]);
            let source = UriSource { secret: name.clone(), key: "uri".to_owned(), digest: digest(&data) };
            (source, Some(opaque(meta::owned(stack, &name), data)))
        }
    }
}

/// What a Secret's content is told apart by.
pub(super) fn digest(data: &BTreeMap<String, ByteString>) -> ContentDigest {
    ContentDigest::of(data.iter().map(|(key, value)| (key, &value.0)))
}

fn bytes(entries: &[(&str, &str)]) -> BTreeMap<String, ByteString> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}
