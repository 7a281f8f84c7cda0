//! From the previous commit's chart to this one's, with a live Stack and the same images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use weft_e2e::until;

use crate::place::{Place, READY_WITHIN, ROAD};

const OPERATOR: &str = "weft-operator";

pub(crate) async fn an_upgrade_from_the_previous_commit_s_chart_rolls_no_pod_of_a_stack(
    place: &Place,
) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("previous-chart");
    let previous = previous_chart(&folder)?;
    place.sandbox().change_chart(&previous).await?;
    place.ready().await?;
    let before = pods(place).await?;
    place.sandbox().change_chart(place.sandbox().chart()).await?;
    place.ready_pods(place.release(), OPERATOR, 2, None).await?;
    // What it puts back for the second time shows that a whole pass over the Stack is done.
    for _ in 0..2 {
        put_back(place).await?;
    }
    place.ready().await?;
    let after = pods(place).await?;
    ensure!(before == after, "pods before: {before:?}\npods after: {after:?}");
    Ok(())
}

/// The chart as it was one commit before, from git.
fn previous_chart(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let archive = folder.join("chart.tar");
    let mut git = Command::new("git");
    git.arg("-C").arg(&root).args(["archive", "--output"]).arg(&archive);
    let told = git.args(["HEAD~1", "charts/weft"]).output()?;
    if !told.status.success() {
        // A shallow clone. From this chart to itself still replaces the operator's pods.
        eprintln!("git has no commit before: {}", String::from_utf8_lossy(&told.stderr));
        return Ok(root.join("charts/weft"));
    }
    let told = Command::new("tar").arg("-C").arg(folder).arg("-xf").arg(&archive).output()?;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    Ok(folder.join("charts/weft"))
}

/// Each pod of the Stack with its uid and how often it was started again.
async fn pods(place: &Place) -> Result<BTreeMap<String, String>> {
    let pods = place.kubectl().list(ROAD, &["pods", "-l", "weft.dev/stack"]).await?;
    let of_pod = |pod: &serde_json::Value| {
        let (meta, started) = (&pod["metadata"], &pod["status"]["containerStatuses"][0]["restartCount"]);
        (meta["name"].to_string(), format!("{} {started}", meta["uid"]))
    };
    Ok(pods.iter().map(of_pod).collect())
}

/// Deletes something that no running pod needs, and waits until the operator has made it again.
async fn put_back(place: &Place) -> Result<()> {
    place.kubectl().run(&["--namespace", ROAD, "delete", "serviceaccount", "jaeger"]).await?;
    until("the operator to make the ServiceAccount again", READY_WITHIN, async || {
        place.kubectl().json(&["--namespace", ROAD, "get", "serviceaccount", "jaeger"]).await.map(drop)
    })
    .await
}
