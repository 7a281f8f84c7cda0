//! From a spec and what was found around it to a Stack that can be built, or the reason why not. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use weft_operator_api::{Service, Stack, StackSpec, Store, Tracing};

use super::dereference::{Credentials, Found, FoundStore, SecretProblem};
use crate::installation::{Images, Installation, Jaeger, MongoDb, RabbitMq};
use crate::names::{self, JAEGER, MONGODB, OTLP_GRPC_PORT, RABBITMQ};
use crate::view::ContentDigest;

/// A Stack that can be built as it stands.
#[derive(Clone, Debug)]
pub struct Validated {
    pub namespace: String,
    pub name: String,
    pub owner: OwnerReference,
    pub version: String,
    pub broker: Option<Run>,
    pub logger: Option<Run>,
    pub listener: Option<Run>,
    pub mongodb: Option<StorePlan<MongoDb>>,
    pub rabbitmq: Option<StorePlan<RabbitMq>>,
    pub tracing: TracingPlan,
}

/// A service to run.
#[derive(Clone, Debug)]
pub struct Run {
    pub image: String,
    pub spec: Service,
}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum StorePlan<I> {
    Managed { installed: I, storage: String, credentials: Password },
    External(Connection),
}

/// A managed store's password.
#[derive(Clone, Debug)]
pub enum Password {
    /// It is in the Secret already; this is what the Secret holds.
    Kept(ContentDigest),
    /// To be written now.
    Fresh(String),
}

/// How an external store is reached.
#[derive(Clone, Debug)]
pub enum Connection {
    /// The URI stands in this key of this Secret.
    Key { secret: String, key: String, digest: ContentDigest },
    /// The URI was made from the Secret's parts.
    Made { uri: String },
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TracingPlan {
    pub endpoint: Option<String>,
    pub jaeger: Option<Jaeger>,
    pub ratio: f64,
    pub trust_incoming: bool,
}

/// Why nothing is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "there is one Stack in a namespace, and `{elder}` was here first: delete one of them, or move this one to \
         another namespace"
    )]
    ElderStack { elder: String },
    #[error("spec.version is `{wanted}`, which this operator was not installed with; it knows {known}")]
    UnknownVersion { wanted: String, known: String },
    #[error(
        "Secret {secret} is gone, but its volume {claim} is there, and a new password would not open it: restore \
         the Secret, or delete the PersistentVolumeClaim to start empty"
    )]
    CredentialsLost { secret: String, claim: String },
    #[error("spec.stores.{store}.external: {problem}")]
    Secret { store: &'static str, problem: SecretProblem },
    #[error("{field}: give exactly one of {choices}")]
    NotOne { field: &'static str, choices: &'static str },
    #[error("the operator can't read this Stack: {error}")]
    Unreadable { error: String },
}

impl Refusal {
    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ElderStack { .. } => "AnotherStackInNamespace",
            Self::UnknownVersion { .. } => "UnknownVersion",
            Self::CredentialsLost { .. } => "CredentialsLost",
            Self::Secret { problem: SecretProblem::Missing { .. }, .. } => "SecretMissing",
            Self::Secret { .. } => "SecretUnusable",
            Self::NotOne { .. } | Self::Unreadable { .. } => "InvalidSpec",
        }
    }

    /// The store that it is about.
    pub fn store(&self) -> Option<&str> {
        match self {
            Self::CredentialsLost { secret, .. } => Some(secret),
            Self::Secret { store, .. } => Some(store),
            Self::ElderStack { .. }
            | Self::UnknownVersion { .. }
            | Self::NotOne { .. }
            | Self::Unreadable { .. } => None,
        }
    }
}

/// Checks a Stack against what was found and what the operator was installed with.
///
/// # Errors
/// The first reason why it can't be built.
pub fn validate(stack: &Stack, found: Found, installation: &Installation) -> Result<Validated, Refusal> {
    let StackSpec { version, services, stores, tracing } = &stack.spec;
    let Found { elder, mongodb, rabbitmq } = found;
    if let Some(elder) = elder {
        return Err(Refusal::ElderStack { elder });
    }
    let Images { broker, logger, listener } = images(version, &installation.versions)?;
    let namespace = stack.namespace().unwrap_or_default();
    let run = |image: &String, spec: &Service| {
        spec.is_enabled().then(|| Run { image: image.clone(), spec: spec.clone() })
    };
    Ok(Validated {
        name: stack.name_any(),
        owner: stack.controller_owner_ref(&()).unwrap_or_default(),
        version: version.clone(),
        broker: run(broker, &services.broker),
        logger: run(logger, &services.logger),
        listener: run(listener, &services.listener),
        mongodb: store(MONGODB, stores.mongodb.as_ref(), mongodb, &installation.stores.mongodb)?,
        rabbitmq: store(RABBITMQ, stores.rabbitmq.as_ref(), rabbitmq, &installation.stores.rabbitmq)?,
        tracing: tracing_plan(tracing.as_ref(), &namespace, &installation.tracing.jaeger)?,
        namespace,
    })
}

fn images<'a>(version: &str, versions: &'a BTreeMap<String, Images>) -> Result<&'a Images, Refusal> {
    versions.get(version).ok_or_else(|| {
        let known = versions.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Refusal::UnknownVersion {
            wanted: version.to_owned(),
            known: if known.is_empty() { "none".into() } else { known },
        }
    })
}

fn store<I: Clone>(
    name: &'static str,
    spec: Option<&Store>,
    found: FoundStore,
    installed: &I,
) -> Result<Option<StorePlan<I>>, Refusal> {
    match found {
        FoundStore::Unused => Ok(None),
        FoundStore::NotOne => {
            let field = if name == MONGODB { "spec.stores.mongodb" } else { "spec.stores.rabbitmq" };
            Err(Refusal::NotOne { field, choices: "managed and external" })
        }
        FoundStore::External(Ok(connection)) => Ok(Some(StorePlan::External(connection))),
        FoundStore::External(Err(problem)) => Err(Refusal::Secret { store: name, problem }),
        FoundStore::Managed(credentials) => {
            let managed = spec.and_then(|store| store.managed.clone()).unwrap_or_default();
            let credentials = match credentials {
                Credentials::Kept(digest) => Password::Kept(digest),
                Credentials::Fresh(password) => Password::Fresh(password),
                Credentials::Lost { claim } => {
                    return Err(Refusal::CredentialsLost { secret: name.to_owned(), claim });
                }
            };
            Ok(Some(StorePlan::Managed {
                installed: installed.clone(),
                storage: managed.storage.0,
                credentials,
            }))
        }
    }
}

fn tracing_plan(spec: Option<&Tracing>, namespace: &str, jaeger: &Jaeger) -> Result<TracingPlan, Refusal> {
    let Some(Tracing { managed, otlp, ratio, trust_incoming }) = spec else {
        return Ok(TracingPlan { endpoint: None, jaeger: None, ratio: 1.0, trust_incoming: false });
    };
    let (endpoint, jaeger) = match (managed, otlp) {
        (Some(_), None) => {
            (format!("http://{}:{OTLP_GRPC_PORT}", names::host(JAEGER, namespace)), Some(jaeger.clone()))
        }
        (None, Some(otlp)) => (otlp.endpoint.clone(), None),
        _ => return Err(Refusal::NotOne { field: "spec.tracing", choices: "managed and otlp" }),
    };
    Ok(TracingPlan {
        endpoint: Some(endpoint),
        jaeger,
        ratio: ratio.unwrap_or(1.0),
        trust_incoming: trust_incoming.unwrap_or(false),
    })
}
