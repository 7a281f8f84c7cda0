//! Data goes with its Stack only where the Stack says so twice: then, and only then, it carries the Stack's owner reference.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{ApplyError, Pass};
use crate::client::is_another;
use crate::reconcile::dereference::{DataKind, DataObject};

/// A manager of its own: what it no longer names goes, and nothing else does.
const DATA_MANAGER: &str = "weft-operator-data";

impl Pass<'_> {
    /// Gives the owner reference to data that lacks it, or takes it away.
    pub(super) async fn own_data(&mut self) {
        let stack = self.stack;
        let wanted = stack.life.data_owner.is_some();
        for object in stack.life.data.iter().filter(|object| object.is_owned != wanted) {
            let done = match object.kind {
                DataKind::Claim => self.own::<PersistentVolumeClaim>(object).await,
                DataKind::Secret => self.own::<Secret>(object).await,
            };
            if let Err(error) = done {
                self.note::<()>(error);
            }
        }
        // Only what was looked at and found right needs no further look.
        let right = !wanted && stack.life.data.iter().all(|object| !object.is_owned);
        self.context.ledger.owns_data(&self.key, !right);
    }

    async fn own<K>(&mut self, object: &DataObject) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let DataObject { kind, name, uid, is_owned } = object;
        let owners: Vec<_> = self.stack.life.data_owner.iter().collect();
        let patch = json!({
            "apiVersion": "v1",
            "kind": kind.as_str(),
            // Applied to what was found, and never made.
            "metadata": { "name": name, "uid": uid, "ownerReferences": owners },
        });
        self.context.metrics.wrote("apply", kind.as_str());
        let api = Api::<K>::namespaced(self.context.client.clone(), &self.stack.namespace);
        let parameters = PatchParams::apply(DATA_MANAGER).force();
        match api.patch_metadata(name, &parameters, &Patch::Apply(&patch)).await {
            Ok(_) => {
                let list = if *is_owned { &mut self.changes.released } else { &mut self.changes.owned };
                list.push(format!("{} {name}", kind.as_str()));
                Ok(())
            }
            // Gone, or another one since: the next pass looks again.
            Err(kube::Error::Api(status)) if is_another(&status) => Ok(()),
            Err(source) => {
                let source = Box::new(source);
                Err(ApplyError::Write { verb: "apply", kind: kind.as_str(), name: name.clone(), source })
            }
        }
    }
}
