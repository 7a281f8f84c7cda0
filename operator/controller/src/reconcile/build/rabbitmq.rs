//! RabbitMQ: where broker and listener find it, and its objects when we run it.

use k8s_openapi::api::core::v1::Container;
use serde_json::json;

use super::pod::{self, Defaults, Pod, Rhythm};
use super::secret::{self, Access, UriSource};
use super::stateful_set::{self, DATA_VOLUME};
use super::{Basis, Plan, service};
use crate::installation::RabbitMq;
use crate::names::{self, AMQP_PORT, RABBITMQ};
use crate::reconcile::validate::{Password, StorePlan, Validated};

/// Of the official image.
const UID: i64 = 999;
const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("128Mi", "1Gi") };

pub(super) fn add(plan: &mut Plan, stack: &Validated, store: &StorePlan<RabbitMq>) {
    match store {
        StorePlan::External(connection) => {
            plan.derived_secrets.extend(secret::external(stack, RABBITMQ, connection).1);
        }
        StorePlan::Managed { installed, storage, credentials, restarted_at } => {
            if let Password::Fresh(password) = credentials {
                plan.data_secrets.push(access_secret(stack, password));
            }
            plan.services.push(service::build(stack, RABBITMQ, &[("amqp", AMQP_PORT)]));
            plan.bases
                .insert(RABBITMQ.to_owned(), Basis::of(&json!([restarted_at, stack.life.restarted_at])));
            let template = Pod { restarted_at: restarted_at.clone(), ..pod(installed) }.template(stack);
            plan.stateful_sets.push(stateful_set::build(stack, RABBITMQ, storage, template));
        }
    }
}

/// Where broker and listener find the URI.
pub(super) fn uri(stack: &Validated) -> Option<UriSource> {
    let managed = |digest| UriSource { secret: RABBITMQ.to_owned(), key: "uri".to_owned(), digest };
    Some(match stack.rabbitmq.as_ref()? {
        StorePlan::External(connection) => secret::external(stack, RABBITMQ, connection).0,
        StorePlan::Managed { credentials: Password::Kept(digest), .. } => managed(digest.clone()),
        StorePlan::Managed { credentials: Password::Fresh(password), .. } => {
            managed(secret::digest(&access_secret(stack, password).data.unwrap_or_default()))
        }
    })
}

fn access_secret(stack: &Validated, password: &str) -> k8s_openapi::api::core::v1::Secret {
    let host = names::host(RABBITMQ, &stack.namespace);
    let uri = format!("amqp://{}:{password}@{host}:{AMQP_PORT}/%2f", secret::USERNAME);
    secret::data(stack, RABBITMQ, &Access { password, host: &host, port: AMQP_PORT, uri: &uri })
}

fn pod(installed: &RabbitMq) -> Pod<'static> {
    let env = vec![
        pod::env_from_secret("RABBITMQ_DEFAULT_USER", RABBITMQ, "username"),
        pod::env_from_secret("RABBITMQ_DEFAULT_PASS", RABBITMQ, "password"),
        // The node's name is part of where its data lies: it must not follow the pod's.
        pod::env("RABBITMQ_NODENAME", "rabbit@localhost"),
    ];
    // Erlang refuses a cookie that the group can read, which is what fsGroup makes of every file on the volume. So
    // home, where the cookie lies, is a folder of the pod's own, and only the data below it is on the volume.
    let (home, home_mount) = pod::scratch("home", "/var/lib/rabbitmq");
    let (tmp, tmp_mount) = pod::scratch("tmp", "/tmp");
    let container = Container {
        image: Some(installed.image.clone()),
        env: Some(env),
        ports: Some(pod::ports(&[("amqp", AMQP_PORT)])),
        resources: Some(pod::resources(&RESOURCES, None)),
        security_context: Some(pod::security(false)),
        startup_probe: Some(pod::tcp_probe("amqp", &Rhythm { period_s: 1, failures: 180 })),
        liveness_probe: Some(pod::tcp_probe("amqp", &Rhythm { period_s: 10, failures: 6 })),
        readiness_probe: Some(pod::tcp_probe("amqp", &Rhythm { period_s: 2, failures: 2 })),
        volume_mounts: Some(vec![home_mount, pod::mount(DATA_VOLUME, "/var/lib/rabbitmq/mnesia"), tmp_mount]),
        ..Container::default()
    };
    let (volumes, inputs, labels) = (vec![home, tmp], Vec::new(), Default::default());
    Pod { name: RABBITMQ, uid: UID, container, volumes, inputs, labels, grace_s: 60, restarted_at: None }
}
