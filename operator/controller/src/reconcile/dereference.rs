//! What a spec refers to, looked up: other Stacks in the namespace, Secrets, ConfigMaps, volumes.

mod connection;
mod inputs;
mod life;
mod people;
mod rotation;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt as _};
use weft_operator_api::{ConditionStatus, ManagedStore, SecretRef, Services, Stack, Store, Stores};

use super::status::{NOT_AUTHENTICATED, store_condition};
use super::validate::Connection;
use crate::context::Context;
use crate::installation::{Flavour, Images};
use crate::names::{self, DATA, MONGODB, POSTGRES, RABBITMQ, STACK};
use crate::view::{ContentDigest, JobState};
use connection::{AMQP_SCHEME, MONGODB_SCHEME, POSTGRES_SCHEME, Scheme, connection};

pub(crate) use connection::escape;
pub use connection::mongodb_uri;
pub use inputs::FoundInputs;
pub use life::{FoundLife, Left, NoteOn};
pub use rotation::{FoundNext, FoundRotation, Holder, NewUser};

/// What was found around a Stack.
#[derive(Clone, Debug)]
pub struct Found {
    /// The Stack that was in the namespace before this one.
    pub elder: Option<String>,
    pub mongodb: FoundStore,
    pub rabbitmq: FoundStore,
    pub postgres: FoundStore,
    pub smtp: FoundSmtp,
    pub templates: FoundTemplates,
    pub admin: FoundAdmin,
    pub encryption: FoundEncryption,
    /// What workloads take their environment from.
    pub inputs: FoundInputs,
    /// How the Jobs in the namespace stand that are the operator's.
    pub jobs: BTreeMap<String, JobState>,
    pub life: FoundLife,
}

/// What was found of a store.
#[derive(Clone, Debug)]
pub enum FoundStore {
    /// Nobody asks for it.
    Unused,
    /// The spec asks for both kinds, or none.
    NotOne,
    Managed {
        credentials: Credentials,
        /// The superuser to write down now.
        superuser: Option<Login>,
    },
    External(Result<Connection, SecretProblem>),
}

/// The password of a managed store.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// It was made before.
    Kept(ContentDigest),
    /// It was made before, and another user shall take its place.
    Rotating(Box<FoundRotation>),
    /// There is none: this may become it.
    Fresh(String),
    /// The Secret is missing, but there is data that it opens.
    Lost { secret: String, claim: String },
    /// A Secret of this name is there, and is not the one that the operator made.
    Unusable(SecretProblem),
}

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: String,
}

/// The superuser that a store is made with.
const SUPERUSER: &str = "weft_admin";

/// What was found of the place where mail is handed in.
#[derive(Clone, Debug)]
pub enum FoundSmtp {
    /// Nobody sends mail.
    Unused,
    /// The spec asks for both kinds, or none.
    NotOne,
    Catcher,
    /// What the Secret holds, when one is named.
    External(Result<Option<ContentDigest>, SecretProblem>),
}

/// What was found of the templates.
#[derive(Clone, Debug)]
pub enum FoundTemplates {
    /// None are named, or nobody reads them.
    Unused,
    Kept {
        config_map: String,
        digest: ContentDigest,
    },
    Missing {
        config_map: String,
    },
}

/// What was found of the first user.
#[derive(Clone, Debug)]
pub enum FoundAdmin {
    /// Nobody signs in.
    Unused,
    Kept {
        secret: String,
        digest: ContentDigest,
    },
    /// There is no Secret: this may become its password.
    Fresh(String),
    /// There is no Secret, but users or data from before. `reported`: authentication had a user.
    Gone {
        reported: bool,
    },
    Wrong(SecretProblem),
}

/// What was found of the keys that authentication encrypts its signing keys with.
#[derive(Clone, Debug)]
pub enum FoundEncryption {
    /// Authentication does not run.
    Unused,
    Kept(ContentDigest),
    /// There is no Secret: this may become its key. One that is lost is made again, since it opens nothing that can't be made again.
    Fresh(String),
    Wrong(SecretProblem),
}

/// What is wrong with a Secret that a Stack names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretProblem {
    #[error("Secret {name} does not exist in this namespace; the Stack goes on when it does")]
    Missing { name: String },
    #[error("Secret {name} does not have the labels {DATA} and {STACK}")]
    NotOurs { name: String },
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

/// Looks up what the spec refers to.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn dereference(stack: &Stack, context: &Context) -> Result<Found, DereferenceError> {
    let Services { broker, logger, listener, authentication, mail, frontend: _ } = &stack.spec.services;
    let Stores { mongodb, rabbitmq, postgres, smtp } = &stack.spec.stores;
    let events = broker.is_enabled() || listener.is_enabled();
    let lookup = Lookup { context, namespace: stack.namespace().unwrap_or_default() };
    let passwordless = context.installation.stores.mongodb.flavour == Flavour::FerretDb;
    let images = context.installation.versions.get(&stack.spec.version);
    let asked = |store, spec, needed, image: fn(&Images) -> &String| {
        let condition = stack.status.as_ref().and_then(|status| status.condition(store_condition(store)));
        let is_usable = condition.is_some_and(|condition| condition.status == ConditionStatus::True);
        let is_refused = condition.is_some_and(|condition| condition.reason == NOT_AUTHENTICATED);
        let image = images.map(|images| image(images).as_str());
        Asked { name: store, spec, needed, image, is_usable, is_refused }
    };
    let entries = asked(MONGODB, mongodb.as_ref(), logger.is_enabled(), |images| &images.logger);
    let queues = asked(RABBITMQ, rabbitmq.as_ref(), events, |images| &images.listener);
    let users =
        asked(POSTGRES, postgres.as_ref(), authentication.is_enabled(), |images| &images.authentication);
    let sends = mail.is_enabled();
    Ok(Found {
        elder: context.cache.elder(stack),
        mongodb: lookup.store(entries, passwordless, &MONGODB_SCHEME).await?,
        rabbitmq: lookup.store(queues, false, &AMQP_SCHEME).await?,
        postgres: lookup.store(users, false, &POSTGRES_SCHEME).await?,
        smtp: lookup.smtp(smtp.as_ref(), sends).await?,
        templates: lookup.templates(stack.spec.mail.as_ref(), sends).await?,
        admin: lookup.admin(stack).await?,
        encryption: lookup.encryption(stack).await?,
        inputs: lookup.inputs(&stack.spec.workloads).await?,
        jobs: lookup.jobs(),
        life: lookup.life(stack, [entries, queues, users]).await?,
    })
}

/// A store, as the spec asks for it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'static str,
    spec: Option<&'a Store>,
    /// Something that uses it runs.
    needed: bool,
    /// What changes its users, if the Stack's version is known.
    image: Option<&'a str>,
    /// The status says that its service can use it.
    is_usable: bool,
    /// The status says that it does not take the service's credentials.
    is_refused: bool,
}

impl Asked<'_> {
    /// The request for new credentials.
    fn rotated_at(&self) -> Option<&str> {
        let ManagedStore { rotated_at, .. } = self.spec?.managed.as_ref()?;
        rotated_at.as_ref().map(|moment| moment.0.as_str())
    }
}

struct Lookup<'a> {
    context: &'a Context,
    namespace: String,
}

impl Lookup<'_> {
    async fn store(
        &self,
        asked: Asked<'_>,
        passwordless: bool,
        scheme: &Scheme,
    ) -> Result<FoundStore, DereferenceError> {
        match asked.spec {
            None if !asked.needed => Ok(FoundStore::Unused),
            None | Some(Store { managed: Some(_), external: None }) => {
                self.credentials(asked, passwordless).await
            }
            Some(Store { managed: None, external: Some(external) }) => {
                self.connection(&external.secret_ref, scheme).await.map(FoundStore::External)
            }
            Some(_) => Ok(FoundStore::NotOne),
        }
    }

    /// What is not in the cache may be there all the same: only the API server's own word makes a new password.
    async fn credentials(
        &self,
        asked: Asked<'_>,
        passwordless: bool,
    ) -> Result<FoundStore, DereferenceError> {
        let store = asked.name;
        if let Some(digest) = self.settled(asked, passwordless) {
            return Ok(managed(Credentials::Kept(digest), None));
        }
        let fresh = || (self.context.password)();
        let holder = self.secret(store).await?.map(Holder::of);
        if passwordless {
            let kept = holder.map(|holder| Credentials::Kept(holder.digest));
            return Ok(managed(kept.unwrap_or_else(|| Credentials::Fresh(fresh())), None));
        }
        let superuser = names::superuser_secret(store);
        let superuser_holder = self.secret(&superuser).await?;
        let superuser_holder = match superuser_holder.map(Holder::of_superuser).transpose() {
            Ok(holder) => holder,
            Err(problem) => return Ok(managed(Credentials::Unusable(problem), None)),
        };
        let claim = names::claim(store);
        let volume = self.volume(&claim).await?.map(|claim| claim.uid.unwrap_or_default());
        let new_superuser = || Login { username: SUPERUSER.to_owned(), password: fresh() };
        Ok(match (holder, superuser_holder) {
            (Some(holder), Some(superuser)) => {
                managed(self.rotation(asked, holder, superuser.username, volume).await?, None)
            }
            // An earlier operator made the service's user the superuser: it stays that, and the service gets another user.
            (Some(holder), None) if holder.granted_by.is_none() => {
                let Holder { username, password, digest, .. } = holder;
                managed(Credentials::Kept(digest), Some(Login { username, password }))
            }
            (Some(_), None) if volume.is_some() => {
                managed(Credentials::Lost { secret: superuser, claim }, None)
            }
            (Some(holder), None) => managed(Credentials::Kept(holder.digest), Some(new_superuser())),
            (None, _) if volume.is_some() => {
                managed(Credentials::Lost { secret: store.to_owned(), claim }, None)
            }
            (None, Some(_)) => managed(Credentials::Fresh(fresh()), None),
            (None, None) => managed(Credentials::Fresh(fresh()), Some(new_superuser())),
        })
    }

    /// A volume's claim.
    async fn volume(&self, claim: &str) -> Result<Option<ObjectMeta>, DereferenceError> {
        let api = Api::<PersistentVolumeClaim>::namespaced(self.context.client.clone(), &self.namespace);
        let found = api.get_metadata_opt(claim).await.map_err(read("PersistentVolumeClaim", claim))?;
        Ok(found.map(|claim| claim.metadata))
    }

    async fn connection(
        &self,
        reference: &SecretRef,
        scheme: &Scheme,
    ) -> Result<Result<Connection, SecretProblem>, DereferenceError> {
        let SecretRef { name, key } = reference;
        let Some(secret) = self.secret(name).await? else {
            return Ok(Err(SecretProblem::Missing { name: name.clone() }));
        };
        Ok(connection(name, key.as_deref(), &secret.data.unwrap_or_default(), scheme))
    }

    async fn secret(&self, name: &str) -> Result<Option<Secret>, DereferenceError> {
        let api = Api::<Secret>::namespaced(self.context.client.clone(), &self.namespace);
        api.get_opt(name).await.map_err(read("Secret", name))
    }
}

fn managed(credentials: Credentials, superuser: Option<Login>) -> FoundStore {
    FoundStore::Managed { credentials, superuser }
}

pub(super) fn read(kind: &'static str, name: &str) -> impl FnOnce(kube::Error) -> DereferenceError {
    let name = name.to_owned();
    move |source| DereferenceError::Read { kind, name, source }
}
