//! Upgrades from the chart of the previous commit, with a running Stack and the same images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use weft_e2e::until;

use crate::place::{MAIN, Place, READY_WITHIN};

const OPERATOR: &str = "weft-operator";

pub(crate) async fn an_operator_upgrade_rolls_no_pod(place: &Place) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("previous-chart");
    let previous = previous_chart(&folder)?;
    place.sandbox().change_chart(&previous).await?;
    place.ready().await?;
    let before = pods(place).await?;
    place.sandbox().change_chart(place.sandbox().chart()).await?;
    place.ready_pods(place.release(), OPERATOR, 2, None).await?;
    // The second repair shows that the operator has completed a reconciliation of the Stack.
    for _ in 0..2 {
        delete_and_await(place).await?;
    }
    place.ready().await?;
    let after = pods(place).await?;
    ensure!(before == after, "pods before: {before:?}\npods after: {after:?}");
    Ok(())
}

/// The chart of the previous commit, from git.
fn previous_chart(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let archive = folder.join("chart.tar");
    let mut git = Command::new("git");
    git.arg("-C").arg(&root).args(["archive", "--output"]).arg(&archive);
    let output = git.args(["HEAD~1", "charts/weft"]).output()?;
    if !output.status.success() {
        // In a shallow clone the upgrade is from this chart to itself, which still replaces the operator's pods.
        eprintln!("git has no previous commit: {}", String::from_utf8_lossy(&output.stderr));
        return Ok(root.join("charts/weft"));
    }
    let output = Command::new("tar").arg("-C").arg(folder).arg("-xf").arg(&archive).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join("charts/weft"))
}

/// Each pod of the Stack with its uid and restart count.
async fn pods(place: &Place) -> Result<BTreeMap<String, String>> {
    let pods = place.kubectl().list(MAIN, &["pods", "-l", "weft.dev/stack"]).await?;
    let of_pod = |pod: &serde_json::Value| {
        let (meta, started) = (&pod["metadata"], &pod["status"]["containerStatuses"][0]["restartCount"]);
        (meta["name"].to_string(), format!("{} {started}", meta["uid"]))
    };
    Ok(pods.iter().map(of_pod).collect())
}

/// Deletes an object that no running pod needs, and waits until the operator has created it again.
async fn delete_and_await(place: &Place) -> Result<()> {
    place.kubectl().run(&["--namespace", MAIN, "delete", "serviceaccount", "jaeger"]).await?;
    until("the operator to create the ServiceAccount again", READY_WITHIN, async || {
        place.kubectl().json(&["--namespace", MAIN, "get", "serviceaccount", "jaeger"]).await.map(drop)
    })
    .await
}
