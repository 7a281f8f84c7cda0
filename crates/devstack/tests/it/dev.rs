use std::{fs, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::helpers::descendants;

/// The id of the child process that runs this binary.
fn child_named(pid: u32, name: &str) -> Option<Pid> {
    let named =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    descendants(pid).into_iter().find(named).map(|pid| Pid::from_raw(pid.try_into().unwrap()))
}

#[tokio::test]
async fn a_service_that_dies_is_reported_and_the_rest_stops_in_order() {
    let mut dev = Command::new(env!("CARGO_BIN_EXE_weft-dev"))
        .args(["--broker-port=0", "--console-port=0", "--mail-port=0", "--no-traces"])
        .env("RUST_BACKTRACE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = dev.id().unwrap();
    let mut urls = BufReader::new(dev.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(dev.stderr.take().unwrap());
    let ready = async { while urls.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {} };
    timeout(Duration::from_secs(120), ready).await.expect("the stack starts");

    kill(child_named(pid, "listener").expect("a listener"), Signal::SIGKILL).unwrap();
    let mut report = String::new();
    let reported =
        async { while !report.contains("Ctrl-C") && errors.read_line(&mut report).await.unwrap() > 0 {} };
    timeout(Duration::from_secs(10), reported).await.expect("the exit is reported");
    assert!(report.starts_with("listener exited (signal: 9 (SIGKILL)); the end of /"), "{report}");
    assert!(
        report.contains("/services/listener.log:\n  ") && report.contains("process starting"),
        "{report}"
    );

    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGINT).unwrap();
    let status = timeout(Duration::from_secs(60), dev.wait()).await.expect("weft-dev ends").unwrap();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).await.unwrap();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}
