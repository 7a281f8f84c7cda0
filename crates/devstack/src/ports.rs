//! Picks free ports for child processes.

use std::{collections::HashSet, net::TcpListener, ops::Range, sync::Mutex};

use anyhow::{Context, Result, bail};

/// Below the kernel's range for outgoing connections and below Kubernetes' node ports, so that only a process that asks for
/// exactly this port can take it.
const RANGE: Range<u16> = 15_000..29_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A loopback port that is free and that this process has not returned before.
///
/// # Errors
/// When no free port is found.
pub fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().ok().context("the list of ports is poisoned")?;
    let given = given.get_or_insert_default();
    for _ in 0..1_000 {
        let port = rand::random_range(RANGE);
        if is_free(port) && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

/// This port if it is free, otherwise any free port.
///
/// # Errors
/// When no free port is found.
pub(crate) fn prefer(port: u16) -> Result<u16> {
    if port != 0 && is_free(port) { Ok(port) } else { free_port() }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
}
