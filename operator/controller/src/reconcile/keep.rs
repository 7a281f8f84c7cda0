//! Keeps the pod templates that a Stack last rolled to, so that a newer operator rolls nothing by itself.
//!
//! The templates of a Stack are kept in one ControllerRevision, each with its basis: what a user decided that it follows
//! from. A workload whose basis is still the same gets the template that was kept, and what was changed of it by hand is
//! healed to that; another basis gets what this operator makes of it. What is kept can't be changed, so each change makes a
//! new one, before anything rolls; the one before is pruned after. A crash between leaves both, and the basis tells which.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::build::{Basis, Plan, digest, kept_meta};
use super::validate::Validated;
use crate::cache::Kind as _;
use crate::context::Context;
use crate::names::{self, KEEPS, STACK};

/// What keeping has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Get another pod template than the one before.
    pub rolled: Vec<String>,
    /// Are paused, and their pods are not as the spec says.
    pub behind: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("failed to list the pod templates that were kept")]
    List(#[source] Box<kube::Error>),
    #[error("failed to write pod templates as JSON")]
    Encode(#[from] serde_json::Error),
}

/// A pod template, and what it follows from.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Kept {
    pub basis: Basis,
    pub template: PodTemplateSpec,
}

/// Those of a Stack, by workload.
pub type Templates = BTreeMap<String, Kept>;

/// What a ControllerRevision holds. A workload may have any name, `kind` too, which means something at the top.
#[derive(Serialize, Deserialize)]
struct Data {
    templates: Templates,
}

/// Puts the kept templates into the plan.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn keep(plan: &mut Plan, stack: &Validated, context: &Context) -> Result<Steps, KeepError> {
    let rendered = rendered(plan)?;
    let object = revision(stack, &rendered)?;
    let there = ControllerRevision::seen(&context.cache, &stack.namespace, &object.name_any());
    let is_ours = |owner: &_| owns(stack, owner);
    if there.is_some_and(|(there, _)| there.owner_references.iter().flatten().any(is_ours)) {
        plan.controller_revisions = vec![object];
        return Ok(Steps::default());
    }
    let sets = list(stack, context).await?;
    let new_stores = stack.new_stores();
    let is_outlived = |name: &str, kept: &Kept| new_stores.contains(&name) && !reads_superuser(name, kept);
    let (templates, steps) = choose(rendered, &sets, |name| stack.life.is_paused(name), is_outlived);
    put(plan, &templates);
    plan.controller_revisions = vec![revision(stack, &templates)?];
    Ok(steps)
}

fn owns(stack: &Validated, owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference) -> bool {
    owner.uid == stack.owner.uid
}

/// False of what was kept before stores had a superuser of their own: on an empty volume it makes the service's user the superuser.
fn reads_superuser(store: &str, kept: &Kept) -> bool {
    json!(kept.template).to_string().contains(&json!(names::superuser_secret(store)).to_string())
}

/// What this operator would have run.
fn rendered(plan: &Plan) -> Result<Templates, serde_json::Error> {
    let deployments = plan
        .deployments
        .iter()
        .map(|object| (object.name_any(), object.spec.as_ref().map(|spec| &spec.template)));
    let sets = plan
        .stateful_sets
        .iter()
        .map(|object| (object.name_any(), object.spec.as_ref().map(|spec| &spec.template)));
    let mut templates = Templates::new();
    for (name, template) in deployments.chain(sets) {
        let template = template.cloned().unwrap_or_default();
        let basis = match plan.bases.get(&name) {
            Some(basis) => basis.clone(),
            None => Basis::of(&serde_json::to_value(&template)?),
        };
        templates.insert(name, Kept { basis, template });
    }
    Ok(templates)
}

/// Of each workload the kept template of the same basis that is not outlived, else the rendered one; of a paused one what it has,
/// whatever the basis. `sets` are what was kept, the latest first.
pub fn choose(
    rendered: Templates,
    sets: &[Templates],
    is_paused: impl Fn(&str) -> bool,
    is_outlived: impl Fn(&str, &Kept) -> bool,
) -> (Templates, Steps) {
    let (mut chosen, mut steps) = (Templates::new(), Steps::default());
    for (name, wanted) in rendered {
        let mut kept = sets.iter().filter_map(|set| set.get(&name));
        let last = kept.clone().next();
        let same = kept.find(|kept| kept.basis == wanted.basis && !is_outlived(&name, kept));
        if is_paused(&name) {
            if last.is_none_or(|last| last.basis != wanted.basis) {
                steps.behind.insert(name.clone());
            }
            chosen.extend(last.map(|last| (name, last.clone())));
            continue;
        }
        let next = same.cloned().unwrap_or(wanted);
        if last.is_some_and(|last| last.template != next.template) {
            steps.rolled.push(name.clone());
        }
        chosen.insert(name, next);
    }
    (chosen, steps)
}

fn put(plan: &mut Plan, templates: &Templates) {
    let kept = |name: &str| templates.get(name).map(|kept| kept.template.clone());
    for object in &mut plan.deployments {
        let kept = kept(&object.name_any());
        if let Some((spec, template)) = object.spec.as_mut().zip(kept) {
            spec.template = template;
        }
    }
    for object in &mut plan.stateful_sets {
        let kept = kept(&object.name_any());
        if let Some((spec, template)) = object.spec.as_mut().zip(kept) {
            spec.template = template;
        }
    }
}

/// Its name follows from what it keeps.
fn revision(stack: &Validated, templates: &Templates) -> Result<ControllerRevision, serde_json::Error> {
    let data = serde_json::to_value(Data { templates: templates.clone() })?;
    let name = format!("templates-{}", digest(&serde_json::to_vec(&data)?));
    Ok(ControllerRevision {
        metadata: kept_meta(stack, &name),
        data: Some(RawExtension(data)),
        // The basis tells them apart; an order among them would say nothing.
        revision: 1,
    })
}

/// What was kept, the latest first. What is not in the cache may be there all the same, and only the API server's own word
/// rolls pods.
async fn list(stack: &Validated, context: &Context) -> Result<Vec<Templates>, KeepError> {
    let api = Api::<ControllerRevision>::namespaced(context.client.clone(), &stack.namespace);
    let parameters = ListParams::default().labels(&format!("{KEEPS},{STACK}={}", stack.name));
    let found = api.list(&parameters).await.map_err(|error| KeepError::List(Box::new(error)))?;
    let ours = |object: &ControllerRevision| object.owner_references().iter().any(|owner| owns(stack, owner));
    let mut found: Vec<_> = found.items.into_iter().filter(ours).collect();
    found.sort_by_key(|object| std::cmp::Reverse(object.creation_timestamp().map(|time| time.0)));
    // What can't be read was written by nobody that we know: it keeps nothing.
    let read = found.into_iter().filter_map(|object| serde_json::from_value::<Data>(object.data?.0).ok());
    let read = read.map(|data| data.templates);
    Ok(read.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(basis: &str, node: &str) -> Kept {
        let spec =
            k8s_openapi::api::core::v1::PodSpec { node_name: Some(node.to_owned()), ..Default::default() };
        let template = PodTemplateSpec { metadata: None, spec: Some(spec) };
        Kept { basis: Basis(basis.to_owned()), template }
    }

    fn set(basis: &str, node: &str) -> Templates {
        [("broker".to_owned(), kept(basis, node))].into()
    }

    #[test]
    fn the_same_basis_keeps_its_template_and_another_is_rendered_anew() {
        let choose = |rendered, sets: &[Templates]| choose(rendered, sets, |_| false, |_, _| false);
        let (first, steps) = choose(set("a", "new"), &[]);
        assert_eq!((first, steps), (set("a", "new"), Steps::default()), "the first rolls nothing");
        let (same, steps) = choose(set("a", "new"), &[set("a", "old")]);
        assert_eq!((same, steps), (set("a", "old"), Steps::default()), "a newer operator rolls nothing");
        let (other, steps) = choose(set("b", "new"), &[set("a", "old")]);
        assert_eq!((other, steps.rolled), (set("b", "new"), vec!["broker".to_owned()]));
        let (back, _) = choose(set("a", "new"), &[set("b", "new"), set("a", "old")]);
        assert_eq!(back, set("a", "old"), "both are there after a crash");
    }

    #[test]
    fn what_is_outlived_is_rendered_anew_and_then_kept() {
        let choose = |sets: &[Templates]| {
            choose(set("a", "new"), sets, |_| false, |_, kept| *kept == self::kept("a", "old"))
        };
        let (first, steps) = choose(&[set("a", "old")]);
        assert_eq!((first, steps.rolled), (set("a", "new"), vec!["broker".to_owned()]));
        let (next, steps) = choose(&[set("a", "newer"), set("a", "old")]);
        assert_eq!((next, steps), (set("a", "newer"), Steps::default()));
    }

    #[test]
    fn what_is_paused_keeps_what_it_has() {
        let choose = |rendered, sets: &[Templates]| choose(rendered, sets, |_| true, |_, _| false);
        let (kept, steps) = choose(set("b", "new"), &[set("a", "old")]);
        assert_eq!(kept, set("a", "old"));
        assert!(steps.behind.contains("broker") && steps.rolled.is_empty());
        assert!(!choose(set("a", "new"), &[set("a", "old")]).1.behind.contains("broker"));
        assert!(choose(set("a", "new"), &[]).0.is_empty(), "what was never made is not kept");
    }
}
