//! A shared stack for tests that only use it, and separate stacks for tests that break something.

use std::fs;
use std::path::Path;

use tokio::sync::{Mutex, MutexGuard, OnceCell};
use weft_devstack::{DevStack, Options};
use weft_e2e::{Broker, Jaeger, Mailbox};

static SHARED: OnceCell<DevStack> = OnceCell::const_new();
/// Only one separate stack at a time, because two would cause timeouts on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The shared stack. Tests must not break it.
pub(crate) async fn shared() -> &'static DevStack {
    SHARED.get_or_init(|| async { DevStack::start(shared_options()).await.unwrap() }).await
}

/// A separate stack, which the test may break.
pub(crate) struct Own {
    pub(crate) stack: DevStack,
    _turn: MutexGuard<'static, ()>,
}

impl Own {
    pub(crate) async fn start() -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        Self { stack: DevStack::start(patient()).await.unwrap(), _turn: turn }
    }

    pub(crate) fn broker(&self) -> Broker {
        broker(&self.stack)
    }
}

pub(crate) fn broker(stack: &DevStack) -> Broker {
    let (email, password) = stack.admin();
    Broker::signing_in(stack.broker_url(), email, password).unwrap()
}

pub(crate) fn jaeger(stack: &DevStack) -> Jaeger {
    Jaeger::new(stack.jaeger_url().expect("the stack runs with Jaeger")).unwrap()
}

pub(crate) fn mailbox(stack: &DevStack) -> Mailbox {
    Mailbox::new(stack.mailcatcher.url()).unwrap()
}

/// Timeouts longer than the defaults, so that a busy machine does not look like an outage, but shorter than a client's.
fn patient() -> Options {
    let timeouts = ["WEFT_MESH_TIMEOUT", "BROKER_PUBLISH_TIMEOUT", "AUTH_STORE_TIMEOUT"];
    let env = timeouts.map(|name| (name.to_owned(), "8s".to_owned())).into();
    Options { env, ..Options::default() }
}

/// The shared stack ends with this process, so nothing can delete its folder afterwards; the next run does.
fn shared_options() -> Options {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev");
    fs::create_dir_all(&parent).unwrap();
    for entry in fs::read_dir(&parent).unwrap().flatten() {
        let owner = entry.file_name().to_string_lossy().into_owned();
        if !Path::new("/proc").join(owner).exists() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    Options { state: Some(parent.join(std::process::id().to_string())), ..patient() }
}
