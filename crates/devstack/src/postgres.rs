//! PostgreSQL from the Debian package, with its data in a given folder.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::Signal,
    unistd::{self, User},
};

use crate::{
    free_port,
    process::{Process, Spec, base_env},
    ready::Ready,
    state::kept_password,
    tools::packaged,
};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const PACKAGE: &str = "postgresql";
const USER: &str = "weft";

/// A PostgreSQL server on loopback, with a superuser and a random password.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    uri: String,
}

impl Postgres {
    /// Starts PostgreSQL with data and log in `folder`.
    ///
    /// # Errors
    /// When the package is missing, initdb fails, or the server is not ready in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let (postgres, initdb) = (program("postgres")?, program("initdb")?);
        fs::create_dir_all(folder)?;
        let password = kept_password(folder, "password", 24)?;
        let account = Account::find()?;
        let data = folder.join("data");
        if !data.join("PG_VERSION").exists() {
            account.init(&initdb, folder, &data)?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let (program, args) = account.command(&postgres, args(&data, address));
        let process = Process::new(Spec {
            name: "postgres".into(),
            program,
            args,
            env: base_env(),
            folder: folder.to_owned(),
            ready: Ready::Postgres(address, USER),
            start_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(30),
        })
        // After SIGTERM it would wait for clients to disconnect.
        .stopped_by(Signal::SIGINT);
        process.start().await?;
        Ok(Self { process, uri: format!("postgres://{USER}:{password}@{address}/postgres") })
    }

    /// The URI for clients, with user and password.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl Deref for Postgres {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

fn program(name: &str) -> Result<PathBuf> {
    packaged(&format!("{BIN}/{name}"), PACKAGE)
}

fn args(data: &Path, address: SocketAddr) -> Vec<String> {
    let set = |setting: &str| ["-c".to_owned(), setting.to_owned()];
    let mut args = vec!["-D".to_owned(), data.display().to_string()];
    args.extend(set("listen_addresses=127.0.0.1"));
    args.extend(set(&format!("port={}", address.port())));
    args.extend(set("unix_socket_directories="));
    args.extend(set("shared_buffers=32MB"));
    args
}

/// The user that PostgreSQL runs as, because it refuses to run as root. `None`: the current user.
struct Account(Option<User>);

impl Account {
    fn find() -> Result<Self> {
        if !unistd::geteuid().is_root() {
            return Ok(Self(None));
        }
        let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        user.map(|user| Self(Some(user))).context("neither the user postgres nor nobody exists")
    }

    /// The command that runs a program as that user. With the capability `dac_override` it can reach data below folders that only
    /// root may enter.
    fn command(&self, program: &Path, args: Vec<String>) -> (PathBuf, Vec<String>) {
        let Some(user) = &self.0 else { return (program.to_owned(), args) };
        let mut all = vec![
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--clear-groups".into(),
            "--inh-caps=+dac_override".into(),
            "--ambient-caps=+dac_override".into(),
            // The kernel clears the setting of the outer setpriv when the user changes.
            "--pdeathsig=KILL".into(),
            "--".into(),
            program.display().to_string(),
        ];
        all.extend(args);
        ("setpriv".into(), all)
    }

    fn init(&self, initdb: &Path, folder: &Path, data: &Path) -> Result<()> {
        fs::create_dir_all(data)?;
        if let Some(user) = &self.0 {
            chown(data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let args = vec![
            format!("--pgdata={}", data.display()),
            format!("--username={USER}"),
            format!("--pwfile={}", folder.join("password").display()),
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--locale=C.UTF-8".into(),
            "--no-sync".into(),
        ];
        let (program, args) = self.command(initdb, args);
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .envs(base_env())
            .current_dir(folder)
            .output()
            .context("failed to run initdb")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "initdb failed ({}): {errors}", output.status);
        Ok(())
    }
}
