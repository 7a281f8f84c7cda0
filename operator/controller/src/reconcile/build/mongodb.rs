//! MongoDB: where the logger finds it, and its objects when we run it.

use k8s_openapi::api::core::v1::{Container, Secret};
use serde_json::json;

use super::pod::{self, Defaults, Pod, Rhythm};
use super::rotation::{self, Client};
use super::secret::{self, Access, UriSource, User};
use super::stateful_set::{self, DATA_VOLUME};
use super::{Basis, Plan, service};
use crate::installation::{Flavour, MongoDb};
use crate::names::{self, LOGGER, MONGODB, MONGODB_PORT};
use crate::reconcile::dereference::mongodb_uri;
use crate::reconcile::validate::{Password, StorePlan, Validated};
use crate::view::ContentDigest;

/// Of the official image.
const UID: i64 = 999;
const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("128Mi", "1Gi") };
const CLIENT: Client = Client { store: MONGODB, setting: "MONGODB_URI_FILE", services: &[LOGGER] };
const CREDENTIALS: &str = "/etc/mongodb-credentials";

pub(super) fn add(plan: &mut Plan, stack: &Validated, store: &StorePlan<MongoDb>) {
    match store {
        StorePlan::External(connection) => {
            plan.derived_secrets.extend(secret::external(stack, MONGODB, connection).1);
        }
        StorePlan::Managed {
            installed,
            storage,
            credentials,
            superuser,
            restarted_at,
            rotated_at,
            rotation,
        } => {
            let secret = |name: &str, user: User<'_>| access_secret(stack, installed.flavour, name, user);
            let superuser = superuser.as_ref().map(User::superuser);
            plan.data_secrets.extend(superuser.map(|user| secret(&names::superuser_secret(MONGODB), user)));
            if let Password::Fresh(password) = credentials {
                let user = User::first(password, rotated_at.as_ref());
                // FerretDB has no superuser that could be lost.
                let granted_by = user.granted_by.filter(|_| installed.flavour == Flavour::MongoDb);
                plan.data_secrets.push(secret(MONGODB, User { granted_by, ..user }));
            }
            plan.services.push(service::build(stack, MONGODB, &[("mongodb", MONGODB_PORT)]));
            plan.bases.insert(
                MONGODB.to_owned(),
                Basis::of(&json!([
                    format!("{:?}", installed.flavour),
                    restarted_at,
                    stack.life.restarted_at
                ])),
            );
            let template = Pod { restarted_at: restarted_at.clone(), ..pod(installed) }.template(stack);
            plan.stateful_sets.push(stateful_set::build(stack, MONGODB, storage, template));
            let access = |user: User<'_>| secret(MONGODB, user);
            rotation::add(plan, stack, &CLIENT, rotation.as_deref(), access);
        }
    }
}

/// Where the logger finds the URI.
pub(super) fn uri(stack: &Validated) -> Option<UriSource> {
    let managed = |digest| UriSource { secret: MONGODB.to_owned(), key: "uri".to_owned(), digest };
    Some(match stack.mongodb.as_ref()? {
        StorePlan::External(connection) => secret::external(stack, MONGODB, connection).0,
        StorePlan::Managed { credentials: Password::Kept(digest), .. } => managed(digest.clone()),
        StorePlan::Managed { credentials: Password::Fresh(password), installed, .. } => {
            managed(fresh_digest(stack, installed.flavour, password))
        }
    })
}

fn fresh_digest(stack: &Validated, flavour: Flavour, password: &str) -> ContentDigest {
    secret::digest(
        &access_secret(stack, flavour, MONGODB, User::first(password, None)).data.unwrap_or_default(),
    )
}

fn access_secret(stack: &Validated, flavour: Flavour, name: &str, user: User<'_>) -> Secret {
    let host = names::host(MONGODB, &stack.namespace);
    let uri = mongodb_uri(flavour, user.username, user.password, &host);
    secret::data(stack, name, &Access { user, host: &host, port: MONGODB_PORT, uri: &uri })
}

fn pod(installed: &MongoDb) -> Pod<'static> {
    let (mut volumes, mut mounts, mut env) =
        (Vec::new(), vec![pod::mount(DATA_VOLUME, "/data/db")], Vec::new());
    let mut add = |(volume, mount)| {
        volumes.push(volume);
        mounts.push(mount);
    };
    add(pod::scratch("tmp", "/tmp"));
    if installed.flavour == Flavour::MongoDb {
        add(pod::scratch("configdb", "/data/configdb"));
        add(pod::secret_files(
            "credentials",
            &names::superuser_secret(MONGODB),
            &[("username", "username"), ("password", "password")],
            CREDENTIALS,
        ));
        env.push(pod::env("MONGO_INITDB_ROOT_USERNAME_FILE", &format!("{CREDENTIALS}/username")));
        env.push(pod::env("MONGO_INITDB_ROOT_PASSWORD_FILE", &format!("{CREDENTIALS}/password")));
    }
    let container = Container {
        image: Some(installed.image.clone()),
        env: (!env.is_empty()).then_some(env),
        ports: Some(pod::ports(&[("mongodb", MONGODB_PORT)])),
        resources: Some(pod::resources(&RESOURCES, None)),
        security_context: Some(pod::security(false)),
        startup_probe: Some(pod::tcp_probe("mongodb", &Rhythm { period_s: 1, failures: 120 })),
        liveness_probe: Some(pod::tcp_probe("mongodb", &Rhythm { period_s: 10, failures: 6 })),
        readiness_probe: Some(pod::tcp_probe("mongodb", &Rhythm { period_s: 2, failures: 2 })),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    Pod {
        name: MONGODB,
        uid: UID,
        container,
        volumes,
        inputs: Vec::new(),
        labels: Default::default(),
        grace_s: 60,
        restarted_at: None,
    }
}
