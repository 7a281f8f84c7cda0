//! The Secrets and ConfigMaps that workloads take their environment from.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use weft_operator_api::{EnvFrom, Workload};

use super::{DereferenceError, Lookup, read};
use crate::view::{ContentDigest, SecretView};

/// Kind and name of each, and what it holds; nothing when it does not exist.
pub type FoundInputs = BTreeMap<(&'static str, String), Option<ContentDigest>>;

impl Lookup<'_> {
    pub(super) async fn inputs(&self, workloads: &[Workload]) -> Result<FoundInputs, DereferenceError> {
        let mut found = FoundInputs::new();
        for EnvFrom { secret_ref, config_map_ref, .. } in workloads.iter().flat_map(|one| &one.env_from) {
            let secret = secret_ref.as_ref().map(|named| ("Secret", named.name.clone()));
            let config_map = config_map_ref.as_ref().map(|named| ("ConfigMap", named.name.clone()));
            for (kind, name) in secret.into_iter().chain(config_map) {
                if found.contains_key(&(kind, name.clone())) {
                    continue;
                }
                let digest = if kind == "Secret" {
                    self.secret_view(&name).await?.map(|secret| secret.data.digest)
                } else {
                    self.config_map_digest(&name).await?
                };
                found.insert((kind, name), digest);
            }
        }
        Ok(found)
    }

    pub(super) async fn secret_view(&self, name: &str) -> Result<Option<SecretView>, DereferenceError> {
        let api = Api::<SecretView>::namespaced(self.context.client.clone(), &self.namespace);
        api.get_opt(name).await.map_err(read("Secret", name))
    }

    pub(super) async fn config_map_digest(
        &self,
        name: &str,
    ) -> Result<Option<ContentDigest>, DereferenceError> {
        let api = Api::<ConfigMap>::namespaced(self.context.client.clone(), &self.namespace);
        let found = api.get_opt(name).await.map_err(read("ConfigMap", name))?;
        Ok(found.map(|ConfigMap { data, binary_data, .. }| {
            let mut files = binary_data.unwrap_or_default();
            let texts = data.unwrap_or_default().into_iter();
            files.extend(texts.map(|(key, text)| (key, ByteString(text.into_bytes()))));
            ContentDigest::of(files.iter().map(|(key, value)| (key, &value.0)))
        }))
    }
}
