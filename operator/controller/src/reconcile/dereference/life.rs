//! What is looked up for a Stack's life: pods that still run while it stops, and data that a switch of a store would leave behind.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use weft_operator_api::{Stack, Store, StoreKind};

use super::{Asked, DereferenceError, Lookup, read};
use crate::names;
use crate::reconcile::data::Note;
use crate::view::PodView;

/// What was found for a Stack's life.
#[derive(Clone, Debug, Default)]
pub struct FoundLife {
    /// Data that would be left behind unseen.
    pub left: Option<Left>,
    /// What is to be noted on volumes.
    pub notes: Vec<NoteOn>,
    /// What still has pods, looked up only while the Stack is to be stopped.
    pub running: BTreeSet<String>,
}

/// The data that a switch of a store would leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub store: &'static str,
    /// Where it is.
    pub kind: StoreKind,
}

/// A note, and the uid of the object that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteOn {
    pub uid: String,
    pub note: Note,
}

impl Lookup<'_> {
    pub(super) async fn life(
        &self,
        stack: &Stack,
        stores: [Asked<'_>; 3],
    ) -> Result<FoundLife, DereferenceError> {
        let (mut left, mut notes) = (None, Vec::new());
        for store in stores.into_iter().filter(|store| store.spec.is_some() || store.needed) {
            if left.is_none() {
                let (found, note) = self.left(stack, store).await?;
                left = found;
                notes.extend(note);
            }
        }
        let running = if stack.is_stopped() { self.running(stack).await? } else { BTreeSet::new() };
        Ok(FoundLife { left, notes, running })
    }

    /// A managed store's data is on its volume. An external store is known from the status or, if that was lost, from a note on the
    /// volume.
    async fn left(
        &self,
        stack: &Stack,
        asked: Asked<'_>,
    ) -> Result<(Option<Left>, Option<NoteOn>), DereferenceError> {
        let Asked { name, spec, .. } = asked;
        let before = stack.status.as_ref().and_then(|status| status.store_kind(name));
        let (now, may_leave) = match spec {
            Some(Store { external: Some(external), managed: None }) => {
                (StoreKind::External, external.leave_data)
            }
            Some(Store { external: None, managed: Some(managed) }) => {
                (StoreKind::Managed, managed.leave_data)
            }
            None => (StoreKind::Managed, None),
            Some(_) => return Ok((None, None)),
        };
        // The note of an external store is looked for in each pass: an earlier operator may not have written it.
        if before == Some(now) && now == StoreKind::Managed {
            return Ok((None, None));
        }
        let claim = names::claim(name);
        let volume = self.volume(&claim).await?;
        let is_left = volume.as_ref().is_some_and(|volume| names::is_set(volume, names::LEFT));
        let leaves = match now {
            StoreKind::External => before != Some(now) && volume.is_some() && !is_left,
            StoreKind::Managed => before == Some(StoreKind::External) || is_left,
        };
        if leaves && !may_leave.unwrap_or(false) {
            let kind = if now == StoreKind::External { StoreKind::Managed } else { StoreKind::External };
            return Ok((Some(Left { store: name, kind }), None));
        }
        let note = match now {
            StoreKind::External => (!is_left).then_some(Note::Left { claim }),
            StoreKind::Managed => is_left.then_some(Note::Used { claim }),
        };
        let uid = volume.and_then(|volume| volume.uid);
        Ok((None, uid.zip(note).map(|(uid, note)| NoteOn { uid, note })))
    }

    async fn running(&self, stack: &Stack) -> Result<BTreeSet<String>, DereferenceError> {
        let api = Api::<PodView>::namespaced(self.context.client.clone(), &self.namespace);
        let parameters = ListParams::default().labels(&names::pods(&stack.name_any()));
        let pods = api.list(&parameters).await.map_err(read("Pods of", &stack.name_any()))?;
        let left = pods.items.iter().filter(|pod| !pod.has_ended());
        Ok(left.filter_map(|pod| pod.app().map(str::to_owned)).collect())
    }
}
