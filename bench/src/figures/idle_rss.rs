use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;
use weft_devcluster::{Resident, of_container};

use crate::cluster::{Cluster, NAMESPACE, SERVICES};
use crate::figure::Measured;

const IDLE: Duration = Duration::from_secs(10);

pub(super) async fn measure(cluster: &mut Cluster) -> Result<Measured> {
    let release = cluster.release().await?;
    release.ready().await?;
    // Not for a condition: to be idle for this long is what is measured.
    sleep(IDLE).await;
    let (mut total, mut notes) = (0_u64, Vec::new());
    let operator = release.name();
    let services = SERVICES.into_iter().map(|app| (NAMESPACE, app));
    // Of the operator both: the one that acts and the one that stands by.
    for (namespace, app) in services.chain([(operator, "weft-operator")]) {
        let kib = resident(release.kubectl().pods(namespace, app).await?)
            .with_context(|| format!("the pods of {app}"))?;
        notes.push(format!("{app} {:.1} MiB", mib(kib)));
        total += kib;
    }
    Ok(Measured { value: mib(total), notes: vec![notes.join(", ")] })
}

fn resident(pods: Vec<serde_json::Value>) -> Result<u64> {
    anyhow::ensure!(!pods.is_empty(), "there is none");
    let mut kib = 0;
    for pod in &pods {
        for pid in of_container(pod)? {
            kib += Resident::of(pid)?.kib;
        }
    }
    Ok(kib)
}

fn mib(kib: u64) -> f64 {
    u32::try_from(kib).map_or(f64::INFINITY, f64::from) / 1_024.0
}
