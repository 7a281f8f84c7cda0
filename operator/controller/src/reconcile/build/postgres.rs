//! PostgreSQL: where authentication finds it, and its objects when we run it.

use k8s_openapi::api::core::v1::{Container, Secret};
use serde_json::json;

use super::pod::{self, Defaults, Pod, Rhythm};
use super::rotation::{self, Client};
use super::secret::{self, Access, UriSource, User};
use super::stateful_set::{self, DATA_VOLUME};
use super::{Basis, Plan, service};
use crate::installation::Postgres;
use crate::names::{self, AUTHENTICATION, POSTGRES, POSTGRES_PORT};
use crate::reconcile::dereference::escape;
use crate::reconcile::validate::{Password, StorePlan, Validated};

/// Of the official image.
const UID: i64 = 999;
const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("64Mi", "1Gi") };
const DATABASE: &str = secret::USERNAME;
const CLIENT: Client = Client { store: POSTGRES, setting: "DATABASE_URL_FILE", services: &[AUTHENTICATION] };
const CREDENTIALS: &str = "/etc/postgres-credentials";
const DATA: &str = "/var/lib/postgresql/data";

pub(super) fn add(plan: &mut Plan, stack: &Validated, store: &StorePlan<Postgres>) {
    match store {
        StorePlan::External(connection) => {
            plan.derived_secrets.extend(secret::external(stack, POSTGRES, connection).1);
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
            let secret = |name: &str, user: User<'_>| access_secret(stack, name, user);
            let superuser = superuser.as_ref().map(User::superuser);
            plan.data_secrets.extend(superuser.map(|user| secret(&names::superuser_secret(POSTGRES), user)));
            if let Password::Fresh(password) = credentials {
                plan.data_secrets.push(secret(POSTGRES, User::first(password, rotated_at.as_ref())));
            }
            plan.services.push(service::build(stack, POSTGRES, &[("postgres", POSTGRES_PORT)]));
            plan.bases
                .insert(POSTGRES.to_owned(), Basis::of(&json!([restarted_at, stack.life.restarted_at])));
            let template = Pod { restarted_at: restarted_at.clone(), ..pod(installed) }.template(stack);
            plan.stateful_sets.push(stateful_set::build(stack, POSTGRES, storage, template));
            let access = |user: User<'_>| secret(POSTGRES, user);
            rotation::add(plan, stack, &CLIENT, rotation.as_deref(), access);
        }
    }
}

/// Where authentication finds the URI.
pub(super) fn uri(stack: &Validated) -> Option<UriSource> {
    let managed = |digest| UriSource { secret: POSTGRES.to_owned(), key: "uri".to_owned(), digest };
    Some(match stack.postgres.as_ref()? {
        StorePlan::External(connection) => secret::external(stack, POSTGRES, connection).0,
        StorePlan::Managed { credentials: Password::Kept(digest), .. } => managed(digest.clone()),
        StorePlan::Managed { credentials: Password::Fresh(password), .. } => managed(secret::digest(
            &access_secret(stack, POSTGRES, User::first(password, None)).data.unwrap_or_default(),
        )),
    })
}

/// The database has the name of the service's first user, so that clients which are told no database find it, and keeps it.
fn access_secret(stack: &Validated, name: &str, user: User<'_>) -> Secret {
    let host = names::host(POSTGRES, &stack.namespace);
    let (username, password) = (escape(user.username), escape(user.password));
    let uri = format!("postgres://{username}:{password}@{host}:{POSTGRES_PORT}/{DATABASE}");
    secret::data(stack, name, &Access { user, host: &host, port: POSTGRES_PORT, uri: &uri })
}

fn pod(installed: &Postgres) -> Pod<'static> {
    let superuser = names::superuser_secret(POSTGRES);
    let env = vec![
        pod::env_from_secret("POSTGRES_USER", &superuser, "username"),
        pod::env("POSTGRES_PASSWORD_FILE", &format!("{CREDENTIALS}/password")),
        pod::env("POSTGRES_DB", DATABASE),
        // A volume's own folder belongs to root and may hold lost+found: the server wants one that is its alone.
        pod::env("PGDATA", &format!("{DATA}/pgdata")),
        pod::env("POSTGRES_INITDB_ARGS", "--data-checksums"),
    ];
    let (credentials, credentials_mount) =
        pod::secret_files("credentials", &superuser, &[("password", "password")], CREDENTIALS);
    let (run, run_mount) = pod::scratch("run", "/var/run/postgresql");
    let (tmp, tmp_mount) = pod::scratch("tmp", "/tmp");
    let container = Container {
        image: Some(installed.image.clone()),
        env: Some(env),
        ports: Some(pod::ports(&[("postgres", POSTGRES_PORT)])),
        resources: Some(pod::resources(&RESOURCES, None)),
        security_context: Some(pod::security(true)),
        // It listens only when its data is whole and recovered.
        startup_probe: Some(pod::tcp_probe("postgres", &Rhythm { period_s: 1, failures: 180 })),
        liveness_probe: Some(pod::tcp_probe("postgres", &Rhythm { period_s: 10, failures: 6 })),
        readiness_probe: Some(pod::tcp_probe("postgres", &Rhythm { period_s: 2, failures: 2 })),
        volume_mounts: Some(vec![pod::mount(DATA_VOLUME, DATA), credentials_mount, run_mount, tmp_mount]),
        ..Container::default()
    };
    let (volumes, inputs, labels) = (vec![credentials, run, tmp], Vec::new(), Default::default());
    Pod { name: POSTGRES, uid: UID, container, volumes, inputs, labels, grace_s: 60, restarted_at: None }
}
