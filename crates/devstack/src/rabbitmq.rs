//! RabbitMQ from the Debian package, with its data in a given folder.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    free_port,
    process::{Process, Spec, base_env},
    ready::Ready,
    state::kept_password,
    tools::packaged,
};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const PACKAGE: &str = "rabbitmq-server";
const USER: &str = "weft";

/// A RabbitMQ node on loopback, with a user and a random password.
#[derive(Debug)]
pub struct RabbitMq {
    // Dropped before the epmd that the node is registered with.
    server: Process,
    _epmd: Process,
    env: BTreeMap<String, String>,
    uri: String,
    management: Option<u16>,
}

impl RabbitMq {
    /// Starts a node with data and logs in `folder`.
    ///
    /// # Errors
    /// When the package is missing or the node is not ready in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::launch(folder, None).await
    }

    /// Starts a node with the management plugin, configured as by the operator.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_management(folder: &Path) -> Result<Self> {
        Self::launch(folder, Some(free_port()?)).await
    }

    async fn launch(folder: &Path, management: Option<u16>) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let server = packaged(SERVER, PACKAGE)?;
        let epmd = packaged("/usr/bin/epmd", "erlang-base")?;
        let (port, epmd_port) = (free_port()?, free_port()?);
        let password = kept_password(folder, "password", 24)?;
        write_config(folder, port, &password, management)?;
        let env = node_env(folder, epmd_port, free_port()?);
        let epmd = Process::launch(epmd_spec(epmd, folder, &env, epmd_port)).await?;
        let server = Process::launch(server_spec(server, folder, &env, port)).await?;
        let uri = format!("amqp://{USER}:{password}@127.0.0.1:{port}/%2f");
        Ok(Self { server, _epmd: epmd, env, uri, management })
    }

    /// The URI for clients, with user and password.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// URL of the management API, if the plugin is enabled.
    #[must_use]
    pub fn management_url(&self) -> Option<String> {
        self.management.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Makes RabbitMQ write buffered declarations to disk. Otherwise a kill within seconds after the first declarations can lose
    /// queues with their messages.
    ///
    /// # Errors
    /// As [`Self::ctl`].
    pub fn sync_declarations(&self) -> Result<()> {
        self.ctl(&["eval", "lists:foreach(fun dets:sync/1, dets:all()), ok = mnesia:sync_log()."]).map(drop)
    }

    /// Runs `rabbitmqctl` against this node (an Erlang VM: seconds, not milliseconds), and returns its output.
    ///
    /// # Errors
    /// When it can't be run or fails.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(packaged(CTL, PACKAGE)?).args(args).env_clear().envs(&self.env).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "rabbitmqctl {args:?} failed ({}): {text}{errors}", output.status);
        Ok(text)
    }
}

impl Deref for RabbitMq {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.server
    }
}

fn write_config(folder: &Path, port: u16, password: &str, management: Option<u16>) -> Result<()> {
    let mut config = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         default_user = {USER}\n\
         default_pass = {password}\n\
         vm_memory_high_watermark.absolute = 2GB\n\
         disk_free_limit.absolute = 1MB\n\
         raft.wal_max_size_bytes = 67108864\n"
    );
    if let Some(port) = management {
        config += &format!(
            "management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {port}\n\
             management_agent.disable_metrics_collector = true\n\
             management.disable_stats = true\n"
        );
    }
    fs::write(folder.join("rabbitmq.conf"), config)?;
    let plugins = if management.is_some() { "[rabbitmq_management].\n" } else { "[].\n" };
    fs::write(folder.join("enabled_plugins"), plugins)?;
    fs::write(folder.join("rabbitmq-env.conf"), "")?;
    Ok(())
}

fn node_env(folder: &Path, epmd_port: u16, distribution_port: u16) -> BTreeMap<String, String> {
    let at = |name: &str| folder.join(name).display().to_string();
    let own = [
        ("HOME", folder.display().to_string()),
        ("ERL_EPMD_PORT", epmd_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        // Constant, because data belongs to a node name. Each node has its own epmd, so equal names do not conflict.
        ("RABBITMQ_NODENAME", "weft@localhost".into()),
        ("RABBITMQ_DIST_PORT", distribution_port.to_string()),
        ("RABBITMQ_CONF_ENV_FILE", at("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", at("config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", at("mnesia")),
        ("RABBITMQ_LOG_BASE", at("log")),
        ("RABBITMQ_LOGS", "-".into()),
        ("RABBITMQ_PID_FILE", at("pid")),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
                .into(),
        ),
        // Makes the start script exec the Erlang VM instead of staying its parent, so that signals reach the VM.
        ("detached", "true".into()),
    ];
    let mut env = base_env();
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    env
}

fn epmd_spec(program: PathBuf, folder: &Path, env: &BTreeMap<String, String>, port: u16) -> Spec {
    Spec {
        name: "epmd".into(),
        program,
        args: Vec::new(),
        env: env.clone(),
        folder: folder.to_owned(),
        ready: Ready::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        start_within: Duration::from_secs(20),
        stop_within: Duration::from_secs(5),
    }
}

fn server_spec(program: PathBuf, folder: &Path, env: &BTreeMap<String, String>, port: u16) -> Spec {
    Spec {
        name: "rabbitmq".into(),
        program,
        args: Vec::new(),
        env: env.clone(),
        folder: folder.to_owned(),
        ready: Ready::Amqp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        // Five seconds on an idle machine, twenty while two compilers have the cores.
        start_within: Duration::from_secs(120),
        stop_within: Duration::from_secs(60),
    }
}
