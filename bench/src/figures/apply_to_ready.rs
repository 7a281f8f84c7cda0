use anyhow::Result;

use crate::cluster::Cluster;
use crate::figure::Measured;

pub(super) async fn measure(cluster: &mut Cluster) -> Result<Measured> {
    let release = cluster.release().await?;
    let value = release.apply_to_ready().await?;
    Ok(Measured {
        value,
        notes: vec!["one Stack of six services with managed PostgreSQL, MongoDB, RabbitMQ, mail catcher and Jaeger, in a fresh namespace".into()],
    })
}
