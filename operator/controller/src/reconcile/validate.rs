//! From a spec and what was found around it to a Stack that can be built, or the reason why not. Pure.

mod edge;
mod life;
mod refusal;
mod rotation;
mod workloads;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use weft_operator_api::{
    Admin, Encryption, Expose, ExternalSmtp, Mail, Moment, Route, Service, Smtp, Stack, StackSpec, Store,
    Tracing,
};

use super::dereference::{
    Credentials, Found, FoundAdmin, FoundEncryption, FoundSmtp, FoundStore, FoundTemplates, Login,
};
use crate::installation::{Flavour, Images, Installation, Jaeger, MailCatcher, MongoDb, Postgres, RabbitMq};
use crate::names::{self, JAEGER, JAEGER_QUERY_PORT, MONGODB, OTLP_GRPC_PORT, POSTGRES, RABBITMQ, SMTP};
use crate::view::{ContentDigest, JobState};

pub use edge::EdgePlan;
pub use life::{LifePlan, Wave};
pub use refusal::Refusal;
pub use rotation::{Rotation, RotationStep};
pub use workloads::WorkloadPlan;

/// A Stack that can be built as it stands.
#[derive(Clone, Debug)]
pub struct Validated {
    pub namespace: String,
    pub name: String,
    pub owner: OwnerReference,
    /// Of the spec that was read.
    pub generation: Option<i64>,
    pub version: String,
    pub broker: Option<Run>,
    pub logger: Option<Run>,
    pub listener: Option<Run>,
    pub authentication: Option<Run>,
    pub mail: Option<Run>,
    pub frontend: Option<Run>,
    pub mongodb: Option<StorePlan<MongoDb>>,
    pub rabbitmq: Option<StorePlan<RabbitMq>>,
    pub postgres: Option<StorePlan<Postgres>>,
    pub smtp: Option<SmtpPlan>,
    pub sender: Sender,
    pub templates: Option<Templates>,
    pub first_user: FirstUser,
    /// What authentication encrypts its signing keys with.
    pub encryption: Option<EncryptionKeys>,
    pub edge: EdgePlan,
    pub tracing: TracingPlan,
    pub life: LifePlan,
    /// Secrets that open the registries of all images.
    pub pull_secrets: Vec<String>,
    /// How Jobs of the operator's stand.
    pub jobs: BTreeMap<String, JobState>,
    pub workloads: Vec<WorkloadPlan>,
    pub routes: Vec<Route>,
    pub expose: Option<Expose>,
    pub network_policies: bool,
    /// Where the operator calls from.
    pub operator_namespace: Option<String>,
    pub monitoring_namespaces: Vec<String>,
}

impl Validated {
    /// True when MongoDB is run by the operator and knows no passwords.
    pub fn is_passwordless(&self) -> bool {
        let Some(StorePlan::Managed { installed, .. }) = &self.mongodb else { return false };
        installed.flavour == Flavour::FerretDb
    }

    /// The managed stores that have no data, or other data than when their users got their rights.
    pub fn new_stores(&self) -> Vec<&'static str> {
        fn is_new<I>(store: &Option<StorePlan<I>>) -> bool {
            let Some(StorePlan::Managed { credentials, rotation, .. }) = store else { return false };
            matches!(credentials, Password::Fresh(_)) || rotation.as_ref().is_some_and(|one| one.is_moved)
        }
        let Self { mongodb, rabbitmq, postgres, .. } = self;
        let all = [(MONGODB, is_new(mongodb)), (RABBITMQ, is_new(rabbitmq)), (POSTGRES, is_new(postgres))];
        all.into_iter().filter(|(_, is_new)| *is_new).map(|(name, _)| name).collect()
    }
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
    Managed {
        installed: I,
        storage: String,
        /// Of the service.
        credentials: Password,
        /// To be written now: who made the store and changes its users.
        superuser: Option<Login>,
        restarted_at: Option<Moment>,
        /// The last request for new credentials.
        rotated_at: Option<Moment>,
        /// What is to be done for it.
        rotation: Option<Box<Rotation>>,
    },
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

/// Where mail is handed in.
#[derive(Clone, Debug)]
pub enum SmtpPlan {
    Catcher(MailCatcher),
    External {
        host: String,
        port: i32,
        encryption: Encryption,
        /// The Secret with username and password, and what it holds.
        secret: Option<(String, ContentDigest)>,
    },
}

/// Whom mail comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub name: String,
    pub address: String,
}

/// A ConfigMap of templates, and what it holds.
#[derive(Clone, Debug)]
pub struct Templates {
    pub config_map: String,
    pub digest: ContentDigest,
}

/// The first user, an admin.
#[derive(Clone, Debug)]
pub enum FirstUser {
    /// Nobody signs in.
    Unused,
    /// Authentication creates it, unless it has it.
    Wanted(AdminPlan),
    /// It is not created: its Secret is missing, and there are users or data from before. `reported`: authentication had a user.
    Gone { reported: bool },
}

/// Where the first user's email and password are.
#[derive(Clone, Debug)]
pub struct AdminPlan {
    pub secret: String,
    pub credentials: AdminCredentials,
}

#[derive(Clone, Debug)]
pub enum AdminCredentials {
    /// In the Secret already; this is what it holds.
    Kept(ContentDigest),
    /// To be written now.
    Fresh { email: String, password: String },
}

/// The keys that authentication encrypts its signing keys with.
#[derive(Clone, Debug)]
pub enum EncryptionKeys {
    /// In the Secret already; this is what it holds.
    Kept(ContentDigest),
    /// To be written now.
    Fresh(String),
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TracingPlan {
    pub endpoint: Option<String>,
    /// Where traces can be read, if we know.
    pub query: Option<String>,
    pub jaeger: Option<Jaeger>,
    pub ratio: f64,
    pub trust_incoming: bool,
}

/// Of mail whose Stack says nothing of whom it comes from.
const SENDER: &str = "no-reply@example.com";

/// Checks a Stack against what was found and what the operator was installed with.
///
/// # Errors
/// The first reason why it can't be built.
pub fn validate(stack: &Stack, found: Found, installation: &Installation) -> Result<Validated, Refusal> {
    let StackSpec { version, services, stores, tracing, mail, admin, .. } = &stack.spec;
    let Found {
        elder,
        mongodb,
        rabbitmq,
        postgres,
        smtp,
        templates,
        admin: found_admin,
        encryption,
        life,
        inputs,
        jobs,
    } = found;
    if let Some(elder) = elder {
        return Err(Refusal::ElderStack { elder });
    }
    if let Some(left) = life.left {
        return Err(Refusal::DataLeftBehind { store: left.store, kind: left.kind });
    }
    let images = images(version, &installation.versions)?;
    let (name, namespace) = (stack.name_any(), stack.namespace().unwrap_or_default());
    let run = |image: &String, spec: &Service| {
        spec.is_enabled().then(|| Run { image: image.clone(), spec: spec.clone() })
    };
    let installed = &installation.stores;
    let owner = |image: &String, spec: &Service| Run { image: image.clone(), spec: spec.clone() };
    let [entries, queues, users] = [
        owner(&images.logger, &services.logger),
        owner(&images.listener, &services.listener),
        owner(&images.authentication, &services.authentication),
    ];
    Ok(Validated {
        owner: stack.controller_owner_ref(&()).unwrap_or_default(),
        generation: stack.metadata.generation,
        version: version.clone(),
        broker: run(&images.broker, &services.broker),
        logger: run(&images.logger, &services.logger),
        listener: run(&images.listener, &services.listener),
        authentication: run(&images.authentication, &services.authentication),
        mail: run(&images.mail, &services.mail),
        frontend: run(&images.frontend, &services.frontend),
        mongodb: store(&name, MONGODB, stores.mongodb.as_ref(), mongodb, &installed.mongodb, entries)?,
        rabbitmq: store(&name, RABBITMQ, stores.rabbitmq.as_ref(), rabbitmq, &installed.rabbitmq, queues)?,
        postgres: store(&name, POSTGRES, stores.postgres.as_ref(), postgres, &installed.postgres, users)?,
        smtp: smtp_plan(stores.smtp.as_ref(), smtp, &installed.mailcatcher)?,
        sender: sender(&name, mail.as_ref(), stores.smtp.as_ref())?,
        templates: templates_plan(templates)?,
        first_user: first_user(&name, admin.as_ref(), found_admin)?,
        encryption: encryption_keys(encryption)?,
        edge: edge::edge(&stack.spec)?,
        tracing: tracing_plan(tracing.as_ref(), &namespace, &installation.tracing.jaeger)?,
        life: life::life(stack, &life.running, life.notes),
        pull_secrets: installation.pull_secrets.clone(),
        jobs,
        workloads: workloads::workloads(&stack.spec, &inputs)?,
        routes: stack.spec.routes.clone(),
        expose: stack.spec.expose.clone(),
        network_policies: stack.spec.network_policies.unwrap_or(true),
        operator_namespace: installation.namespace.clone(),
        monitoring_namespaces: installation.monitoring_namespaces.clone(),
        name,
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
    stack: &str,
    name: &'static str,
    spec: Option<&Store>,
    found: FoundStore,
    installed: &I,
    owner: Run,
) -> Result<Option<StorePlan<I>>, Refusal> {
    match found {
        FoundStore::Unused => Ok(None),
        FoundStore::NotOne => {
            Err(Refusal::NotOne { field: format!("spec.stores.{name}"), choices: "managed and external" })
        }
        FoundStore::External(Ok(connection)) => Ok(Some(StorePlan::External(connection))),
        FoundStore::External(Err(problem)) => Err(Refusal::Secret { store: name, problem }),
        FoundStore::Managed { credentials, superuser } => {
            let managed = spec.and_then(|store| store.managed.clone()).unwrap_or_default();
            let (mut step, mut volume, mut is_moved) =
                (superuser.is_some().then_some(RotationStep::Written), None, false);
            let credentials = match credentials {
                Credentials::Kept(digest) => Password::Kept(digest),
                Credentials::Rotating(found) => {
                    let digest = found.holder.digest.clone();
                    volume = found.volume.clone();
                    is_moved = found.holder.granted_on.is_some() && found.holder.granted_on != volume;
                    step = Some(rotation::step(stack, *found));
                    Password::Kept(digest)
                }
                Credentials::Fresh(password) => Password::Fresh(password),
                Credentials::Lost { secret, claim } => {
                    return Err(Refusal::CredentialsLost { store: name, secret, claim });
                }
                Credentials::Unusable(problem) => {
                    return Err(Refusal::Superuser { store: name, problem });
                }
            };
            Ok(Some(StorePlan::Managed {
                installed: installed.clone(),
                storage: managed.storage.0,
                credentials,
                superuser,
                restarted_at: managed.restarted_at,
                rotated_at: managed.rotated_at,
                rotation: step.map(|step| Box::new(Rotation { step, owner, volume, is_moved })),
            }))
        }
    }
}

fn smtp_plan(
    spec: Option<&Smtp>,
    found: FoundSmtp,
    installed: &MailCatcher,
) -> Result<Option<SmtpPlan>, Refusal> {
    let external = spec.and_then(|smtp| smtp.external.as_ref());
    match (found, external) {
        (FoundSmtp::Unused, _) => Ok(None),
        (FoundSmtp::Catcher, _) => Ok(Some(SmtpPlan::Catcher(installed.clone()))),
        (FoundSmtp::External(Err(problem)), _) => Err(Refusal::Secret { store: SMTP, problem }),
        (FoundSmtp::External(Ok(digest)), Some(external)) => {
            let ExternalSmtp { host, port: _, encryption: _, secret_ref } = external;
            Ok(Some(SmtpPlan::External {
                host: host.clone(),
                port: external.port(),
                encryption: external.encryption(),
                secret: secret_ref.as_ref().map(|named| named.name.clone()).zip(digest),
            }))
        }
        (FoundSmtp::NotOne | FoundSmtp::External(Ok(_)), _) => {
            Err(Refusal::NotOne { field: format!("spec.stores.{SMTP}"), choices: "catcher and external" })
        }
    }
}

fn sender(stack: &str, mail: Option<&Mail>, smtp: Option<&Smtp>) -> Result<Sender, Refusal> {
    match mail.and_then(|mail| mail.from.as_ref()) {
        Some(from) => Ok(Sender {
            name: from.name.clone().unwrap_or_else(|| stack.to_owned()),
            address: from.address.clone(),
        }),
        // Nobody but a catcher takes mail from an address that is nobody's.
        None if smtp.is_some_and(|smtp| smtp.external.is_some()) => Err(Refusal::NoSender),
        None => Ok(Sender { name: stack.to_owned(), address: SENDER.to_owned() }),
    }
}

fn templates_plan(found: FoundTemplates) -> Result<Option<Templates>, Refusal> {
    match found {
        FoundTemplates::Unused => Ok(None),
        FoundTemplates::Kept { config_map, digest } => Ok(Some(Templates { config_map, digest })),
        FoundTemplates::Missing { config_map } => Err(Refusal::Templates { config_map }),
    }
}

fn first_user(stack: &str, spec: Option<&Admin>, found: FoundAdmin) -> Result<FirstUser, Refusal> {
    Ok(match found {
        FoundAdmin::Unused => FirstUser::Unused,
        FoundAdmin::Gone { reported } => FirstUser::Gone { reported },
        FoundAdmin::Wrong(problem) => return Err(Refusal::Admin { problem }),
        FoundAdmin::Kept { secret, digest } => {
            FirstUser::Wanted(AdminPlan { secret, credentials: AdminCredentials::Kept(digest) })
        }
        FoundAdmin::Fresh(password) => {
            let email = spec.and_then(|admin| admin.email.as_deref()).unwrap_or(Admin::EMAIL).to_owned();
            let credentials = AdminCredentials::Fresh { email, password };
            FirstUser::Wanted(AdminPlan { secret: names::admin_secret(stack), credentials })
        }
    })
}

fn encryption_keys(found: FoundEncryption) -> Result<Option<EncryptionKeys>, Refusal> {
    match found {
        FoundEncryption::Unused => Ok(None),
        FoundEncryption::Kept(digest) => Ok(Some(EncryptionKeys::Kept(digest))),
        FoundEncryption::Fresh(key) => Ok(Some(EncryptionKeys::Fresh(key))),
        FoundEncryption::Wrong(problem) => Err(Refusal::Encryption { problem }),
    }
}

fn tracing_plan(spec: Option<&Tracing>, namespace: &str, jaeger: &Jaeger) -> Result<TracingPlan, Refusal> {
    let Some(Tracing { managed, otlp, ratio, trust_incoming }) = spec else {
        return Ok(TracingPlan {
            endpoint: None,
            query: None,
            jaeger: None,
            ratio: 1.0,
            trust_incoming: false,
        });
    };
    let at = |port: i32| format!("http://{}:{port}", names::host(JAEGER, namespace));
    let (endpoint, query, jaeger) = match (managed, otlp) {
        (Some(_), None) => (at(OTLP_GRPC_PORT), Some(at(JAEGER_QUERY_PORT)), Some(jaeger.clone())),
        (None, Some(otlp)) => (otlp.endpoint.clone(), None, None),
        _ => {
            let field = "spec.tracing".to_owned();
            return Err(Refusal::NotOne { field, choices: "managed and otlp" });
        }
    };
    Ok(TracingPlan {
        endpoint: Some(endpoint),
        query,
        jaeger,
        ratio: ratio.unwrap_or(1.0),
        trust_incoming: trust_incoming.unwrap_or(false),
    })
}
