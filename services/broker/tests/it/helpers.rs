use weft_devstack::{ServiceOptions, free_port};

/// Every setting that it needs, with addresses at which nobody listens.
pub(crate) fn nobody_there() -> ServiceOptions {
    let nobody = || format!("127.0.0.1:{}", free_port().unwrap());
    ServiceOptions::default()
        .env("AMQP_URI", format!("amqp://user:secret-password@{}/%2f", nobody()))
        .env("BROKER_OPEN_ACTIONS", "log,event")
        .env("WEFT_MESH_ADDRESSES", format!("logger={},authentication={}", nobody(), nobody()))
}
