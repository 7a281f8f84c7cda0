//! The users of a managed store's service. A Job makes them with the superuser's credentials: the first one as soon as the store
//! is ready, and again for each image of the service and each new volume.
//!
//! New credentials, one stage a pass: the next user is written down, a Job makes it in the store, its name and
//! password take the place of those in the store's Secret, the pods roll, a Job takes the former user away, and what was written
//! down goes. The store knows both users while pods move, so no call fails.
//!
//! An earlier operator gave the service the superuser. That one stays, its Secret is copied, and the service gets new credentials.
//!
//! Nothing is remembered but in the two Secrets and the Jobs, and each stage may be repeated.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, Secret};
use kube::core::ObjectMeta;
use serde_json::json;
use weft_operator_api::EnvFrom;

use super::pod::{self, Pod};
use super::secret::{self, User};
use super::{Plan, deployment, digest, meta, placement};
use crate::names::{self, CLIENT_OF, ROTATES};
use crate::reconcile::dereference::{Holder, NewUser};
use crate::reconcile::validate::{Rotation, RotationStep, Validated};
use crate::view::{ContentDigest, JobState};

const STORE_FOLDER: &str = "/etc/weft/store";
const USER_FOLDER: &str = "/etc/weft/user";
/// A finished Job is looked at long before. One that failed is made anew after it.
const KEPT_S: i32 = 600;
/// It ends nothing in order: what it does is whole or not done.
const GRACE_S: i64 = 5;

/// Who uses a store.
pub(super) struct Client {
    pub(super) store: &'static str,
    /// The owner's setting for the file with the URI.
    pub(super) setting: &'static str,
    /// The services that open it.
    pub(super) services: &'static [&'static str],
}

/// A store whose credentials change.
#[derive(Clone, Debug)]
pub struct Rotating {
    pub store: &'static str,
    pub stage: Stage,
}

/// How far they are, and what is to be done for it beside the Jobs in the plan.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The Stack is stopped, or will be, or is paused and nobody asked: nothing is done before it runs again.
    Waiting,
    /// The superuser is being written down.
    Written,
    /// Something else has this name.
    InTheWay { secret: String },
    /// To be made: the next user's Secret.
    Begun(Box<Secret>),
    /// This Job gives the present user its rights, once the store is ready.
    Making { job: String },
    /// To be written: that the present user has its rights, into the Secret that opens the store.
    Made(Box<Secret>),
    /// This Job makes the next user.
    Granting { job: String },
    /// To be written: the next user's name and password, into the Secret that opens the store.
    TakenOver(Box<Secret>),
    /// These move to the new user; once all have, this Job takes the former one away.
    Moving { job: String, users: Vec<String> },
    /// To be deleted: the next user's Secret, which is of no more use.
    Over { secret: Box<ObjectMeta>, is_done: bool },
}

pub(super) fn add(
    plan: &mut Plan,
    stack: &Validated,
    client: &Client,
    rotation: Option<&Rotation>,
    access: impl Fn(User<'_>) -> Secret,
) {
    let Some(rotation) = rotation else { return };
    let (stage, job) = stage(stack, client, rotation, access);
    plan.jobs.extend(job);
    plan.rotations.push(Rotating { store: client.store, stage });
}

/// How far it is, and the Job that is to be there.
fn stage(
    stack: &Validated,
    client: &Client,
    rotation: &Rotation,
    access: impl Fn(User<'_>) -> Secret,
) -> (Stage, Option<Job>) {
    let nobody_asked = matches!(rotation.step, RotationStep::Written);
    if stack.life.stopped.is_some() || stack.life.paused && nobody_asked {
        return (Stage::Waiting, None);
    }
    let task = |task: &Task, next: &Holder| {
        let job = job(stack, client, rotation, task, next);
        let (name, state) = state(stack, &job);
        (job, name, state == JobState::Complete)
    };
    match &rotation.step {
        RotationStep::Make { holder } => match task(&GRANT, holder) {
            (job, _, true) if !is_granted(rotation, holder) => {
                (Stage::Made(Box::new(taken_over(rotation, holder, holder, access))), Some(job))
            }
            // One that was done again stays until the service signs in, and is done once more when the cluster deletes it before.
            (job, name, _) => (Stage::Making { job: name }, Some(job)),
        },
        RotationStep::Written => (Stage::Written, None),
        RotationStep::InTheWay { next } => (Stage::InTheWay { secret: next.name.clone() }, None),
        RotationStep::Begin { former, user } => {
            let NewUser { username, password, rotated_at } = user;
            let user = User { username, password, rotated_at: rotated_at.as_deref(), ..User::default() };
            (Stage::Begun(Box::new(secret::next(stack, client.store, &user, former))), None)
        }
        RotationStep::Discard { next } => (Stage::Over { secret: exactly(next), is_done: false }, None),
        RotationStep::Grant { holder, next } => match task(&GRANT, next) {
            // The Job stays until the Secret is written: what it has done is then known for sure.
            (job, _, true) => {
                (Stage::TakenOver(Box::new(taken_over(rotation, holder, next, access))), Some(job))
            }
            (job, name, false) => (Stage::Granting { job: name }, Some(job)),
        },
        RotationStep::Retire { next } => match task(&RETIRE, next) {
            (_, _, true) => (Stage::Over { secret: exactly(next), is_done: true }, None),
            (job, name, false) => (Stage::Moving { job: name, users: users(stack, client) }, Some(job)),
        },
    }
}

/// The Secret says that its user has its rights from this image, on this volume.
fn is_granted(rotation: &Rotation, holder: &Holder) -> bool {
    holder.granted_by.as_ref() == Some(&rotation.owner.image) && holder.granted_on == rotation.volume
}

fn state(stack: &Validated, job: &Job) -> (String, JobState) {
    let name = job.metadata.name.clone().unwrap_or_default();
    let state = stack.jobs.get(&name).cloned().unwrap_or_default();
    (name, state)
}

/// Whoever opens the store with its Secret. Some may not run.
fn users(stack: &Validated, client: &Client) -> Vec<String> {
    let named = |from: &EnvFrom| from.secret_ref.as_ref().is_some_and(|named| named.name == client.store);
    let workloads = stack.workloads.iter().map(|workload| &workload.spec);
    let own = workloads.filter(|spec| spec.env_from.iter().any(named)).map(|spec| spec.name.clone());
    client.services.iter().map(|name| (*name).to_owned()).chain(own).collect()
}

/// This very object, as it was read.
fn exactly(secret: &Holder) -> Box<ObjectMeta> {
    Box::new(ObjectMeta {
        name: Some(secret.name.clone()),
        uid: Some(secret.uid.clone()),
        resource_version: Some(secret.resource_version.clone()),
        ..ObjectMeta::default()
    })
}

fn taken_over(
    rotation: &Rotation,
    holder: &Holder,
    next: &Holder,
    access: impl Fn(User<'_>) -> Secret,
) -> Secret {
    let Holder { username, password, rotated_at, .. } = next;
    let mut secret = access(User {
        username,
        password,
        rotated_at: rotated_at.as_deref(),
        granted_by: Some(&rotation.owner.image),
        granted_on: rotation.volume.as_deref(),
    });
    let ObjectMeta { uid, resource_version, .. } = *exactly(holder);
    secret.metadata = ObjectMeta { uid, resource_version, ..secret.metadata };
    secret
}

/// What a Job does, and what it is told of the user's Secret.
struct Task {
    verb: &'static str,
    files: &'static [(&'static str, &'static str)],
    settings: &'static [(&'static str, &'static str)],
}

const GRANT: Task = Task {
    verb: "grant",
    files: &[("username", "username"), ("password", "password")],
    settings: &[("CREDENTIALS_USERNAME_FILE", "username"), ("CREDENTIALS_PASSWORD_FILE", "password")],
};
const RETIRE: Task = Task {
    verb: "retire",
    files: &[("former", "username")],
    settings: &[("CREDENTIALS_USERNAME_FILE", "username")],
};

/// A Job can't be changed, so its name follows from what it is to do: another image, user or volume is another Job.
fn job(stack: &Validated, client: &Client, rotation: &Rotation, task: &Task, next: &Holder) -> Job {
    let spec = JobSpec {
        // Kubelet starts it again, ever more slowly, until it succeeds: the store may be away for long.
        backoff_limit: Some(i32::MAX),
        ttl_seconds_after_finished: Some(KEPT_S),
        template: template(stack, client, rotation, task, next),
        ..JobSpec::default()
    };
    let name = format!("{}-{}-{}", client.store, task.verb, digest(json!(spec).to_string().as_bytes()));
    let labels = names::labels(&names::rotation(client.store), &stack.name);
    let metadata = ObjectMeta { labels: Some(labels), ..meta::owned(stack, &name) };
    Job { metadata, spec: Some(spec), ..Job::default() }
}

/// The owner's image under another name: neither its Service nor its disruption budget knows these pods, and the store's policy
/// lets them in as it does any client.
fn template(
    stack: &Validated,
    client: &Client,
    rotation: &Rotation,
    task: &Task,
    next: &Holder,
) -> PodTemplateSpec {
    let Client { store, setting, services: _ } = client;
    let Rotation { owner, volume, step: _, is_moved: _ } = rotation;
    let superuser = names::superuser_secret(store);
    let (from_store, store_mount) = pod::secret_files("store", &superuser, &[("uri", "uri")], STORE_FOLDER);
    let (user, user_mount) = pod::secret_files("user", &next.name, task.files, USER_FOLDER);
    let settings = task.settings.iter().map(|(name, file)| pod::env(name, &format!("{USER_FOLDER}/{file}")));
    // Such as the name of the database; but which user is changed is said by the Secret alone.
    let of_service = owner.spec.env.iter().filter(|variable| !variable.name.starts_with("CREDENTIALS_"));
    let of_service = of_service.map(|variable| pod::env(&variable.name, &variable.value));
    let env = settings.chain([pod::env(setting, &format!("{STORE_FOLDER}/uri"))]).chain(of_service).collect();
    let container = Container {
        image: Some(owner.image.clone()),
        args: Some(vec!["credentials".to_owned(), task.verb.to_owned()]),
        env: Some(env),
        resources: Some(pod::resources(&deployment::RESOURCES, None)),
        security_context: Some(pod::security(true)),
        // So that the status can say why it failed.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![store_mount, user_mount]),
        ..Container::default()
    };
    let labels = [CLIENT_OF, ROTATES].map(|label| (label.to_owned(), (*store).to_owned())).into();
    let name = names::rotation(store);
    let pod = Pod {
        name: &name,
        uid: deployment::OUR_UID,
        container,
        volumes: vec![from_store, user],
        inputs: volume.iter().cloned().map(ContentDigest).chain([next.digest.clone()]).collect(),
        labels,
        grace_s: GRACE_S,
        restarted_at: None,
    };
    let mut template = pod.template(stack);
    placement::place(&mut template, &owner.spec);
    let spec = template.spec.get_or_insert_default();
    spec.restart_policy = Some("OnFailure".to_owned());
    // It calls nobody in the mesh, and needs no identity there.
    spec.service_account_name = None;
    for container in &mut spec.containers {
        "credentials".clone_into(&mut container.name);
    }
    template
}
