//! FerretDB: MongoDB's protocol on SQLite.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::Path,
    time::Duration,
};

use anyhow::Result;

use crate::{
    free_port,
    process::{Process, Spec, base_env},
    ready::Ready,
    tools::tool,
};

/// A FerretDB without passwords, on loopback.
#[derive(Debug)]
pub struct FerretDb {
    process: Process,
    uri: String,
}

impl FerretDb {
    /// Starts FerretDB with data and log in `folder`.
    ///
    /// # Errors
    /// When the tool is missing or is not ready in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let program = tool("ferretdb", "ferretdb")?;
        let data = folder.join("data");
        std::fs::create_dir_all(&data)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let args = vec![
            "--handler=sqlite".into(),
            format!("--sqlite-url=file:{}/", data.display()),
            format!("--state-dir={}", folder.display()),
            format!("--listen-addr={address}"),
            "--debug-addr=-".into(),
            "--telemetry=disable".into(),
            "--log-level=WARN".into(),
        ];
        let mut env = base_env();
        // Less frequent garbage collection saves a seventh of the CPU time and costs about 30 MiB of memory.
        env.insert("GOGC".into(), "400".into());
        let process = Process::launch(Spec {
            name: "ferretdb".into(),
            program,
            args,
            env,
            folder: folder.to_owned(),
            ready: Ready::Tcp(address),
            start_within: Duration::from_secs(30),
            stop_within: Duration::from_secs(30),
        });
        Ok(Self { process: process.await?, uri: format!("mongodb://{address}/") })
    }

    /// The URI for clients.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl Deref for FerretDb {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
