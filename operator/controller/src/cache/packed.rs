//! Metadata, kept small: an operator of a thousand Stacks keeps that of forty thousand objects, whose labels, annotations and
//! owners are nearly all the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::ObjectMeta;
use uuid::Uuid;

/// What is kept of an object's metadata: all that the operator reads, and nothing else.
#[derive(Clone, Debug)]
pub(super) struct PackedMeta {
    pub(super) name: Arc<str>,
    pub(super) namespace: Arc<str>,
    uid: Option<Uid>,
    resource_version: Option<Version>,
    generation: Option<i64>,
    created: Option<Time>,
    deleted: Option<Box<Time>>,
    labels: Pairs,
    annotations: Pairs,
    owners: Arc<[OwnerReference]>,
}

/// API servers give UUIDs, but do not promise to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Uid {
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl Uid {
    fn of(text: String) -> Self {
        let uuid = Uuid::try_parse(&text).ok().filter(|uuid| uuid.to_string() == text);
        uuid.map_or_else(|| Self::Text(text.into_boxed_str()), |uuid| Self::Uuid(uuid.into_bytes()))
    }

    fn text(&self) -> String {
        match self {
            Self::Uuid(bytes) => Uuid::from_bytes(*bytes).to_string(),
            Self::Text(text) => text.to_string(),
        }
    }
}

/// API servers give numbers, but do not promise to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Number(u64),
    Text(Box<str>),
}

impl Version {
    fn of(text: String) -> Self {
        let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        number.map_or_else(|| Self::Text(text.into_boxed_str()), Self::Number)
    }

    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.to_string(),
        }
    }
}

/// All of an object's: what is made for one service has the same.
type Pairs = Arc<[(Arc<str>, Arc<str>)]>;

impl PackedMeta {
    pub(super) fn of(meta: ObjectMeta) -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let (labels, annotations) = (shared.pairs(meta.labels), shared.pairs(meta.annotations));
        let owners = shared.owners(meta.owner_references.unwrap_or_default());
        Self {
            name: shared.text(&meta.name.unwrap_or_default()),
            namespace: shared.text(&meta.namespace.unwrap_or_default()),
            uid: meta.uid.map(Uid::of),
            resource_version: meta.resource_version.map(Version::of),
            generation: meta.generation,
            created: meta.creation_timestamp,
            deleted: meta.deletion_timestamp.map(Box::new),
            labels,
            annotations,
            owners,
        }
    }

    pub(super) fn unpacked(&self) -> ObjectMeta {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let pairs = |pairs: &Pairs| {
            let owned = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            (!pairs.is_empty()).then(|| owned.collect())
        };
        ObjectMeta {
            name: text(&self.name),
            namespace: text(&self.namespace),
            uid: self.uid.as_ref().map(Uid::text),
            resource_version: self.resource_version.as_ref().map(Version::text),
            generation: self.generation,
            creation_timestamp: self.created.clone(),
            deletion_timestamp: self.deleted.as_deref().cloned(),
            labels: pairs(&self.labels),
            annotations: pairs(&self.annotations),
            owner_references: (!self.owners.is_empty()).then(|| self.owners.to_vec()),
            ..ObjectMeta::default()
        }
    }

    /// True when both are one state of one object.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.uid == other.uid && self.resource_version == other.resource_version
    }
}

/// What many objects have in common, once.
#[derive(Default)]
struct Shared {
    texts: HashSet<Arc<str>>,
    pairs: HashSet<Pairs>,
    owners: HashMap<String, Arc<[OwnerReference]>>,
    /// So many texts are too many: those that nobody has any more go.
    sweep_at: usize,
}

static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(Mutex::default);
const FEW: usize = 1_024;

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.texts.get(text) {
            return Arc::clone(found);
        }
        if self.texts.len() >= self.sweep_at.max(FEW) {
            self.pairs.retain(|pairs| Arc::strong_count(pairs) > 1);
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.owners.retain(|_, owner| Arc::strong_count(owner) > 1);
            self.sweep_at = self.texts.len().saturating_mul(2);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }

    fn pairs(&mut self, pairs: Option<BTreeMap<String, String>>) -> Pairs {
        let pairs = pairs.into_iter().flatten().map(|(key, value)| (self.text(&key), self.text(&value)));
        let pairs: Pairs = pairs.collect();
        match self.pairs.get(&pairs) {
            Some(found) => Arc::clone(found),
            None => {
                self.pairs.insert(Arc::clone(&pairs));
                pairs
            }
        }
    }

    /// Shared by the uid of the first: nearly all objects have one owner.
    fn owners(&mut self, owners: Vec<OwnerReference>) -> Arc<[OwnerReference]> {
        let uid = owners.first().map(|owner| owner.uid.clone()).unwrap_or_default();
        match self.owners.get(&uid) {
            Some(found) if **found == *owners => Arc::clone(found),
            // The same owner, referred to in another way: the latest is kept.
            _ => {
                let owners: Arc<[_]> = owners.into();
                self.owners.insert(uid, Arc::clone(&owners));
                owners
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> ObjectMeta {
        let owner =
            OwnerReference { uid: "u".to_owned(), name: "shop".to_owned(), ..OwnerReference::default() };
        ObjectMeta {
            name: Some("broker".to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some("0199f3f0-0000-7000-8000-000000000001".to_owned()),
            resource_version: Some("7".to_owned()),
            generation: Some(3),
            labels: Some([("team".to_owned(), "blue".to_owned())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        assert_eq!(PackedMeta::of(meta()).unpacked(), meta());
        assert_eq!(PackedMeta::of(ObjectMeta::default()).unpacked(), ObjectMeta::default());
        for text in
            ["", "07", "-1", "0199F3F0-0000-7000-8000-000000000001", "0199f3f0000070008000000000000001"]
        {
            let (uid, resource_version) = (Some(text.to_owned()), Some(text.to_owned()));
            let meta = ObjectMeta { uid, resource_version, ..ObjectMeta::default() };
            assert_eq!(PackedMeta::of(meta.clone()).unpacked(), meta);
        }
    }

    #[test]
    fn what_is_the_same_is_kept_once() {
        let [one, other] = [PackedMeta::of(meta()), PackedMeta::of(meta())];
        assert!(Arc::ptr_eq(&one.owners, &other.owners) && Arc::ptr_eq(&one.labels, &other.labels));
        let changed = ObjectMeta { resource_version: Some("8".to_owned()), ..meta() };
        assert!(one.is_same(&other) && !one.is_same(&PackedMeta::of(changed)));
    }
}
