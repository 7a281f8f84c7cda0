//! What our last apply of each object left behind, so that nothing is applied twice.
//!
//! Server-side apply of what is there already changes nothing, but it is a request all the same. An object is
//! applied again only when what we want differs from what we applied, or what is now seen of it from what our apply
//! left: another uid, another generation (or resource version, for kinds without one), or one of our labels,
//! annotations or owners gone. The ledger lives in memory: after a restart an object is applied once,
//! unless what the API server says of our fields in it is what we want.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::core::ObjectMeta;
use sha2::{Digest as _, Sha256};

/// Namespace and name of a Stack.
pub type StackKey = (String, String);
/// Kind and name of an object in its namespace.
pub type ObjectKey = (&'static str, String);

/// Half of a SHA-256: there is an entry for each of forty thousand objects, and nobody chooses what is in them to collide.
type Digest16 = [u8; 16];

fn digest(parts: &[&[u8]]) -> Digest16 {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part.len().to_be_bytes());
        sha.update(part);
    }
    let whole: [u8; 32] = sha.finalize().into();
    std::array::from_fn(|index| whole[index])
}

/// What we sent, told apart without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(Digest16);

impl Sent {
    pub fn of(body: &[u8]) -> Self {
        Self(digest(&[body]))
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sent: Sent,
    state: State,
}

/// Which object it is, and what changes when others change it: its generation, or the resource version of a kind without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(Digest16);

impl State {
    fn of(meta: &ObjectMeta) -> Self {
        let uid = meta.uid.as_deref().unwrap_or_default().as_bytes();
        // A kind that counts no generations says none, or 0.
        Self(match meta.generation {
            Some(generation) if generation > 0 => digest(&[uid, b"generation", &generation.to_be_bytes()]),
            _ => digest(&[uid, b"version", meta.resource_version.as_deref().unwrap_or_default().as_bytes()]),
        })
    }
}

/// What our last apply of each object left behind.
#[derive(Debug, Default)]
pub struct Ledger {
    objects: Mutex<HashMap<StackKey, HashMap<Digest16, Entry>>>,
}

/// What an apply has done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Created,
    /// Something else is wanted of it than before.
    Changed,
    /// It was deleted or changed by someone else, and is as it was.
    Healed,
}

impl Ledger {
    /// True when the object that is seen now is what our apply of this very body left behind.
    pub fn is_settled(
        &self,
        stack: &StackKey,
        object: &ObjectKey,
        sent: Sent,
        wanted: &ObjectMeta,
        seen: &ObjectMeta,
    ) -> bool {
        let ledger = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = ledger.get(stack).and_then(|objects| objects.get(&name(object))) else {
            return false;
        };
        entry.sent == sent && entry.state == State::of(seen) && carries(wanted, seen)
    }

    /// Notes what the API server answered to our apply.
    pub fn note(&self, stack: &StackKey, object: &ObjectKey, sent: Sent, answered: &ObjectMeta) {
        let entry = Entry { sent, state: State::of(answered) };
        let mut ledger = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.entry(stack.clone()).or_default().insert(name(object), entry);
    }

    /// What an apply of this body has done, from what was seen before it and what the API server answered. Asked before
    /// the answer is noted.
    pub fn effect(
        &self,
        stack: &StackKey,
        object: &ObjectKey,
        sent: Sent,
        wanted: &ObjectMeta,
        (seen, answered): (Option<&ObjectMeta>, &ObjectMeta),
    ) -> Effect {
        let ledger = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = ledger.get(stack).and_then(|objects| objects.get(&name(object)));
        let state = State::of(answered);
        let is_as_before = entry.is_some_and(|entry| entry.state == state);
        match (seen, entry) {
            // What was seen may be older than our own last apply.
            (Some(seen), _) if carries(wanted, seen) && (State::of(seen) == state || is_as_before) => {
                Effect::None
            }
            (None, _) if is_as_before => Effect::None,
            (_, Some(entry)) if entry.sent == sent => Effect::Healed,
            (None, _) => Effect::Created,
            (Some(_), _) => Effect::Changed,
        }
    }

    /// Forgets a Stack that is gone.
    pub fn forget(&self, stack: &StackKey) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(stack);
    }

    /// Forgets everything: each object is then applied once more.
    pub fn clear(&self) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn name((kind, name): &ObjectKey) -> Digest16 {
    digest(&[kind.as_bytes(), name.as_bytes()])
}

/// True when all labels, annotations and owners that we want are there; others may be there too.
fn carries(wanted: &ObjectMeta, seen: &ObjectMeta) -> bool {
    let has = |wanted: &Option<std::collections::BTreeMap<String, String>>,
               seen: &Option<std::collections::BTreeMap<String, String>>| {
        wanted
            .iter()
            .flatten()
            .all(|(key, value)| seen.as_ref().and_then(|seen| seen.get(key)) == Some(value))
    };
    let owners = |owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        seen.owner_references
            .iter()
            .flatten()
            .any(|seen| seen.uid == owner.uid && seen.controller == owner.controller)
    };
    has(&wanted.labels, &seen.labels)
        && has(&wanted.annotations, &seen.annotations)
        && wanted.owner_references.iter().flatten().all(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: Option<i64>, resource_version: &str, label: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u1".to_owned()),
            generation,
            resource_version: Some(resource_version.to_owned()),
            labels: label.map(|label| [("ours".to_owned(), label.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_what_changes_our_object_unsettles_it() {
        let (ledger, stack) = (Ledger::default(), ("shop".to_owned(), "shop".to_owned()));
        let object = ("Deployment", "broker".to_owned());
        let (sent, wanted) = (Sent::of(b"body"), seen(None, "", Some("yes")));
        let settled = |sent, now: &ObjectMeta| ledger.is_settled(&stack, &object, sent, &wanted, now);
        let left = seen(Some(3), "10", Some("yes"));
        assert!(!settled(sent, &left), "never applied");
        ledger.note(&stack, &object, sent, &left);
        assert!(settled(sent, &seen(Some(3), "11", Some("yes"))), "a status was written");
        assert!(!settled(sent, &seen(Some(4), "11", Some("yes"))), "the spec was edited");
        assert!(!settled(sent, &seen(Some(3), "11", Some("no"))), "our label was edited");
        assert!(!settled(sent, &seen(Some(3), "11", None)), "our label was removed");
        assert!(!settled(Sent::of(b"other"), &left), "we want something else");
        let reborn = ObjectMeta { uid: Some("u2".to_owned()), ..left.clone() };
        assert!(!settled(sent, &reborn), "it was deleted and made by someone else");
        ledger.forget(&stack);
        assert!(!settled(sent, &left));
    }

    #[test]
    fn an_apply_that_changes_nothing_has_no_effect() {
        let (ledger, stack) = (Ledger::default(), ("shop".to_owned(), "shop".to_owned()));
        let object = ("Deployment", "broker".to_owned());
        let (sent, other, wanted) = (Sent::of(b"body"), Sent::of(b"other"), seen(None, "", Some("yes")));
        let (first, second) = (seen(Some(1), "10", Some("yes")), seen(Some(2), "12", Some("yes")));
        let effect = |sent, seen: Option<&ObjectMeta>, answered: &ObjectMeta| {
            ledger.effect(&stack, &object, sent, &wanted, (seen, answered))
        };
        assert_eq!(effect(sent, None, &first), Effect::Created);
        assert_eq!(effect(sent, Some(&first), &first), Effect::None, "the first look after a restart");
        assert_eq!(effect(sent, Some(&first), &second), Effect::Changed, "that look found it different");
        ledger.note(&stack, &object, sent, &second);
        assert_eq!(effect(sent, Some(&first), &second), Effect::None, "the watch is behind");
        let (edited, back) = (seen(Some(3), "13", Some("yes")), seen(Some(4), "14", Some("yes")));
        assert_eq!(effect(other, Some(&second), &edited), Effect::Changed);
        assert_eq!(effect(sent, Some(&edited), &back), Effect::Healed);
        let (unlabelled, labelled) = (seen(Some(2), "13", Some("no")), seen(Some(2), "14", Some("yes")));
        assert_eq!(effect(sent, Some(&unlabelled), &labelled), Effect::Healed);
        let reborn = ObjectMeta { uid: Some("u2".to_owned()), ..first.clone() };
        let healed = ledger.effect(&stack, &object, sent, &wanted, (None, &reborn));
        assert_eq!(healed, Effect::Healed, "it was deleted");
    }

    #[test]
    fn kinds_without_generations_are_told_apart_by_resource_version() {
        let (ledger, stack) = (Ledger::default(), ("shop".to_owned(), "shop".to_owned()));
        let object = ("Service", "broker".to_owned());
        let (sent, left) = (Sent::of(b"body"), seen(None, "10", None));
        ledger.note(&stack, &object, sent, &left);
        assert!(ledger.is_settled(&stack, &object, sent, &ObjectMeta::default(), &left));
        assert!(!ledger.is_settled(&stack, &object, sent, &ObjectMeta::default(), &seen(None, "11", None)));
    }
}
