use k8s_openapi::api::core::v1::ServiceAccount;

use super::meta;
use crate::reconcile::validate::Validated;

pub(super) fn build(stack: &Validated, name: &str) -> ServiceAccount {
    ServiceAccount {
        metadata: meta::owned(stack, name),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
