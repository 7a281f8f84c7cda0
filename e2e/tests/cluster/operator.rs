//! The operator as a process, and its package.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use weft_e2e::until;

use crate::place::{Place, READY_WITHIN, ROAD, STACK};

const OPERATOR: &str = "weft-operator";
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(3);

pub(crate) async fn helm_s_test_finds_its_event_and_its_trace(place: &Place) -> Result<()> {
    let (namespace, stack) = (format!("test.namespace={ROAD}"), format!("test.stack={STACK}"));
    place.sandbox().set(&[&namespace, &stack]).await?;
    let said = place.sandbox().test(ROAD).await?;
    for step in ["signed in", "is acknowledged", "entry is stored", "its trace leads through"] {
        ensure!(said.contains(step), "it does not say `{step}`: {said}");
    }
    Ok(())
}

/// From the request to end the pod, which kubelet and the drain have their part in, to the next holder's name in the Lease.
pub(crate) async fn another_leads_within_three_seconds_of_the_leader_s_clean_end(
    place: &Place,
) -> Result<()> {
    let release = place.release();
    place.ready_pods(release, OPERATOR, 2, None).await?;
    let before = holder(place).await?;
    let pod = before.split('_').next().unwrap_or_default();
    let started = Instant::now();
    place.kubectl().run(&["--namespace", release, "delete", "pod", pod, "--wait=false"]).await?;
    until("another leader", READY_WITHIN, async || {
        let now = holder(place).await?;
        ensure!(now != before, "it is still {now}");
        Ok(())
    })
    .await?;
    let took = started.elapsed();
    eprintln!("hand-over: {took:?}");
    ensure!(took < HANDED_OVER_WITHIN, "it took {took:?}");
    place.ready_pods(release, OPERATOR, 2, None).await?;
    Ok(())
}

async fn holder(place: &Place) -> Result<String> {
    let lease = place.kubectl().json(&["--namespace", place.release(), "get", "lease", OPERATOR]).await?;
    let holder = lease["spec"]["holderIdentity"].as_str();
    holder.map(str::to_owned).context("nobody leads")
}
