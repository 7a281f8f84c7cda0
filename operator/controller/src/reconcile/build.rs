//! From a checked Stack to every object that it needs. Pure: the same Stack always gives the same objects.

mod config_map;
mod deployment;
mod jaeger;
mod meta;
mod mongodb;
mod pod;
mod rabbitmq;
mod secret;
mod service;
mod service_account;
mod stateful_set;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};

use super::validate::Validated;
use crate::names::{BROKER, JAEGER, LISTENER, LOGGER, MONGODB, RABBITMQ};

/// Every object of a Stack.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What opens data: made once, then left alone, owned by nobody.
    pub data_secrets: Vec<Secret>,
    /// What follows from other Secrets, and goes with the Stack.
    pub derived_secrets: Vec<Secret>,
    pub service_accounts: Vec<ServiceAccount>,
    pub config_maps: Vec<ConfigMap>,
    pub services: Vec<Service>,
    pub deployments: Vec<Deployment>,
    pub stateful_sets: Vec<StatefulSet>,
}

/// Builds every object of a Stack.
pub fn build(stack: &Validated) -> Plan {
    let Validated { broker, logger, listener, mongodb, rabbitmq, tracing, .. } = stack;
    let mut plan = Plan::default();
    if let Some(store) = mongodb {
        mongodb::add(&mut plan, stack, store);
    }
    if let Some(store) = rabbitmq {
        rabbitmq::add(&mut plan, stack, store);
    }
    if let Some(image) = &tracing.jaeger {
        jaeger::add(&mut plan, stack, image);
    }
    if let Some(run) = broker {
        plan.deployments.push(deployment::broker(stack, run));
        plan.services.push(service::broker(stack));
    }
    if let Some(run) = logger {
        plan.deployments.push(deployment::logger(stack, run));
        plan.services.push(service::logger(stack));
    }
    if let Some(run) = listener {
        plan.deployments.push(deployment::listener(stack, run));
    }
    plan.service_accounts =
        accounts(&plan).into_iter().map(|name| service_account::build(stack, name)).collect();
    plan
}

/// One account for each thing that runs: its name is its identity in the mesh.
fn accounts(plan: &Plan) -> Vec<&'static str> {
    let runs = |name: &str| {
        plan.deployments.iter().any(|object| object.metadata.name.as_deref() == Some(name))
            || plan.stateful_sets.iter().any(|object| object.metadata.name.as_deref() == Some(name))
    };
    [BROKER, LOGGER, LISTENER, MONGODB, RABBITMQ, JAEGER].into_iter().filter(|name| runs(name)).collect()
}
