//! What is looked up for new credentials of a managed store: the Secret that opens it, that of its next user, the Jobs.
//!
//! A pass that finds nothing to change asks the cache alone. Once there is something, only the API server's own word counts: what
//! is decided by, and what the pods are built from, is one reading of one Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _};

use super::{Asked, Credentials, DereferenceError, Lookup, SecretProblem};
use crate::names::{self, DATA, GRANTED_BY, GRANTED_ON, ROTATED_AT, STACK};
use crate::reconcile::build::digest;
use crate::view::{ContentDigest, JobState};

/// A managed store whose user is to change.
#[derive(Clone, Debug)]
pub struct FoundRotation {
    /// Who opens it now.
    pub holder: Holder,
    pub next: FoundNext,
    /// The name of the store's superuser.
    pub superuser: String,
    /// The uid of the volume with the store's data.
    pub volume: Option<String>,
}

/// Who comes next.
#[derive(Clone, Debug)]
pub enum FoundNext {
    /// Nobody yet: this may become it.
    Fresh(NewUser),
    /// It was made before.
    Kept(Holder),
    /// The present user stays: it is to have its rights from this image, on this volume.
    Same,
}

/// A user who was just made up.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub username: String,
    pub password: String,
    /// The request that it is made for.
    pub rotated_at: Option<String>,
}

/// A Secret with a user of a store, as the API server has it.
#[derive(Clone, Debug)]
pub struct Holder {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// The Stack that it says it belongs to, if it is data of one.
    pub stack: Option<String>,
    pub username: String,
    pub password: String,
    /// Whose place it is to take.
    pub former: Option<String>,
    pub rotated_at: Option<String>,
    /// The image that gave it its rights, and the uid of the volume on which it did.
    pub granted_by: Option<String>,
    pub granted_on: Option<String>,
    pub digest: ContentDigest,
}

impl Holder {
    pub(super) fn of(secret: Secret) -> Self {
        let data = secret.data.clone().unwrap_or_default();
        let text = |key: &str| data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned());
        let (labels, annotations) = (secret.labels(), secret.annotations());
        Self {
            name: secret.name_any(),
            uid: secret.uid().unwrap_or_default(),
            resource_version: secret.resource_version().unwrap_or_default(),
            stack: labels.get(STACK).filter(|_| labels.contains_key(DATA)).cloned(),
            username: text("username").unwrap_or_default(),
            password: text("password").unwrap_or_default(),
            former: text("former"),
            rotated_at: annotations.get(ROTATED_AT).cloned(),
            granted_by: annotations.get(GRANTED_BY).cloned(),
            granted_on: annotations.get(GRANTED_ON).cloned(),
            digest: ContentDigest::of(data.iter().map(|(key, value)| (key, &value.0))),
        }
    }

    /// The Secret with a store's superuser. Another one of this name, such as CloudNativePG makes, opens another database.
    pub(super) fn of_superuser(secret: Secret) -> Result<Self, SecretProblem> {
        let is_filled = |key: &&str| {
            secret.data.as_ref().and_then(|data| data.get(*key)).is_some_and(|value| !value.0.is_empty())
        };
        let missing = ["username", "password", "uri"].into_iter().find(|key| !is_filled(key));
        let holder = Self::of(secret);
        let name = holder.name.clone();
        match missing {
            // The data of a Stack that was here before may be this one's now.
            _ if holder.stack.is_none() => Err(SecretProblem::NotOurs { name }),
            Some(key) => Err(SecretProblem::NoKey { name, key: key.to_owned() }),
            None => Ok(holder),
        }
    }
}

impl NewUser {
    /// Of letters, digits and `_` alone: every store takes it as it is, and so does SQL. The request is in it, so that whoever
    /// comes next is somebody else.
    fn new(rotated_at: Option<String>, random: &str, password: String) -> Self {
        let request = rotated_at.as_deref().unwrap_or_default();
        let suffix: String = digest(format!("{request} {random}").as_bytes()).chars().take(10).collect();
        Self { username: format!("weft_{suffix}"), password, rotated_at }
    }
}

impl Lookup<'_> {
    /// What the cache knows of a store's Secret, when that is all that need be known. A store that its service can use is on the
    /// volume on which its user got its rights.
    pub(super) fn settled(&self, asked: Asked<'_>, passwordless: bool) -> Option<ContentDigest> {
        let secret = self.context.cache.secret(&self.namespace, asked.name)?;
        let digest = secret.data.digest.clone();
        if passwordless {
            return Some(digest);
        }
        let told = |key: &str| secret.annotations().get(key).map(String::as_str);
        let is_due = asked.rotated_at().is_some_and(|request| told(ROTATED_AT) != Some(request));
        let is_granted = told(GRANTED_BY).is_some() && told(GRANTED_BY) == asked.image && asked.is_usable;
        let superuser = names::superuser_secret(asked.name);
        let has_superuser = self.context.cache.secret(&self.namespace, &superuser).is_some();
        (!is_due && is_granted && has_superuser && !self.has_next(asked.name)).then_some(digest)
    }

    fn has_next(&self, store: &str) -> bool {
        self.context.cache.secret(&self.namespace, &names::next_secret(store)).is_some()
    }

    /// Who is to take the holder's place. The holder stays when no other was asked for and it is not the superuser.
    pub(super) async fn rotation(
        &self,
        asked: Asked<'_>,
        holder: Holder,
        superuser: String,
        volume: Option<String>,
    ) -> Result<Credentials, DereferenceError> {
        let request = asked.rotated_at();
        let is_asked_for = request.is_some() && request != holder.rotated_at.as_deref();
        let is_due = is_asked_for || holder.username == superuser;
        let written_down = match is_due || self.has_next(asked.name) {
            true => self.secret(&names::next_secret(asked.name)).await?,
            false => None,
        };
        let is_granted = holder.granted_by.as_deref() == asked.image && holder.granted_on == volume;
        let random = || (self.context.password)();
        let next = match written_down {
            Some(next) => FoundNext::Kept(Holder::of(next)),
            None if is_due => {
                let request = request.map(str::to_owned).or_else(|| holder.rotated_at.clone());
                FoundNext::Fresh(NewUser::new(request, &random(), random()))
            }
            // An older copy of the data does not know the user, or not its password.
            None if is_granted && !asked.is_refused => return Ok(Credentials::Kept(holder.digest)),
            None => FoundNext::Same,
        };
        Ok(Credentials::Rotating(Box::new(FoundRotation { holder, next, superuser, volume })))
    }

    pub(super) fn jobs(&self) -> BTreeMap<String, JobState> {
        let jobs = self.context.cache.jobs.in_namespace(&self.namespace);
        jobs.into_iter().map(|job| (job.meta().name.clone().unwrap_or_default(), job.state)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_next_is_never_who_was_and_needs_no_quoting() {
        let name = |request: &str, random: &str| {
            NewUser::new(Some(request.to_owned()), random, String::new()).username
        };
        assert_ne!(name("2026-11-25T15:00:00Z", "a"), name("2026-11-25T15:00:01Z", "a"));
        assert_ne!(name("2026-11-25T15:00:00Z", "a"), name("2026-11-25T15:00:00Z", "b"));
        let name = name("2026-11-25T15:00:00Z", "a");
        assert!(
            name.len() == 15
                && name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
        );
    }
}
