//! The Lease at the API server.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use kube::core::ObjectMeta;

use super::election::{Found, Move, Record};
use crate::names::MANAGER;

/// A Lease by its name.
#[derive(Clone, Debug)]
pub(super) struct LeaseStore {
    pub(super) api: Api<Lease>,
    pub(super) name: String,
}

impl LeaseStore {
    pub(super) async fn read(&self) -> Result<Option<Found>, kube::Error> {
        Ok(self.api.get_opt(&self.name).await?.map(found))
    }

    /// True when it was written; false when somebody was faster, or there was nothing to write.
    pub(super) async fn carry_out(&self, step: Move) -> Result<bool, kube::Error> {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = match step {
            Move::Wait => return Ok(false),
            Move::Create(record) => {
                let lease = self.lease(record, None);
                self.api.create(&parameters, &lease).await
            }
            Move::Replace(Found { record, version }) => {
                let lease = self.lease(record, Some(version));
                self.api.replace(&self.name, &parameters, &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Taken, changed or deleted meanwhile: the next look tells.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, record: Record, version: Option<String>) -> Lease {
        let Record { holder, lease, acquired, renewed, transitions } = record;
        let spec = LeaseSpec {
            // An empty name would be refused; a Lease without one is free.
            holder_identity: holder,
            lease_duration_seconds: lease
                .map(|lease| i32::try_from(lease.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: acquired.map(MicroTime),
            renew_time: renewed.map(MicroTime),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        let metadata =
            ObjectMeta { name: Some(self.name.clone()), resource_version: version, ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec) }
    }
}

fn found(lease: Lease) -> Found {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Found {
        version: lease.metadata.resource_version.unwrap_or_default(),
        record: Record {
            holder: spec.holder_identity,
            lease: seconds.map(Duration::from_secs),
            acquired: spec.acquire_time.map(|MicroTime(time)| time),
            renewed: spec.renew_time.map(|MicroTime(time)| time),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
    }
}
