//! Where mail is handed in: our catcher, or a server of the user's.

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::core::v1::Container;
use serde_json::json;
use weft_operator_api::Encryption;

use super::deployment::{self, Wiring};
use super::pod::{self, Defaults, Pod, Rhythm};
use super::{Basis, Plan, service};
use crate::installation::MailCatcher;
use crate::names::{self, MAILCATCHER, MAILCATCHER_PORT, SMTP_PORT};
use crate::reconcile::validate::{SmtpPlan, Validated};

/// Of the official image.
const UID: i64 = 1000;
/// Bounds memory and disk: past it the oldest go.
const MAX_EMAILS: u32 = 5_000;
const RESOURCES: Defaults = Defaults { cpu: ("10m", "1"), memory: ("64Mi", "512Mi") };
const PORTS: [(&str, i32); 2] = [("smtp", SMTP_PORT), ("http", MAILCATCHER_PORT)];

pub(super) fn add(plan: &mut Plan, stack: &Validated, installed: &MailCatcher) {
    // Each would have half of the mail: the old one goes first.
    let strategy = DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    plan.bases.insert(MAILCATCHER.to_owned(), Basis::of(&json!([stack.life.restarted_at])));
    let template = pod(installed).template(stack);
    plan.deployments.push(deployment::build(stack, MAILCATCHER, 1, template, strategy));
    plan.services.push(service::build(stack, MAILCATCHER, &PORTS));
}

/// Tells the mail service where to hand in.
pub(super) fn wire(wiring: Wiring, stack: &Validated) -> Wiring {
    match &stack.smtp {
        None => wiring,
        Some(SmtpPlan::Catcher(_)) => {
            at(wiring, &names::host(MAILCATCHER, &stack.namespace), SMTP_PORT, Encryption::None)
        }
        Some(SmtpPlan::External { host, port, encryption, secret }) => {
            let wiring = at(wiring, host, *port, *encryption).told(&json!([host, port, encryption]));
            let Some((secret, digest)) = secret else { return wiring };
            wiring
                .told(&json!(secret))
                .set_from("MAIL_USERNAME", secret, "username")
                .file("MAIL_PASSWORD_FILE", "smtp", secret, "password", "password")
                .input(digest.clone())
        }
    }
}

fn at(wiring: Wiring, host: &str, port: i32, encryption: Encryption) -> Wiring {
    wiring
        .set("MAIL_HOST", host)
        .set("MAIL_PORT", &port.to_string())
        .set("MAIL_ENCRYPTION", encryption.as_str())
}

fn pod(installed: &MailCatcher) -> Pod<'static> {
    let (tmp, tmp_mount) = pod::scratch("tmp", "/tmp");
    let healthz =
        |period_s, failures| pod::http_probe("/api/healthz", "http", &Rhythm { period_s, failures });
    let container = Container {
        image: Some(installed.image.clone()),
        env: Some(vec![pod::env("MAILDEV_MAX_EMAILS", &MAX_EMAILS.to_string())]),
        ports: Some(pod::ports(&PORTS)),
        resources: Some(pod::resources(&RESOURCES, None)),
        security_context: Some(pod::security(true)),
        startup_probe: Some(healthz(1, 120)),
        liveness_probe: Some(healthz(10, 6)),
        readiness_probe: Some(healthz(2, 2)),
        volume_mounts: Some(vec![tmp_mount]),
        ..Container::default()
    };
    let (volumes, inputs, labels) = (vec![tmp], Vec::new(), Default::default());
    Pod { name: MAILCATCHER, uid: UID, container, volumes, inputs, labels, grace_s: 10, restarted_at: None }
}
