//! From a fixed number of pods to an autoscaler's. A field that nobody applies any more goes back to its default, one pod, until the
//! autoscaler looks, and what the others served is lost. So before we let go of the number, another manager holds it: Kubernetes' own
//! documentation of server-side apply calls that transferring ownership.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;

use super::{ApplyError, Pass};
use crate::cache::Kind as _;
use crate::client::is_another;

/// It names the number of pods and nothing else, and only until the autoscaler writes another.
const SCALE_MANAGER: &str = "weft-operator-scale";

impl Pass<'_> {
    /// Hands over the number of pods of those that we said so far and say no more.
    ///
    /// # Errors
    /// When one was not: it must not be let go of.
    pub(super) async fn hand_over_scales(&self, wanted: &[Deployment]) -> Result<(), ApplyError> {
        let says = |object: &Deployment| object.spec.as_ref().is_some_and(|spec| spec.replicas.is_some());
        for object in wanted.iter().filter(|object| !says(object)) {
            let name = object.name_any();
            if !self.stack.life.is_paused(&name) {
                self.hand_over_scale(&name).await?;
            }
        }
        Ok(())
    }

    async fn hand_over_scale(&self, name: &str) -> Result<(), ApplyError> {
        let reference = ObjectRef::new(name).within(&self.stack.namespace);
        let Some(view) = self.context.cache.deployments.get(&reference) else { return Ok(()) };
        // No autoscaler ever looks at what is at zero: that starts with one.
        let Some(replicas) = view.replicas.wanted.filter(|wanted| view.replicas.are_ours && *wanted > 0)
        else {
            return Ok(());
        };
        // Someone else's is refused where it would be applied.
        if self.refuse_foreign::<Deployment>(&view.metadata).is_err() {
            return Ok(());
        }
        self.confirm().await?;
        let patch = json!({
            "apiVersion": "apps/v1",
            "kind": Deployment::KIND,
            // Applied to what was seen, and never made.
            "metadata": { "name": name, "uid": view.metadata.uid },
            "spec": { "replicas": replicas },
        });
        self.context.metrics.wrote("apply", Deployment::KIND);
        let parameters = PatchParams::apply(SCALE_MANAGER).force();
        match self.api::<Deployment>().patch_metadata(name, &parameters, &Patch::Apply(&patch)).await {
            Ok(_) => Ok(()),
            // Gone, or another one since: there is nothing to hand over.
            Err(kube::Error::Api(status)) if is_another(&status) => Ok(()),
            Err(source) => Err(ApplyError::write::<Deployment>("apply", name, source)),
        }
    }
}
