//! Whether a first call can succeed: what each of the broker's pods says of those that it calls.
//!
//! That pods are ready does not tell that they are reached: between a pod's readiness and the moment in which every node routes to
//! it, a call is refused. Only the caller can tell.

use std::collections::BTreeSet;

use futures::future::join_all;
use weft_runtime::status::StoreStatus;

use super::stores::bracketed;
use crate::context::AskStores;
use crate::names::{ADMIN_PORT, AUTHENTICATION, BROKER, LOGGER, RABBITMQ};
use crate::reconcile::validate::Validated;
use crate::view::PodView;

/// What of the Stack the broker calls.
fn callees(stack: &Validated) -> BTreeSet<&'static str> {
    let Validated { authentication, logger, rabbitmq, .. } = stack;
    let all = [
        (AUTHENTICATION, authentication.is_some()),
        (LOGGER, logger.is_some()),
        (RABBITMQ, rabbitmq.is_some()),
    ];
    all.into_iter().filter(|(_, runs)| *runs).map(|(name, _)| name).collect()
}

/// What the broker's pods can't call yet, for a person; nothing when all calls get through. A callee that a pod does not mention
/// counts as reached: brokers of earlier versions mention none.
pub(super) async fn blocked(stack: &Validated, pods: &[PodView], ask: &AskStores) -> Option<String> {
    let callees = callees(stack);
    let serves = |pod: &&PodView| {
        pod.app() == Some(BROKER) && pod.metadata.deletion_timestamp.is_none() && !pod.has_ended()
    };
    let addresses = pods.iter().filter(serves).filter_map(|pod| pod.status.pod_ip.as_deref());
    let answers = join_all(addresses.map(|ip| ask(format!("{}:{ADMIN_PORT}", bracketed(ip))))).await;
    let mut unreached = BTreeSet::new();
    for answer in answers {
        let Some(told) = answer else {
            return Some(format!("{BROKER}: a pod does not answer on its admin port {ADMIN_PORT} yet"));
        };
        let is_usable = |name: &str| told.get(name).is_none_or(StoreStatus::is_usable);
        unreached.extend(callees.iter().copied().filter(|name| !is_usable(name)));
    }
    let unreached: Vec<_> = unreached.into_iter().collect();
    (!unreached.is_empty()).then(|| format!("{BROKER}: can't call {} yet", unreached.join(", ")))
}
