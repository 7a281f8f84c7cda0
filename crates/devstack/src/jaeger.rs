//! Jaeger 1 (all-in-one) with in-memory storage.

use std::{
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
    tools::tool,
};

const MAX_TRACES: u32 = 20_000;

/// A Jaeger on loopback that receives OTLP and answers queries.
#[derive(Debug)]
pub struct Jaeger {
    process: Process,
    otlp: SocketAddr,
    query: SocketAddr,
}

impl Jaeger {
    /// Starts Jaeger with its log in `folder` and its query API on this port, or on any port when it is 0 or in use.
    ///
    /// # Errors
    /// When the tool is missing or is not ready in time.
    pub async fn start(folder: &Path, query_port: u16) -> Result<Self> {
        let program = tool("jaeger-all-in-one", "jaeger")?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (otlp, query, admin) = (local(free_port()?), local(prefer(query_port)?), local(free_port()?));
        let mut env = base_env();
        env.insert("SPAN_STORAGE_TYPE".into(), "memory".into());
        // Jaeger's own requests would appear among Weft's.
        env.insert("OTEL_TRACES_SAMPLER".into(), "always_off".into());
        let process = Process::launch(Spec {
            name: "jaeger".into(),
            program,
            args: args(otlp, query, admin, local(free_port()?)),
            env,
            folder: folder.to_owned(),
            ready: Ready::Http(format!("http://{admin}/")),
            start_within: Duration::from_secs(30),
            stop_within: Duration::from_secs(15),
        });
        Ok(Self { process: process.await?, otlp, query })
    }

    /// OTLP endpoint (gRPC) for spans.
    #[must_use]
    pub fn otlp_endpoint(&self) -> String {
        format!("http://{}", self.otlp)
    }

    /// URL of the query API.
    #[must_use]
    pub fn query_url(&self) -> String {
        format!("http://{}", self.query)
    }
}

impl Deref for Jaeger {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

fn args(otlp: SocketAddr, query: SocketAddr, admin: SocketAddr, collector: SocketAddr) -> Vec<String> {
    // Servers that are not used get any port.
    let unused = "127.0.0.1:0";
    vec![
        format!("--collector.otlp.grpc.host-port={otlp}"),
        format!("--query.http-server.host-port={query}"),
        format!("--admin.http.host-port={admin}"),
        format!("--collector.grpc-server.host-port={collector}"),
        format!("--memory.max-traces={MAX_TRACES}"),
        format!("--collector.otlp.http.host-port={unused}"),
        format!("--collector.http-server.host-port={unused}"),
        format!("--query.grpc-server.host-port={unused}"),
        format!("--http-server.host-port={unused}"),
        format!("--processor.jaeger-compact.server-host-port={unused}"),
        format!("--processor.jaeger-binary.server-host-port={unused}"),
        format!("--processor.zipkin-compact.server-host-port={unused}"),
        "--log-level=warn".into(),
    ]
}
