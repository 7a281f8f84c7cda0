//! What was last seen of one kind, by namespace and name. It is like kube's own store, but small, and it tells what a new list
//! brought: only those objects concern anybody.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use tokio::sync::watch;

use super::packed::PackedMeta;
use crate::view::{
    Content, DeploymentView, JobState, JobView, Ours, OwnedView, Replicas, Rollout, SecretView,
    StatefulSetView,
};

/// A view that can be kept: its metadata, and the rest.
pub trait Keep: Resource<DynamicType = ()> + Clone + Send + Sync + 'static {
    type Rest: Debug + Send + Sync;

    fn parts(self) -> (ObjectMeta, Self::Rest);
    fn whole(meta: ObjectMeta, rest: &Self::Rest) -> Self;
}

impl<K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static> Keep for PartialObjectMeta<K> {
    type Rest = ();

    fn parts(self) -> (ObjectMeta, ()) {
        (self.metadata, ())
    }

    fn whole(metadata: ObjectMeta, (): &()) -> Self {
        Self { metadata, types: None, _phantom: std::marker::PhantomData }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static> Keep for OwnedView<K> {
    type Rest = Ours;

    fn parts(self) -> (ObjectMeta, Ours) {
        (self.metadata, self.ours)
    }

    fn whole(metadata: ObjectMeta, ours: &Ours) -> Self {
        Self { metadata, ours: *ours, kind: std::marker::PhantomData }
    }
}

impl Keep for DeploymentView {
    type Rest = (Rollout, Ours, Replicas);

    fn parts(self) -> (ObjectMeta, Self::Rest) {
        (self.metadata, (self.status.shortened(), self.ours, self.replicas))
    }

    fn whole(metadata: ObjectMeta, (status, ours, replicas): &Self::Rest) -> Self {
        Self { metadata, status: status.clone(), ours: *ours, replicas: *replicas }
    }
}

impl Keep for StatefulSetView {
    type Rest = (Rollout, Ours);

    fn parts(self) -> (ObjectMeta, (Rollout, Ours)) {
        (self.metadata, (self.status.shortened(), self.ours))
    }

    fn whole(metadata: ObjectMeta, (status, ours): &(Rollout, Ours)) -> Self {
        Self { metadata, status: status.clone(), ours: *ours }
    }
}

impl Keep for JobView {
    type Rest = (Ours, JobState);

    fn parts(self) -> (ObjectMeta, Self::Rest) {
        (self.metadata, (self.ours, self.state))
    }

    fn whole(metadata: ObjectMeta, (ours, state): &Self::Rest) -> Self {
        Self { metadata, ours: *ours, state: state.clone() }
    }
}

impl Keep for SecretView {
    type Rest = Content;

    fn parts(self) -> (ObjectMeta, Content) {
        (self.metadata, self.data)
    }

    fn whole(metadata: ObjectMeta, data: &Content) -> Self {
        Self { metadata, data: data.clone() }
    }
}

/// A few dozen at most, often but one: a list takes the least room, and is searched in no time.
type Names<K> = Vec<(PackedMeta, <K as Keep>::Rest)>;
type Held<K> = HashMap<Arc<str>, Names<K>>;

/// Clones read the same.
pub struct Store<K: Keep> {
    held: Arc<RwLock<Held<K>>>,
    is_ready: watch::Receiver<bool>,
}

impl<K: Keep> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), is_ready: self.is_ready.clone() }
    }
}

/// The one that writes it.
pub struct Writer<K: Keep> {
    held: Arc<RwLock<Held<K>>>,
    /// Of a list that has not come to its end.
    coming: Held<K>,
    is_ready: watch::Sender<bool>,
}

/// The watch that filled it has ended.
#[derive(Debug, thiserror::Error)]
#[error("the watch has ended")]
pub struct WatchEnded;

/// A store with nothing in it.
pub fn store<K: Keep>() -> (Store<K>, Writer<K>) {
    let (sender, is_ready) = watch::channel(false);
    let held = Arc::default();
    (Store { held: Arc::clone(&held), is_ready }, Writer { held, coming: Held::<K>::new(), is_ready: sender })
}

impl<K: Keep> Store<K> {
    /// Waits until the first list has come to its end.
    ///
    /// # Errors
    /// When the watch has ended before.
    pub async fn wait_until_ready(&self) -> Result<(), WatchEnded> {
        let mut is_ready = self.is_ready.clone();
        is_ready.wait_for(|is_ready| *is_ready).await.map(|_| ()).map_err(|_| WatchEnded)
    }

    /// What was last seen of one.
    pub fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let (meta, rest) = held.get(namespace)?.iter().find(|(meta, _)| *meta.name == *reference.name)?;
        Some(Arc::new(K::whole(meta.unpacked(), rest)))
    }

    /// All in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<K> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let names = held.get(namespace).into_iter().flatten();
        names.map(|(meta, rest)| K::whole(meta.unpacked(), rest)).collect()
    }
}

impl<K: Keep> Writer<K> {
    /// Takes an event, and calls `changed` with each object that is not as it was, as it was and as it is.
    pub fn take(&mut self, event: Event<K>, mut changed: impl FnMut(&K)) {
        match event {
            Event::Init => self.coming = Held::<K>::new(),
            Event::InitApply(object) => {
                insert::<K>(&mut self.coming, object);
            }
            Event::InitDone => self.swap(changed),
            Event::Apply(object) => {
                changed(&object);
                let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
                if let Some((meta, rest)) = insert::<K>(&mut held, object) {
                    changed(&K::whole(meta.unpacked(), &rest));
                }
            }
            Event::Delete(object) => {
                let meta = object.meta();
                let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref());
                let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(names) = held.get_mut(namespace) {
                    names.retain(|(meta, _)| Some(&*meta.name) != name);
                    if names.is_empty() {
                        held.remove(namespace);
                    }
                }
                changed(&object);
            }
        }
    }

    /// The list is whole: what it brought, and what it no longer has, has changed while nobody watched.
    fn swap(&mut self, mut changed: impl FnMut(&K)) {
        let now = std::mem::take(&mut self.coming);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *held, now);
        let mut differ = |one: &Held<K>, other: &Held<K>| {
            for (namespace, names) in one {
                let others = other.get(namespace);
                for (meta, rest) in names {
                    let before = others.into_iter().flatten().find(|(other, _)| other.name == meta.name);
                    let same = before.is_some_and(|(before, _)| before.is_same(meta));
                    if !same {
                        changed(&K::whole(meta.unpacked(), rest));
                    }
                }
            }
        };
        differ(&held, &before);
        differ(&before, &held);
        drop(held);
        self.is_ready.send_replace(true);
    }
}

fn insert<K: Keep>(held: &mut Held<K>, object: K) -> Option<(PackedMeta, K::Rest)> {
    let (meta, rest) = object.parts();
    let meta = PackedMeta::of(meta);
    let names = held.entry(Arc::clone(&meta.namespace)).or_default();
    if let Some(there) = names.iter_mut().find(|(there, _)| there.name == meta.name) {
        return Some(std::mem::replace(there, (meta, rest)));
    }
    names.reserve_exact(1);
    names.push((meta, rest));
    None
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, version: &str) -> PartialObjectMeta<ConfigMap> {
        let meta = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        PartialObjectMeta::whole(meta, &())
    }

    #[tokio::test]
    async fn a_list_tells_only_what_it_changed() {
        let (store, mut writer) = store::<PartialObjectMeta<ConfigMap>>();
        let mut take = |event| {
            let mut seen = Vec::new();
            writer.take(event, |one| seen.extend(one.metadata.name.clone()));
            seen
        };
        let mut list = |objects: &[(&str, &str)]| {
            take(Event::Init);
            objects.iter().for_each(|(name, version)| drop(take(Event::InitApply(object(name, version)))));
            take(Event::InitDone)
        };
        assert_eq!(list(&[("a", "1"), ("b", "1"), ("c", "1")]), ["a", "b", "c"]);
        store.wait_until_ready().await.unwrap();
        assert_eq!(list(&[("a", "1"), ("b", "1"), ("c", "1")]), [""; 0]);
        let mut changed = list(&[("a", "1"), ("b", "2"), ("d", "1")]);
        changed.sort();
        assert_eq!(changed, ["b", "b", "c", "d"]);
        assert_eq!(take(Event::Delete(object("d", "2"))), ["d"]);
        let names: Vec<_> =
            store.in_namespace("shop").into_iter().filter_map(|one| one.metadata.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(
            store.get(&ObjectRef::new("a").within("shop")).is_some()
                && store.in_namespace("other").is_empty()
        );
    }

    #[tokio::test]
    async fn a_watch_that_ends_before_its_list_is_an_error() {
        let (store, writer) = store::<PartialObjectMeta<ConfigMap>>();
        drop(writer);
        assert!(store.wait_until_ready().await.is_err());
    }
}
