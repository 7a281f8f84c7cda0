//! New credentials of managed stores: what a stage writes. A failure of one holds nothing else up.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use super::{ApplyError, Pass};
use crate::cache::Kind as _;
use crate::client::is_another;
use crate::names::{self, MANAGER};
use crate::reconcile::build::{Rotating, Stage};
use crate::reconcile::keep::Steps;
use crate::reconcile::status::progress;
use crate::view::PodView;

/// A managed store whose credentials change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underway {
    pub store: &'static str,
    /// What is waited for.
    pub message: String,
    /// Waiting alone will not mend it.
    pub is_stuck: bool,
    /// It goes on when the Stack is neither stopped nor paused.
    pub is_stopped: bool,
}

/// The generation that each Deployment now has, and what is behind since it is paused.
type Ran<'a> = (&'a BTreeMap<String, Option<i64>>, &'a Steps);

impl Pass<'_> {
    /// Writes what the rest of the pass does not need: it is built from the Secrets as they were read.
    pub(super) async fn begin(&mut self, rotations: &[Rotating]) {
        for Rotating { store, stage } in rotations.iter().filter(|_| !self.stack.life.paused) {
            let done = match stage {
                Stage::Begun(secret) => self.create_once(secret).await,
                Stage::Made(secret) => self.take_over(store, secret).await.map(drop),
                Stage::TakenOver(secret) => self.take_over(store, secret).await.map(|is_done| {
                    self.changes.rotated.extend(is_done.then(|| (*store).to_owned()));
                }),
                _ => Ok(()),
            };
            if let Err(error) = done {
                self.note::<()>(error);
            }
        }
    }

    /// Runs the Jobs that are due, and takes away what is of no more use. Says how far each store is.
    pub(super) async fn rotate(
        &mut self,
        rotations: Vec<Rotating>,
        mut jobs: Vec<Job>,
        ran: Ran<'_>,
    ) -> Vec<Underway> {
        let mut underway = Vec::new();
        for Rotating { store, stage } in rotations {
            let waits = match &stage {
                Stage::Making { job } => self.starts(job, store).map(|message| (job, message)),
                Stage::Moving { job, users } => {
                    self.waits(job, users, ran).await.map(|message| (job, message))
                }
                _ => None,
            };
            if let Some((job, message)) = waits {
                jobs.retain(|planned| planned.name_any() != *job);
                underway.push(Underway { store, message, is_stuck: false, is_stopped: false });
                continue;
            }
            underway.extend(self.finish(store, stage).await);
        }
        // What a Job has done is on record before it goes.
        self.settle_all::<Job>(&jobs).await;
        underway
    }

    async fn finish(&mut self, store: &'static str, stage: Stage) -> Option<Underway> {
        let (mut is_stuck, mut is_stopped) = (false, false);
        let message = match stage {
            Stage::Waiting => {
                is_stopped = true;
                "it gets new credentials when the Stack is neither stopped nor paused".to_owned()
            }
            Stage::InTheWay { secret } => {
                is_stuck = true;
                format!(
                    "it gets new credentials once the Secret {secret}, which does not belong to this Stack, is renamed or deleted"
                )
            }
            Stage::Begun(secret) => {
                format!("its next user is written down, in the Secret {}", secret.name_any())
            }
            Stage::Written => "its superuser is written down".to_owned(),
            Stage::Making { job } => format!("its user gets its rights, by the Job {job}"),
            Stage::Made(_) => "its user has its rights".to_owned(),
            Stage::Granting { job } => format!("its next user is being made, by the Job {job}"),
            Stage::TakenOver(_) => "its next user takes over".to_owned(),
            Stage::Moving { job, .. } => format!("its former user is being shut out, by the Job {job}"),
            Stage::Over { secret, is_done } => {
                if !self.stack.life.paused {
                    match self.delete::<Secret>(&secret).await {
                        Ok(true) if is_done => self.changes.retired.push(store.to_owned()),
                        Ok(_) => {}
                        Err(error) => drop(self.note::<()>(error)),
                    }
                }
                "what was written down of its next user goes".to_owned()
            }
        };
        Some(Underway { store, message, is_stuck, is_stopped })
    }

    /// The Secret must be as it was read, or someone else has had a hand in it, and nothing is written.
    async fn take_over(&mut self, store: &str, secret: &Secret) -> Result<bool, ApplyError> {
        self.confirm().await?;
        self.context.metrics.wrote("apply", Secret::KIND);
        let parameters = PatchParams::apply(MANAGER).force();
        let answer = self.api::<Secret>().patch_metadata(store, &parameters, &Patch::Apply(secret)).await;
        match answer {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if is_another(&status) => Ok(false),
            Err(source) => Err(ApplyError::write::<Secret>("apply", store, source)),
        }
    }

    /// What the Job that gives a store's first user its rights waits for: one that fails is tried again only after a while.
    fn starts(&self, job: &str, store: &str) -> Option<String> {
        let (cache, namespace) = (&self.context.cache, &self.stack.namespace);
        let view = cache.stateful_sets.get(&ObjectRef::new(store).within(namespace));
        let is_ready = view.is_some_and(|view| view.status.ready_replicas > 0);
        let waits = !is_ready && Job::seen(cache, namespace, job).is_none();
        waits.then(|| "its user gets its rights once the store is ready".to_owned())
    }

    /// What the Job that takes the former user away waits for; nothing when everybody has moved, or it has begun.
    async fn waits(&mut self, job: &str, users: &[String], (deployments, steps): Ran<'_>) -> Option<String> {
        let (cache, namespace) = (&self.context.cache, &self.stack.namespace);
        if Job::seen(cache, namespace, job).is_some() {
            return None;
        }
        let left = |user: &&String| match deployments.get(*user) {
            _ if steps.behind.contains(*user) => true,
            Some(generation) => {
                let view = cache.deployments.get(&ObjectRef::new(user).within(namespace));
                let desired = view.as_deref().and_then(|view| view.replicas.wanted).unwrap_or_default();
                let seen = view.as_deref().map(|view| (&view.metadata, &view.status));
                !progress(seen, *generation, desired).complete
            }
            None => false,
        };
        let mut left: Vec<_> = users.iter().filter(left).cloned().collect();
        if left.is_empty() {
            // No count of a Deployment has those that are still ending, or whose Deployment is gone.
            match self.ending(users, deployments).await {
                Ok(ending) => left = ending,
                Err(error) => {
                    self.note::<()>(error);
                    return Some("its pods could not be listed".to_owned());
                }
            }
        }
        (!left.is_empty()).then(|| format!("pods move to its new user: {}", left.join(", ")))
    }

    async fn ending(
        &self,
        users: &[String],
        deployments: &BTreeMap<String, Option<i64>>,
    ) -> Result<Vec<String>, ApplyError> {
        let api = Api::<PodView>::namespaced(self.context.client.clone(), &self.stack.namespace);
        let parameters = ListParams::default().labels(&names::pods(&self.stack.name));
        let pods = api.list(&parameters).await.map_err(|source| ApplyError::Write {
            verb: "list",
            kind: "Pods of",
            name: self.stack.name.clone(),
            source: Box::new(source),
        })?;
        let is_left = |pod: &&PodView| {
            let app = pod.app().unwrap_or_default();
            let goes = pod.metadata.deletion_timestamp.is_some() || !deployments.contains_key(app);
            !pod.has_ended() && goes && users.iter().any(|user| user == app)
        };
        Ok(pods.items.iter().filter(is_left).filter_map(|pod| pod.app().map(str::to_owned)).collect())
    }
}
