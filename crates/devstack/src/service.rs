//! One of Weft's services, configured by environment variables.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::Path,
    time::Duration,
};

use anyhow::Result;

use crate::{
    free_port,
    ports::prefer,
    process::{Process, Spec, base_env},
    ready::Ready,
    tools::our_binary,
};

/// Options of a service.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Preferred HTTP port; any free port when it is 0 or in use.
    pub http_port: u16,
    /// Environment variables; they override the default ones.
    pub env: BTreeMap<String, String>,
}

impl ServiceOptions {
    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    process: Process,
    http: SocketAddr,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Service {
    /// Starts the binary `name` and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is missing or is not ready in time.
    pub async fn start(name: &str, folder: &Path, options: ServiceOptions) -> Result<Self> {
        let service = Self::start_unready(name, folder, options)?;
        service.process.await_ready().await?;
        Ok(service)
    }

    /// Starts the binary `name` without waiting until it is ready.
    ///
    /// # Errors
    /// When the binary is missing or can't be started.
    pub fn start_unready(name: &str, folder: &Path, options: ServiceOptions) -> Result<Self> {
        let program = our_binary(name)?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let http = local(prefer(options.http_port)?);
        let (grpc, admin) = (local(free_port()?), local(free_port()?));
        let mut env = base_env();
        env.insert("WEFT_HTTP_ADDR".into(), http.to_string());
        env.insert("WEFT_GRPC_ADDR".into(), grpc.to_string());
        env.insert("WEFT_ADMIN_ADDR".into(), admin.to_string());
        env.insert("WEFT_MESH_SECURITY".into(), "plaintext".into());
        env.extend(options.env);
        let process = Process::new(Spec {
            name: name.to_owned(),
            program,
            args: Vec::new(),
            env,
            folder: folder.to_owned(),
            ready: Ready::Http(format!("http://{admin}/readyz")),
            start_within: Duration::from_secs(120),
            stop_within: Duration::from_secs(40),
        });
        process.start_unready()?;
        Ok(Self { process, http, grpc, admin })
    }

    /// URL of the HTTP server.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Address of the gRPC server.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// URL of the admin port.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

impl Deref for Service {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
