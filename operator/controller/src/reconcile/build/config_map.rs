use k8s_openapi::api::core::v1::ConfigMap;

use super::meta;
use crate::reconcile::validate::Validated;

pub(super) fn build(stack: &Validated, name: &str, file: &str, text: &str) -> ConfigMap {
    ConfigMap {
        metadata: meta::owned(stack, name),
        data: Some([(file.to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    }
}
