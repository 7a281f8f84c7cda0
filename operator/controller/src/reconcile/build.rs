//! From a checked Stack to every object that it needs. Pure: the same Stack always gives the same objects.

mod admin;
mod basis;
mod config_map;
mod deployment;
mod encryption;
mod ingress;
mod jaeger;
mod mailcatcher;
mod meta;
mod mongodb;
mod network_policy;
mod placement;
mod pod;
mod postgres;
mod rabbitmq;
mod rest;
mod rotation;
mod secret;
mod service;
mod service_account;
mod services;
mod stateful_set;
mod workloads;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::validate::{FirstUser, SmtpPlan, Validated};

pub use basis::Basis;
pub(crate) use basis::digest;
pub(crate) use meta::kept as kept_meta;
pub use rotation::{Rotating, Stage};

/// Every object of a Stack.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What opens data: made once, then left alone, owned by nobody.
    pub data_secrets: Vec<Secret>,
    /// What follows from other Secrets, and goes with the Stack.
    pub derived_secrets: Vec<Secret>,
    pub service_accounts: Vec<ServiceAccount>,
    pub config_maps: Vec<ConfigMap>,
    /// What changes the users of managed stores.
    pub jobs: Vec<Job>,
    /// The managed stores whose credentials change, and how far each is.
    pub rotations: Vec<Rotating>,
    pub services: Vec<Service>,
    pub deployments: Vec<Deployment>,
    pub stateful_sets: Vec<StatefulSet>,
    /// What keeps the pod templates: filled once it is known which were kept.
    pub controller_revisions: Vec<ControllerRevision>,
    /// What each pod template follows from. One that is not named here follows this operator.
    pub bases: BTreeMap<String, Basis>,
    pub disruption_budgets: Vec<PodDisruptionBudget>,
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    pub network_policies: Vec<NetworkPolicy>,
    pub ingresses: Vec<Ingress>,
}

/// Builds every object of a Stack.
pub fn build(stack: &Validated) -> Plan {
    let Validated { mongodb, rabbitmq, postgres, smtp, first_user, tracing, .. } = stack;
    let mut plan = Plan::default();
    if let Some(store) = mongodb {
        mongodb::add(&mut plan, stack, store);
    }
    if let Some(store) = rabbitmq {
        rabbitmq::add(&mut plan, stack, store);
    }
    if let Some(store) = postgres {
        postgres::add(&mut plan, stack, store);
    }
    if let FirstUser::Wanted(admin) = first_user {
        admin::add(&mut plan, stack, admin);
    }
    encryption::add(&mut plan, stack);
    if let Some(SmtpPlan::Catcher(image)) = smtp {
        mailcatcher::add(&mut plan, stack, image);
    }
    if let Some(image) = &tracing.jaeger {
        jaeger::add(&mut plan, stack, image);
    }
    services::add(&mut plan, stack);
    workloads::add(&mut plan, stack);
    if let Some(expose) = &stack.expose {
        ingress::add(&mut plan, stack, expose);
    }
    if stack.network_policies {
        network_policy::add(&mut plan, stack);
    }
    rest::stop(&mut plan, stack);
    plan.service_accounts = accounts(&plan).iter().map(|name| service_account::build(stack, name)).collect();
    plan
}

/// One account for each thing that runs: its name is its identity in the mesh.
fn accounts(plan: &Plan) -> Vec<String> {
    let deployments = plan.deployments.iter().map(|object| &object.metadata);
    let sets = plan.stateful_sets.iter().map(|object| &object.metadata);
    deployments.chain(sets).filter_map(|metadata| metadata.name.clone()).collect()
}
