use k8s_openapi::api::core::v1::ConfigMap;

use super::meta;
use crate::reconcile::validate::Validated;

/// These files, by name and text.
pub(super) fn build(stack: &Validated, name: &str, files: &[(&str, &str)]) -> ConfigMap {
    let files = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
    ConfigMap { metadata: meta::owned(stack, name), data: Some(files.collect()), ..ConfigMap::default() }
}
