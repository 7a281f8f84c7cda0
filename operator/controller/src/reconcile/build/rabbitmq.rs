//! RabbitMQ: where broker and listener find it, and its objects when we run it.

use k8s_openapi::api::core::v1::{Container, Secret, VolumeMount};
use serde_json::json;

use super::pod::{self, Defaults, Pod, Rhythm};
use super::rotation::{self, Client};
use super::secret::{self, Access, UriSource, User};
use super::stateful_set::{self, DATA_VOLUME};
use super::{Basis, Plan, config_map, service};
use crate::installation::RabbitMq;
use crate::names::{self, AMQP_PORT, BROKER, LISTENER, MANAGEMENT_PORT, RABBITMQ};
use crate::reconcile::dereference::escape;
use crate::reconcile::validate::{Password, StorePlan, Validated};

/// Of the official image.
const UID: i64 = 999;
const CLIENT: Client = Client { store: RABBITMQ, setting: "AMQP_URI_FILE", services: &[BROKER, LISTENER] };
const PORTS: [(&str, i32); 2] = [("amqp", AMQP_PORT), ("management", MANAGEMENT_PORT)];
const PLUGINS: &str = "enabled_plugins";
const SETTINGS: &str = "90-weft.conf";
/// Users are made through the management API: AMQP knows none. It collects no figures, which is most of what it costs.
const CONFIG: [(&str, &str); 2] = [
    (PLUGINS, "[rabbitmq_management].\n"),
    (SETTINGS, "management_agent.disable_metrics_collector = true\nmanagement.disable_stats = true\n"),
];
const FOLDER: &str = "/etc/weft-rabbitmq";
const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("128Mi", "1Gi") };

pub(super) fn add(plan: &mut Plan, stack: &Validated, store: &StorePlan<RabbitMq>) {
    match store {
        StorePlan::External(connection) => {
            plan.derived_secrets.extend(secret::external(stack, RABBITMQ, connection).1);
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
            plan.data_secrets.extend(superuser.map(|user| secret(&names::superuser_secret(RABBITMQ), user)));
            if let Password::Fresh(password) = credentials {
                plan.data_secrets.push(secret(RABBITMQ, User::first(password, rotated_at.as_ref())));
            }
            plan.config_maps.push(config_map::build(stack, RABBITMQ, &CONFIG));
            plan.services.push(service::build(stack, RABBITMQ, &PORTS));
            plan.bases
                .insert(RABBITMQ.to_owned(), Basis::of(&json!([restarted_at, stack.life.restarted_at])));
            let template = Pod { restarted_at: restarted_at.clone(), ..pod(installed) }.template(stack);
            plan.stateful_sets.push(stateful_set::build(stack, RABBITMQ, storage, template));
            let access = |user: User<'_>| secret(RABBITMQ, user);
            rotation::add(plan, stack, &CLIENT, rotation.as_deref(), access);
        }
    }
}

/// Where broker and listener find the URI.
pub(super) fn uri(stack: &Validated) -> Option<UriSource> {
    let managed = |digest| UriSource { secret: RABBITMQ.to_owned(), key: "uri".to_owned(), digest };
    Some(match stack.rabbitmq.as_ref()? {
        StorePlan::External(connection) => secret::external(stack, RABBITMQ, connection).0,
        StorePlan::Managed { credentials: Password::Kept(digest), .. } => managed(digest.clone()),
        StorePlan::Managed { credentials: Password::Fresh(password), .. } => managed(secret::digest(
            &access_secret(stack, RABBITMQ, User::first(password, None)).data.unwrap_or_default(),
        )),
    })
}

fn access_secret(stack: &Validated, name: &str, user: User<'_>) -> Secret {
    let host = names::host(RABBITMQ, &stack.namespace);
    let (username, password) = (escape(user.username), escape(user.password));
    let uri = format!("amqp://{username}:{password}@{host}:{AMQP_PORT}/%2f");
    secret::data(stack, name, &Access { user, host: &host, port: AMQP_PORT, uri: &uri })
}

fn pod(installed: &RabbitMq) -> Pod<'static> {
    let superuser = names::superuser_secret(RABBITMQ);
    let env = vec![
        pod::env_from_secret("RABBITMQ_DEFAULT_USER", &superuser, "username"),
        pod::env_from_secret("RABBITMQ_DEFAULT_PASS", &superuser, "password"),
        // The node's name is part of where its data lies: it must not follow the pod's.
        pod::env("RABBITMQ_NODENAME", "rabbit@localhost"),
        pod::env("RABBITMQ_ENABLED_PLUGINS_FILE", &format!("{FOLDER}/{PLUGINS}")),
    ];
    // Erlang refuses a cookie that the group can read, which is what fsGroup makes of every file on the volume. So
    // home, where the cookie lies, is a folder of the pod's own, and only the data below it is on the volume.
    let (home, home_mount) = pod::scratch("home", "/var/lib/rabbitmq");
    let (tmp, tmp_mount) = pod::scratch("tmp", "/tmp");
    let (config, config_mount) = pod::config_map_files("config", RABBITMQ, FOLDER);
    // Beside the image's own settings, not instead of them.
    let settings_mount = VolumeMount {
        sub_path: Some(SETTINGS.to_owned()),
        ..pod::mount("config", &format!("/etc/rabbitmq/conf.d/{SETTINGS}"))
    };
    let data_mount = pod::mount(DATA_VOLUME, "/var/lib/rabbitmq/mnesia");
    let container = Container {
        image: Some(installed.image.clone()),
        env: Some(env),
        ports: Some(pod::ports(&PORTS)),
        resources: Some(pod::resources(&RESOURCES, None)),
        security_context: Some(pod::security(false)),
        startup_probe: Some(pod::tcp_probe("amqp", &Rhythm { period_s: 1, failures: 180 })),
        liveness_probe: Some(pod::tcp_probe("amqp", &Rhythm { period_s: 10, failures: 6 })),
        readiness_probe: Some(pod::tcp_probe("amqp", &Rhythm { period_s: 2, failures: 2 })),
        volume_mounts: Some(vec![home_mount, data_mount, tmp_mount, config_mount, settings_mount]),
        ..Container::default()
    };
    let (volumes, inputs, labels) = (vec![home, tmp, config], Vec::new(), Default::default());
    Pod { name: RABBITMQ, uid: UID, container, volumes, inputs, labels, grace_s: 60, restarted_at: None }
}
