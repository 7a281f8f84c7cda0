use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::names::{self, ADMIN_PORT, GRPC_PORT, HTTP_PORT};
use crate::reconcile::validate::Validated;

/// A Service in front of the pods of this name; each port goes to the pod's port of the same name.
pub(super) fn build(stack: &Validated, name: &str, ports: &[(&str, i32)]) -> Service {
    let ports = ports.iter().map(|(name, port)| ServicePort {
        name: Some((*name).to_owned()),
        port: *port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String((*name).to_owned())),
        ..ServicePort::default()
    });
    let spec = ServiceSpec {
        selector: Some(names::selector(name, &stack.name)),
        ports: Some(ports.collect()),
        type_: Some("ClusterIP".to_owned()),
        ..ServiceSpec::default()
    };
    Service { metadata: meta::owned(stack, name), spec: Some(spec), ..Service::default() }
}

/// In front of a service with an HTTP face.
pub(super) fn http(stack: &Validated, name: &str) -> Service {
    build(stack, name, &[("http", HTTP_PORT), ("admin", ADMIN_PORT)])
}

/// In front of a service with a gRPC face.
pub(super) fn grpc(stack: &Validated, name: &str) -> Service {
    build(stack, name, &[("grpc", GRPC_PORT), ("admin", ADMIN_PORT)])
}
