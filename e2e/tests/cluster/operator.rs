//! Leader election of the operator, and `helm test`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use weft_e2e::until;

use crate::place::{MAIN, Place, READY_WITHIN, STACK};

const OPERATOR: &str = "weft-operator";
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(3);

pub(crate) async fn helm_test_passes(place: &Place) -> Result<()> {
    let (namespace, stack) = (format!("test.namespace={MAIN}"), format!("test.stack={STACK}"));
    place.sandbox().set(&[&namespace, &stack]).await?;
    let output = place.sandbox().test(MAIN).await?;
    for step in ["signed in", "is acknowledged", "entry is stored", "its trace leads through"] {
        ensure!(output.contains(step), "the output has no `{step}`: {output}");
    }
    Ok(())
}

/// Measures from the deletion of the leader's pod to the next holder in the Lease. This includes the kubelet and the drain.
pub(crate) async fn hands_over_leadership_within_three_seconds(place: &Place) -> Result<()> {
    let release = place.release();
    place.ready_pods(release, OPERATOR, 2, None).await?;
    let before = holder(place).await?;
    let pod = before.split('_').next().unwrap_or_default();
    let started = Instant::now();
    place.kubectl().run(&["--namespace", release, "delete", "pod", pod, "--wait=false"]).await?;
    until("another leader", READY_WITHIN, async || {
        let now = holder(place).await?;
        ensure!(now != before, "{now} still leads");
        Ok(())
    })
    .await?;
    let took = started.elapsed();
    eprintln!("handover: {took:?}");
    ensure!(took < HANDED_OVER_WITHIN, "the handover took {took:?}");
    place.ready_pods(release, OPERATOR, 2, None).await?;
    Ok(())
}

async fn holder(place: &Place) -> Result<String> {
    let lease = place.kubectl().json(&["--namespace", place.release(), "get", "lease", OPERATOR]).await?;
    let holder = lease["spec"]["holderIdentity"].as_str();
    holder.map(str::to_owned).context("the Lease has no holder")
}
