//! What is looked up for new credentials of a managed store: the Secret that opens it, that of its next user, the Jobs.
//!
//! A pass that finds nothing to change asks the cache alone. Once there is something, only the API server's own word counts: what
//! is decided by, and what the pods are built from, is one reading of one Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _};

use super::{DereferenceError, Lookup};
use crate::names::{self, DATA, ROTATED_AT, STACK};
use crate::reconcile::build::digest;
use crate::view::{ContentDigest, JobState};

/// A managed store whose user is to change.
#[derive(Clone, Debug)]
pub struct FoundRotation {
    /// Who opens it now.
    pub holder: Holder,
    pub next: FoundNext,
}

/// Who comes next.
#[derive(Clone, Debug)]
pub enum FoundNext {
    /// Nobody yet: this may become it.
    Fresh(NewUser),
    /// It was made before.
    Kept(Holder),
}

/// A user who was just made up.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub username: String,
    pub password: String,
    /// The request that it is made for.
    pub rotated_at: String,
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
    pub digest: ContentDigest,
}

impl Holder {
    pub(super) fn of(secret: Secret) -> Self {
        let data = secret.data.clone().unwrap_or_default();
        let text = |key: &str| data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned());
        let labels = secret.labels();
        Self {
            name: secret.name_any(),
            uid: secret.uid().unwrap_or_default(),
            resource_version: secret.resource_version().unwrap_or_default(),
            stack: labels.get(STACK).filter(|_| labels.contains_key(DATA)).cloned(),
            username: text("username").unwrap_or_default(),
            password: text("password").unwrap_or_default(),
            former: text("former"),
            rotated_at: secret.annotations().get(ROTATED_AT).cloned(),
            digest: ContentDigest::of(data.iter().map(|(key, value)| (key, &value.0))),
        }
    }
}

impl NewUser {
    /// Of letters, digits and `_` alone: every store takes it as it is, and so does SQL. The request is in it, so that whoever
    /// comes next is somebody else.
    fn new(rotated_at: &str, random: &str, password: String) -> Self {
        let suffix: String = digest(format!("{rotated_at} {random}").as_bytes()).chars().take(10).collect();
        Self { username: format!("weft_{suffix}"), password, rotated_at: rotated_at.to_owned() }
    }
}

impl Lookup<'_> {
    /// What the cache knows of a store's Secret, when that is all that need be known.
    pub(super) fn settled(
        &self,
        store: &str,
        request: Option<&str>,
        passwordless: bool,
    ) -> Option<ContentDigest> {
        let (digest, rotated_at) = self.context.cache.secret(&self.namespace, store)?;
        let is_due = request.is_some() && request != rotated_at.as_deref();
        let is_under_way = !passwordless && self.has_next(store);
        (!is_due && !is_under_way).then_some(digest)
    }

    fn has_next(&self, store: &str) -> bool {
        self.context.cache.secret(&self.namespace, &names::next_secret(store)).is_some()
    }

    /// Who is to take the holder's place; nobody when nothing was asked for that it was not made for.
    pub(super) async fn rotation(
        &self,
        store: &str,
        holder: &Holder,
        request: Option<&str>,
        passwordless: bool,
    ) -> Result<Option<FoundNext>, DereferenceError> {
        let is_due = request.is_some() && request != holder.rotated_at.as_deref();
        if passwordless || !(is_due || self.has_next(store)) {
            return Ok(None);
        }
        if let Some(next) = self.secret(&names::next_secret(store)).await? {
            return Ok(Some(FoundNext::Kept(Holder::of(next))));
        }
        let random = || (self.context.password)();
        let fresh = |request| NewUser::new(request, &random(), random());
        Ok(request.filter(|_| is_due).map(|request| FoundNext::Fresh(fresh(request))))
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
        let name = |request: &str, random: &str| NewUser::new(request, random, String::new()).username;
        assert_ne!(name("2026-11-25T15:00:00Z", "a"), name("2026-11-25T15:00:01Z", "a"));
        assert_ne!(name("2026-11-25T15:00:00Z", "a"), name("2026-11-25T15:00:00Z", "b"));
        let name = name("2026-11-25T15:00:00Z", "a");
        assert!(
            name.len() == 15
                && name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
        );
    }
}
