//! The console's first view in a real browser with an empty cache, by the browser's own clock.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;
use weft_devstack::DevStack;

use super::Setup;
use crate::figure::Measured;

const LARGEST_KIB: f64 = 100.0;

/// What `e2e/browser/first-view.js` prints.
#[derive(Deserialize)]
struct FirstView {
    /// From navigation to the load event, the slowest of some visits.
    load_s: f64,
    /// Everything that came over the wire, headers included.
    transferred_kib: f64,
}

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let script = std::env::var_os("WEFT_BROWSER").map(PathBuf::from);
    let script =
        script.context("WEFT_BROWSER is not set: it names k8s/local/browser.sh, as make bench does")?;
    let out = Command::new(script)
        .arg("first-view")
        .env("CONSOLE_URL", stack.frontend.http_url())
        .output()
        .await
        .context("failed to run the browser")?;
    ensure!(out.status.success(), "the browser failed: {}", String::from_utf8_lossy(&out.stderr));
    let view: FirstView = serde_json::from_slice(&out.stdout).context("the browser printed no figures")?;
    let size = format!("{:.1} KiB over the wire, of {LARGEST_KIB} at most", view.transferred_kib);
    ensure!(view.transferred_kib <= LARGEST_KIB, "{size}");
    Ok(Measured { value: view.load_s, notes: vec![size] })
}
