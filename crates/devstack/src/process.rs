//! A child process that can be started, stopped, killed, paused and restarted, and that ends with its owner.

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
    ready::{CHECK_INTERVAL, Ready},
    spawner,
};

const PAUSE_WITHIN: Duration = Duration::from_secs(5);
const CHILDREN_END_WITHIN: Duration = Duration::from_secs(10);

/// How to start a process.
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

/// A child process that can be stopped and started again with the same ports and data.
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

    /// Uses this signal instead of SIGTERM to stop the process.
    pub(crate) fn stopped_by(mut self, stop_signal: Signal) -> Self {
        self.stop_signal = stop_signal;
        self
    }

    pub(crate) async fn launch(spec: Spec) -> Result<Self> {
        let process = Self::new(spec);
        process.start().await?;
        Ok(process)
    }

    /// Starts the process again after [`Process::kill`] or [`Process::stop`], and waits until it is ready.
    ///
    /// # Errors
    /// When the process is already running, can't be started, exits, or is not ready in time; the message has the end of its log.
    pub async fn start(&self) -> Result<()> {
        self.start_unready()?;
        self.await_ready().await
    }

    /// Starts the process again without waiting until it is ready.
    ///
    /// # Errors
    /// When the process is already running or can't be started.
    pub fn start_unready(&self) -> Result<()> {
        let mut running = self.lock();
        if let Some(old) = running.take_if(|old| old.ended.borrow().is_some()) {
            // The process has exited, so this returns at once.
            let _ = old.reaper.join();
        }
        ensure!(running.is_none(), "{} is already running", self.spec.name);
        *running = Some(self.spawn()?);
        Ok(())
    }

    /// Waits until the process is ready.
    ///
    /// # Errors
    /// When the process exits, or is not ready in time; the message has the end of its log.
    pub async fn await_ready(&self) -> Result<()> {
        let deadline = Instant::now() + self.spec.start_within;
        while !self.spec.ready.holds().await {
            if let Some(status) = self.ended() {
                bail!("{} exited during startup ({status}); {}", self.spec.name, self.log_tail());
            }
            if Instant::now() > deadline {
                let Spec { name, start_within, ready, .. } = &self.spec;
                bail!("{name} is not ready after {start_within:?} (checked {ready:?}); {}", self.log_tail());
            }
            sleep(CHECK_INTERVAL).await;
        }
        // Another process may answer on this port while this one has failed to bind it.
        match self.ended() {
            Some(status) => bail!("{} exited ({status}); {}", self.spec.name, self.log_tail()),
            None => Ok(()),
        }
    }

    /// Kills the process and its children (SIGKILL), and waits until they are gone.
    ///
    /// # Errors
    /// When the process is not running.
    pub async fn kill(&self) -> Result<()> {
        let children = self.pid().map(descendants).unwrap_or_default();
        self.signal_group(Signal::SIGKILL)?;
        self.await_end(Duration::from_secs(10)).await?;
        // Resources shared with its children are released only after the last of them has exited.
        let deadline = Instant::now() + CHILDREN_END_WITHIN;
        while children.iter().any(|pid| is_alive(*pid)) {
            ensure!(Instant::now() < deadline, "children of {} are still running", self.spec.name);
            sleep(CHECK_INTERVAL).await;
        }
        Ok(())
    }

    /// Stops the process gracefully (SIGTERM, or SIGINT for PostgreSQL), and returns its exit status.
    ///
    /// # Errors
    /// When the process is not running, or does not exit in time; then it is killed.
    pub async fn stop(&self) -> Result<String> {
        self.resume()?;
        self.signal(self.stop_signal)?;
        let ended = self.await_end(self.spec.stop_within).await;
        if ended.is_err() {
            self.kill().await?;
        }
        ended
    }

    /// Waits until the process has exited, and returns its exit status.
    ///
    /// # Errors
    /// When the process is still running after that time.
    pub async fn await_end(&self, within: Duration) -> Result<String> {
        let Some(mut ended) = self.lock().as_ref().map(|running| running.ended.clone()) else {
            bail!("{} was not started", self.spec.name);
        };
        let status = timeout(within, ended.wait_for(Option::is_some)).await;
        let status =
            status.with_context(|| format!("{} is still running after {within:?}", self.spec.name))??;
        Ok(status.clone().unwrap_or_default())
    }

    /// Waits until the process has exited, and returns its name, its exit status and the end of its log.
    pub(crate) async fn exited(&self) -> String {
        let status = self.await_end(Duration::MAX).await.unwrap_or_else(|error| error.to_string());
        format!("{} exited ({status}); {}", self.spec.name, self.log_tail())
    }

    /// Suspends the process and its children (SIGSTOP), and returns when all threads have stopped. Its connections stay open, but
    /// it answers nothing.
    ///
    /// # Errors
    /// When the process is not running, or does not stop in time.
    pub fn pause(&self) -> Result<()> {
        self.signal_group(Signal::SIGSTOP)?;
        let pid = self.pid().with_context(|| format!("{} exited while it was paused", self.spec.name))?;
        let deadline = std::time::Instant::now() + PAUSE_WITHIN;
        // A child that has just exited stays a zombie, because its parent is stopped too.
        let stopped = |child: u32| !is_alive(child) || all_threads_stopped(child);
        while !(all_threads_stopped(pid) && descendants(pid).into_iter().all(stopped)) {
            ensure!(
                std::time::Instant::now() < deadline,
                "{} did not stop within {PAUSE_WITHIN:?}",
                self.spec.name
            );
            thread::sleep(Duration::from_millis(1));
            // Again, for children that were created while the first signals were sent.
            self.signal_group(Signal::SIGSTOP)?;
        }
        Ok(())
    }

    /// Resumes the process after [`Process::pause`].
    ///
    /// # Errors
    /// When the process is not running.
    pub fn resume(&self) -> Result<()> {
        self.signal_group(Signal::SIGCONT)
    }

    /// The process id, while the process is running.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let running = self.lock();
        let running = running.as_ref().filter(|running| running.ended.borrow().is_none())?;
        u32::try_from(running.pid.as_raw()).ok()
    }

    /// The file with standard output and error of all starts.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.spec.folder.join(format!("{}.log", self.spec.name))
    }

    /// The last lines of the log, as part of an error message.
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

    /// Signals the process and its descendants, including those with process groups of their own, such as PostgreSQL's.
    fn signal_group(&self, signal: Signal) -> Result<()> {
        let children = self.pid().map(descendants).unwrap_or_default();
        self.send(|pid| killpg(pid, signal))?;
        for child in children.into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
            // Fails when the child has already exited.
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
            None => bail!("{} is not running", self.spec.name),
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
        // Fails when the process has already exited.
        let _ = self.signal_group(Signal::SIGKILL);
        if let Some(running) = self.lock().take() {
            let _ = running.reaper.join();
        }
        let deadline = std::time::Instant::now() + CHILDREN_END_WITHIN;
        while children.iter().any(|pid| is_alive(*pid)) && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// All descendants of a process.
fn descendants(pid: u32) -> Vec<u32> {
    let children = |task: &str| fs::read_to_string(format!("/proc/{pid}/task/{task}/children"));
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let below: String =
        tasks.flatten().filter_map(|task| children(&task.file_name().to_string_lossy()).ok()).collect();
    let below: Vec<u32> = below.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    below.into_iter().flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

/// True when the process exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// True when all threads are stopped. SIGSTOP takes effect with a delay, which differs between threads.
fn all_threads_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state is the first letter after the name, which is in parentheses and may itself contain parentheses.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// The environment variables that are passed to every child; no others are.
pub(crate) fn base_env() -> BTreeMap<String, String> {
    ["PATH", "LANG", "TMPDIR", "RUST_BACKTRACE"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}
