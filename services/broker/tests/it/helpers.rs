use weft_devstack::{ServiceOptions, free_port};

/// All required settings, with addresses on which nothing listens.
pub(crate) fn unreachable_services() -> ServiceOptions {
    let unused = || format!("127.0.0.1:{}", free_port().unwrap());
    ServiceOptions::default()
        .env("AMQP_URI", format!("amqp://user:secret-password@{}/%2f", unused()))
        .env("BROKER_OPEN_ACTIONS", "log,event")
        .env("WEFT_MESH_ADDRESSES", format!("logger={},authentication={}", unused(), unused()))
}
