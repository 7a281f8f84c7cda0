//! The user's own services, and the ways to them.

use std::collections::BTreeSet;

use weft_operator_api::{
    EnvFrom, Protocol, RESERVED_NAMES, RESERVED_SEGMENTS, Route, Services, StackSpec, Workload,
};

use super::Refusal;
use crate::names::{AUTHENTICATION, BROKER, FRONTEND, LISTENER, LOGGER, MAIL};
use crate::reconcile::dereference::FoundInputs;
use crate::view::ContentDigest;

/// A service of the user's, and what the Secrets and ConfigMaps hold that it uses.
#[derive(Clone, Debug)]
pub struct WorkloadPlan {
    pub spec: Workload,
    pub inputs: Vec<ContentDigest>,
}

/// Who can call somebody: the services, and whoever is a workload.
const CALLERS: [&str; 6] = [BROKER, AUTHENTICATION, LOGGER, MAIL, LISTENER, FRONTEND];

/// # Errors
/// When a name is taken, a route or a caller leads nowhere, or something that one uses is missing.
pub(super) fn workloads(spec: &StackSpec, found: &FoundInputs) -> Result<Vec<WorkloadPlan>, Refusal> {
    let mut names = BTreeSet::new();
    for Workload { name, .. } in &spec.workloads {
        if RESERVED_NAMES.contains(&name.as_str()) {
            return Err(wrong(name, "name", format!("`{name}` is something of the operator's own")));
        }
        if !names.insert(name.as_str()) {
            return Err(wrong(name, "name", "another workload has it too".to_owned()));
        }
    }
    check_callers(spec, &names)?;
    spec.routes.iter().try_for_each(|route| check_route(spec, route))?;
    spec.workloads.iter().map(|workload| plan(workload, found)).collect()
}

fn check_callers(spec: &StackSpec, workloads: &BTreeSet<&str>) -> Result<(), Refusal> {
    let known = |name: &str| CALLERS.contains(&name) || workloads.contains(name);
    let unknown = |names: &[String]| names.iter().find(|name| !known(name)).cloned();
    let Services { broker, logger, listener, authentication, mail, frontend } = &spec.services;
    let services = [
        (BROKER, broker),
        (LOGGER, logger),
        (LISTENER, listener),
        (AUTHENTICATION, authentication),
        (MAIL, mail),
        (FRONTEND, frontend),
    ];
    let services = services.map(|(name, service)| (format!("spec.services.{name}"), &service.allow_from));
    let own = spec.workloads.iter();
    let own = own.map(|workload| (format!("spec.workloads[{}]", workload.name), &workload.allow_from));
    for (owner, names) in services.into_iter().chain(own) {
        if let Some(name) = unknown(names) {
            let problem = format!("`{name}` is neither a service nor a workload of this Stack");
            return Err(Refusal::Contradiction { field: format!("{owner}.allowFrom"), problem });
        }
    }
    Ok(())
}

fn check_route(spec: &StackSpec, route: &Route) -> Result<(), Refusal> {
    let Route { prefix, to } = route;
    let refuse =
        |problem: String| Err(Refusal::Contradiction { field: format!("spec.routes[{prefix}]"), problem });
    if prefix.split('/').nth(1).is_some_and(|first| RESERVED_SEGMENTS.contains(&first)) {
        return refuse("this path is the broker's or the console's own".to_owned());
    }
    match spec.workloads.iter().find(|workload| workload.name == *to) {
        None => refuse(format!("there is no workload `{to}`")),
        Some(workload) if workload.port.is_none() || workload.protocol() != Protocol::Http => {
            refuse(format!("workload `{to}` has no port that speaks http"))
        }
        Some(_) => Ok(()),
    }
}

fn plan(workload: &Workload, found: &FoundInputs) -> Result<WorkloadPlan, Refusal> {
    let mut inputs = Vec::new();
    for EnvFrom { secret_ref, config_map_ref, prefix: _ } in &workload.env_from {
        let named = match (secret_ref, config_map_ref) {
            (Some(secret), None) => ("Secret", secret),
            (None, Some(config_map)) => ("ConfigMap", config_map),
            _ => {
                let problem = "give exactly one of secretRef and configMapRef".to_owned();
                return Err(wrong(&workload.name, "envFrom", problem));
            }
        };
        let (kind, name) = (named.0, named.1.name.clone());
        match found.get(&(kind, name.clone())).cloned().flatten() {
            Some(digest) => inputs.push(digest),
            None => return Err(Refusal::EnvFrom { workload: workload.name.clone(), kind, name }),
        }
    }
    Ok(WorkloadPlan { spec: workload.clone(), inputs })
}

fn wrong(workload: &str, field: &str, problem: String) -> Refusal {
    Refusal::Contradiction { field: format!("spec.workloads[{workload}].{field}"), problem }
}
