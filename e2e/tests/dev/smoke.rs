//! Runs the program of `helm test` against a broker.

use std::process::Output;

use tokio::process::Command;
use weft_devstack::our_binary;

use crate::helpers::{Own, shared};

async fn smoke(settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(our_binary("weft-operator").unwrap());
    command.arg("smoke").env_clear().envs(settings.iter().copied());
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn helm_test_finds_entry_and_trace() {
    let stack = shared().await;
    let (email, password) = stack.admin();
    let broker = stack.broker_url();
    let result = smoke(&[
        ("SMOKE_BROKER_URL", &broker),
        ("SMOKE_EMAIL", email),
        ("SMOKE_PASSWORD", password),
        ("SMOKE_WITHIN", "60s"),
    ])
    .await;
    assert!(result.status.success(), "{}{}", text(&result.stdout), text(&result.stderr));
    let output = text(&result.stdout);
    for step in ["signed in", "is acknowledged", "entry is stored", "leads through broker, listener, logger"]
    {
        assert!(output.contains(step), "the output has no `{step}`: {output}");
    }
    assert!(!output.contains(password));
}

#[tokio::test]
async fn helm_test_reports_a_wrong_password_at_once() {
    let stack = shared().await;
    let broker = stack.broker_url();
    let started = tokio::time::Instant::now();
    let result = smoke(&[
        ("SMOKE_BROKER_URL", &broker),
        ("SMOKE_EMAIL", "nobody@example.com"),
        ("SMOKE_PASSWORD", "not the password"),
        ("SMOKE_WITHIN", "300s"),
    ])
    .await;
    let output = text(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{output}");
    assert!(output.contains("to sign in") && output.contains("401"), "{output}");
    assert!(started.elapsed().as_secs() < 240, "it kept retrying a wrong password");
}

#[tokio::test]
async fn helm_test_fails_if_the_event_is_not_stored() {
    let own = Own::start().await;
    own.stack.listener.stop().await.unwrap();
    let (email, password) = own.stack.admin();
    let broker = own.stack.broker_url();
    let result = smoke(&[
        ("SMOKE_BROKER_URL", &broker),
        ("SMOKE_EMAIL", email),
        ("SMOKE_PASSWORD", password),
        ("SMOKE_WITHIN", "20s"),
    ])
    .await;
    let output = text(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{output}");
    assert!(output.contains("to find the event's entry") && output.contains("there is no entry"), "{output}");
}
