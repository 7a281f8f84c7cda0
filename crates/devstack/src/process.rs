//! One child process: started, watched, killed, paused, started again, and ended with its owner.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    ready::{LOOK_EVERY, Ready},
    spawner,
};

const PAUSE_WITHIN: Duration = Duration::from_secs(5);
const CHILDREN_END_WITHIN: Duration = Duration::from_secs(10);

/// How a process is started, every time.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
    pub(crate) ready: Ready,
    pub(crate) start_within: Duration,
    pub(crate) stop_within: Duration,
}

/// A child process that can be ended and started again with the same ports and data.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    stop_signal: Signal,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    ended: watch::Receiver<Option<String>>,
    reaper: thread::JoinHandle<()>,
}

impl Process {
    pub(crate) fn new(spec: Spec) -> Self {
        Self { spec, stop_signal: Signal::SIGTERM, running: Mutex::new(None) }
    }

    /// The same process, asked to end by another signal than SIGTERM.
    pub(crate) fn stopped_by(mut self, stop_signal: Signal) -> Self {
        self.stop_signal = stop_signal;
        self
    }

    pub(crate) async fn launch(spec: Spec) -> Result<Self> {
        let process = Self::new(spec);
        process.start().await?;
        Ok(process)
    }

    /// Starts it again after [`Process::kill`] or [`Process::stop`], and waits until it serves.
    ///
    /// # Errors
    /// When it runs already, can't be started, ends at once, or does not serve in time; the message has the end of its log.
    pub async fn start(&self) -> Result<()> {
        self.start_unready()?;
        self.await_ready().await
    }

    /// Starts it again without waiting until it serves.
    ///
    /// # Errors
    /// When it runs already or can't be started.
    pub fn start_unready(&self) -> Result<()> {
        let mut running = self.lock();
        if let Some(old) = running.take_if(|old| old.ended.borrow().is_some()) {
            // It has ended, so this returns at once.
            let _ = old.reaper.join();
        }
        ensure!(running.is_none(), "{} runs already", self.spec.name);
        *running = Some(self.spawn()?);
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it ends, or does not serve in time; the message has the end of its log.
    pub async fn await_ready(&self) -> Result<()> {
        let deadline = Instant::now() + self.spec.start_within;
        while !self.spec.ready.holds().await {
            if let Some(status) = self.ended() {
                bail!("{} ended while it started ({status}); {}", self.spec.name, self.log_tail());
            }
            if Instant::now() > deadline {
                let Spec { name, start_within, ready, .. } = &self.spec;
                bail!(
                    "{name} does not serve after {start_within:?} (looked at {ready:?}); {}",
                    self.log_tail()
                );
            }
            sleep(LOOK_EVERY).await;
        }
        // Another process may answer on this port while ours has failed to bind it.
        match self.ended() {
            Some(status) => bail!("{} ended ({status}); {}", self.spec.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// Ends it and its children as a crash would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&self) -> Result<()> {
        let children = self.pid().map(descendants).unwrap_or_default();
        self.signal_group(Signal::SIGKILL)?;
        self.await_end(Duration::from_secs(10)).await?;
        // What it has shared with its children is free again only after the last of them.
        let deadline = Instant::now() + CHILDREN_END_WITHIN;
        while children.iter().any(|pid| lives(*pid)) {
            ensure!(Instant::now() < deadline, "children of {} outlive it", self.spec.name);
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM, or what its kind wants), waits, and returns its exit status.
    ///
    /// # Errors
    /// When it does not run, or does not end in time; then it is killed.
    pub async fn stop(&self) -> Result<String> {
        self.resume()?;
        self.signal(self.stop_signal)?;
        let ended = self.await_end(self.spec.stop_within).await;
        if ended.is_err() {
            self.kill().await?;
        }
        ended
    }

    /// Waits until it has ended by itself, and returns its exit status.
    ///
    /// # Errors
    /// When it still runs at the end of that time.
    pub async fn await_end(&self, within: Duration) -> Result<String> {
        let Some(mut ended) = self.lock().as_ref().map(|running| running.ended.clone()) else {
            bail!("{} was not started", self.spec.name);
        };
        let status = timeout(within, ended.wait_for(Option::is_some)).await;
        let status = status.with_context(|| format!("{} still runs after {within:?}", self.spec.name))??;
        Ok(status.clone().unwrap_or_default())
    }

    /// Stops its threads (SIGSTOP), and returns when all have: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal_group(Signal::SIGSTOP)?;
        let pid = self.pid().with_context(|| format!("{} ended while it was paused", self.spec.name))?;
        let deadline = std::time::Instant::now() + PAUSE_WITHIN;
        // A child that has just ended stays a zombie, since its parent stands still too.
        let stopped = |child: u32| !lives(child) || all_threads_stopped(child);
        while !(all_threads_stopped(pid) && descendants(pid).into_iter().all(stopped)) {
            ensure!(
                std::time::Instant::now() < deadline,
                "{} does not stop within {PAUSE_WITHIN:?}",
                self.spec.name
            );
            thread::sleep(Duration::from_millis(1));
            // Again, for a child that was made while the first signals were sent.
            self.signal_group(Signal::SIGSTOP)?;
        }
        Ok(())
    }

    /// Ends a [`Process::pause`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal_group(Signal::SIGCONT)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let running = self.lock();
        let running = running.as_ref().filter(|running| running.ended.borrow().is_none())?;
        u32::try_from(running.pid.as_raw()).ok()
    }

    /// The file with its standard output and error, of all its starts.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.log", self.spec.name))
    }

    /// The last lines of its log, in words for an error.
    #[must_use]
    pub fn log_tail(&self) -> String {
        const LINES: usize = 25;
        let file = self.log_file();
        let text =
            fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n  ");
        format!("the end of {}:\n  {tail}", file.display())
    }

    fn ended(&self) -> Option<String> {
        match self.lock().as_ref() {
            Some(running) => running.ended.borrow().clone(),
            None => Some("not started".into()),
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.send(|pid| kill(pid, signal))
    }

    /// Reaches its children too, those included that lead groups of their own, as PostgreSQL's do.
    fn signal_group(&self, signal: Signal) -> Result<()> {
        let children = self.pid().map(descendants).unwrap_or_default();
        self.send(|pid| killpg(pid, signal))?;
        for child in children.into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
            // An error means that it has ended already.
            let _ = kill(Pid::from_raw(child), signal);
        }
        Ok(())
    }

    fn send(&self, send: impl Fn(Pid) -> nix::Result<()>) -> Result<()> {
        let running = self.lock();
        match running.as_ref().filter(|running| running.ended.borrow().is_none()) {
            Some(running) => {
                send(running.pid).with_context(|| format!("failed to signal {}", self.spec.name))
            }
            None => bail!("{} does not run", self.spec.name),
        }
    }

    fn spawn(&self) -> Result<Running> {
        let Spec { name, program, args, env, folder, .. } = &self.spec;
        fs::create_dir_all(folder)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.env_clear().envs(env).current_dir(folder).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = spawner::spawn(command)
            .with_context(|| format!("failed to start {name} through setpriv (package util-linux)"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let (tell, ended) = watch::channel(None);
        let reaper = thread::spawn(move || {
            let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            tell.send_replace(Some(status));
        });
        Ok(Running { pid, ended, reaper })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.pid().map(descendants).unwrap_or_default();
        // An error means that it has ended already.
        let _ = self.signal_group(Signal::SIGKILL);
        if let Some(running) = self.lock().take() {
            let _ = running.reaper.join();
        }
        let deadline = std::time::Instant::now() + CHILDREN_END_WITHIN;
        while children.iter().any(|pid| lives(*pid)) && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Every process below this one.
fn descendants(pid: u32) -> Vec<u32> {
    let children = |task: &str| fs::read_to_string(format!("/proc/{pid}/task/{task}/children"));
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let below: String =
        tasks.flatten().filter_map(|task| children(&task.file_name().to_string_lossy()).ok()).collect();
    let below: Vec<u32> = below.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    below.into_iter().flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

/// It exists and is no zombie.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// A signal stops a process a moment after it is sent, and a thread that runs on another processor later than the rest.
fn all_threads_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // Its state is the first letter after the name, which stands in parentheses and may itself have some.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// The variables that every child gets; all others of this process stay here.
pub(crate) fn base_env() -> BTreeMap<String, String> {
    ["PATH", "LANG", "TMPDIR", "RUST_BACKTRACE"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}
