//! Who may call whom: the graph of the Stack, as one NetworkPolicy for each thing that runs.
//!
//! A workload may call whom it likes outside the Stack, which says nothing of that; inside, each side's policy decides.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Plan, Rotating, accounts, meta};
use crate::names::{self, ADMIN_PORT, BROKER, FRONTEND, HTTP_PORT};
use crate::reconcile::validate::Validated;

mod graph;

use graph::{Call, Outside};

const DNS_PORT: i32 = 53;

pub(super) fn add(plan: &mut Plan, stack: &Validated) {
    let (runs, calls) = (accounts(plan), graph::calls(stack));
    plan.network_policies.extend(runs.iter().map(|name| build(stack, name, &runs, &calls)));
    plan.network_policies.extend(plan.rotations.iter().map(|Rotating { store, .. }| rotation(stack, store)));
}

/// Of the Jobs that change a store's users.
fn rotation(stack: &Validated, store: &str) -> NetworkPolicy {
    let name = names::rotation(store);
    let to_store = NetworkPolicyEgressRule {
        to: Some(vec![pods(names::selector(store, &stack.name))]),
        ports: Some(ports("TCP", graph::store_ports(store))),
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(names::selector(&name, &stack.name))),
        policy_types: Some(["Ingress", "Egress"].map(str::to_owned).to_vec()),
        ingress: None,
        egress: Some(vec![dns(), to_store]),
    };
    NetworkPolicy { metadata: meta::owned(stack, &name), spec: Some(spec) }
}

fn build(stack: &Validated, name: &str, runs: &[String], calls: &[Call]) -> NetworkPolicy {
    let is_workload = stack.workloads.iter().any(|workload| workload.spec.name == name);
    let runs = |name: &str| runs.iter().any(|found| found == name);
    let incoming = calls.iter().filter(|call| call.to == name && runs(&call.from));
    let outgoing = calls.iter().filter(|call| call.from == name && runs(&call.to));
    let mut ingress: Vec<_> = incoming
        .map(|call| from(Some(vec![pods(names::selector(&call.from, &stack.name))]), &call.ports))
        .collect();
    if [BROKER, FRONTEND].contains(&name) {
        ingress.push(from(None, &[HTTP_PORT]));
    }
    if graph::SERVICES.contains(&name) {
        ingress.push(from(Some(readers(stack)), &[ADMIN_PORT]));
    }
    let store_ports = graph::store_ports(name);
    if !store_ports.is_empty() {
        let label = [(names::STACK, stack.name.as_str()), (names::CLIENT_OF, name)];
        let label = label.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        ingress.push(from(Some(vec![pods(label)]), store_ports));
    }
    let mut egress = vec![dns()];
    egress.extend(outgoing.map(|call| NetworkPolicyEgressRule {
        to: Some(vec![pods(names::selector(&call.to, &stack.name))]),
        ports: Some(ports("TCP", &call.ports)),
    }));
    egress.extend(graph::outside(stack, name).into_iter().map(|Outside { port }| NetworkPolicyEgressRule {
        to: None,
        ports: port.map(|port| ports("TCP", &[port])),
    }));
    let types: &[&str] = if is_workload { &["Ingress"] } else { &["Ingress", "Egress"] };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(names::selector(name, &stack.name))),
        policy_types: Some(types.iter().map(|type_| (*type_).to_owned()).collect()),
        ingress: (!ingress.is_empty()).then_some(ingress),
        egress: (!is_workload).then_some(egress),
    };
    NetworkPolicy { metadata: meta::owned(stack, name), spec: Some(spec) }
}

fn from(peers: Option<Vec<NetworkPolicyPeer>>, to_ports: &[i32]) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: peers, ports: Some(ports("TCP", to_ports)) }
}

fn ports(protocol: &str, numbers: &[i32]) -> Vec<NetworkPolicyPort> {
    let port = |number: &i32| NetworkPolicyPort {
        port: Some(IntOrString::Int(*number)),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    };
    numbers.iter().map(port).collect()
}

/// Wherever it is: some clusters answer from each node.
fn dns() -> NetworkPolicyEgressRule {
    let ports = ["UDP", "TCP"].into_iter().flat_map(|protocol| ports(protocol, &[DNS_PORT])).collect();
    NetworkPolicyEgressRule { to: None, ports: Some(ports) }
}

fn pods(labels: std::collections::BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(labels)), ..NetworkPolicyPeer::default() }
}

/// Who reads the admin port: the operator asks how stores are, Prometheus asks for metrics. Where not both are known, any
/// namespace will do: the port tells nothing that is secret.
fn readers(stack: &Validated) -> Vec<NetworkPolicyPeer> {
    let peer =
        |selector| NetworkPolicyPeer { namespace_selector: Some(selector), ..NetworkPolicyPeer::default() };
    let label = |name: &String| [("kubernetes.io/metadata.name".to_owned(), name.clone())].into();
    match &stack.operator_namespace {
        Some(operator) if !stack.monitoring_namespaces.is_empty() => {
            let named = [operator].into_iter().chain(&stack.monitoring_namespaces);
            named.map(|name| peer(selector(label(name)))).collect()
        }
        _ => vec![peer(LabelSelector::default())],
    }
}

fn selector(labels: std::collections::BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
