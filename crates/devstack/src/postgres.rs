//! PostgreSQL from the Debian package, with its data in a given folder.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
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
    state::{StateDir, kept_password},
    tools::packaged,
};

const BIN: &str = "/usr/lib/postgresql/15/bin";
const PACKAGE: &str = "postgresql";
const USER: &str = "weft";
const DATA: &str = "data";
const PASSWORD: &str = "password";

/// A PostgreSQL server on loopback, with a superuser and a random password.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    uri: String,
    _fresh: Option<Arc<Fresh>>,
}

impl Postgres {
    /// Starts PostgreSQL with data and log in `folder`.
    ///
    /// # Errors
    /// When the package is missing, initdb fails, or the server is not ready in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let postgres = program("postgres")?;
        fs::create_dir_all(folder)?;
        let account = Account::find()?;
        let data = folder.join(DATA);
        let mut fresh = None;
        if !data.exists() {
            fresh.insert(Fresh::get(&account)?).copy_to(folder)?;
        }
        let password = kept_password(folder, PASSWORD, 24)?;
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
        Ok(Self { process, uri: format!("postgres://{USER}:{password}@{address}/postgres"), _fresh: fresh })
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

/// The data of a new server, with its password. The servers of a process start from copies, because initdb takes a second. Deleted
/// with the last server that was started from it.
#[derive(Debug)]
struct Fresh(StateDir);

static FRESH: Mutex<Weak<Fresh>> = Mutex::new(Weak::new());

impl Fresh {
    fn get(account: &Account) -> Result<Arc<Self>> {
        let mut shared = FRESH.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = shared.upgrade() {
            return Ok(fresh);
        }
        let state = StateDir::temporary()?;
        kept_password(state.path(), PASSWORD, 24)?;
        account.init(state.path())?;
        let fresh = Arc::new(Self(state));
        *shared = Arc::downgrade(&fresh);
        Ok(fresh)
    }

    fn copy_to(&self, folder: &Path) -> Result<()> {
        let part = folder.join("data.part");
        let copied = Command::new("cp").arg("-aT").arg(self.0.path().join(DATA)).arg(&part).output()?;
        let errors = String::from_utf8_lossy(&copied.stderr);
        ensure!(copied.status.success(), "failed to copy PostgreSQL's data ({}): {errors}", copied.status);
        fs::copy(self.0.path().join(PASSWORD), folder.join(PASSWORD))?;
        // Last, so that what an interrupted start leaves behind is not taken for data.
        Ok(fs::rename(part, folder.join(DATA))?)
    }
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

    fn init(&self, folder: &Path) -> Result<()> {
        let (initdb, data) = (program("initdb")?, folder.join(DATA));
        fs::create_dir_all(&data)?;
        if let Some(user) = &self.0 {
            chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let args = vec![
            format!("--pgdata={}", data.display()),
            format!("--username={USER}"),
            format!("--pwfile={}", folder.join(PASSWORD).display()),
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--locale=C.UTF-8".into(),
            "--no-sync".into(),
        ];
        let (program, args) = self.command(&initdb, args);
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
