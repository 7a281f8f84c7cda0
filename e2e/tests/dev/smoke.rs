//! What `helm test` runs, against a broker.

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
async fn helm_s_test_finds_its_event_s_entry_and_trace() {
    let stack = shared().await;
    let (email, password) = stack.admin();
    let broker = stack.broker_url();
    let told = smoke(&[
        ("SMOKE_BROKER_URL", &broker),
        ("SMOKE_EMAIL", email),
        ("SMOKE_PASSWORD", password),
        ("SMOKE_WITHIN", "60s"),
    ])
    .await;
    assert!(told.status.success(), "{}{}", text(&told.stdout), text(&told.stderr));
    let said = text(&told.stdout);
    for step in ["signed in", "is acknowledged", "entry is stored", "leads through broker, listener, logger"]
    {
        assert!(said.contains(step), "it does not say `{step}`: {said}");
    }
    assert!(!said.contains(password));
}

#[tokio::test]
async fn helm_s_test_says_that_a_password_is_wrong_and_does_not_wait() {
    let stack = shared().await;
    let broker = stack.broker_url();
    let started = tokio::time::Instant::now();
    let told = smoke(&[
        ("SMOKE_BROKER_URL", &broker),
        ("SMOKE_EMAIL", "nobody@example.com"),
        ("SMOKE_PASSWORD", "not the password"),
        ("SMOKE_WITHIN", "300s"),
    ])
    .await;
    let said = text(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("to sign in") && said.contains("401"), "{said}");
    assert!(started.elapsed().as_secs() < 240, "it waited for what does not change");
}

#[tokio::test]
async fn helm_s_test_fails_when_an_event_never_becomes_an_entry() {
    let own = Own::start().await;
    own.stack.listener.stop().await.unwrap();
    let (email, password) = own.stack.admin();
    let broker = own.stack.broker_url();
    let told = smoke(&[
        ("SMOKE_BROKER_URL", &broker),
        ("SMOKE_EMAIL", email),
        ("SMOKE_PASSWORD", password),
        ("SMOKE_WITHIN", "20s"),
    ])
    .await;
    let said = text(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("to find the event's entry") && said.contains("there is no entry"), "{said}");
}
