//! The Stacks in `tests/stacks`: each file holds a Stack, what it refers to, and how it is to end. A new one is a new file.

use std::fs;
use std::path::Path;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::fake::{Cluster, Id};

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    /// The file's name, and that of the namespace it is put in.
    pub(crate) name: String,
    /// The first Stack's name.
    pub(crate) stack: String,
    /// Every object, by plural and name.
    objects: Vec<(String, String, Value)>,
    /// `Ready`, or the reason of the condition Ready.
    pub(crate) expect: String,
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files.map(|path| Fixture::read(&path)).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(found.len() >= 12, "{} Stacks", found.len());
    found
}

/// Those that end Ready.
pub(crate) fn good() -> Vec<Fixture> {
    all().into_iter().filter(Fixture::is_good).collect()
}

pub(crate) fn named(name: &str) -> Fixture {
    all().into_iter().find(|fixture| fixture.name == name).unwrap()
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        let documents: Vec<Value> = documents.map(|one| Value::deserialize(one).unwrap()).collect();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (mut objects, mut stack, mut expect) = (Vec::new(), None, None);
        for mut document in documents {
            if let Some(wanted) = document["expect"].as_str() {
                expect = Some(wanted.to_owned());
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (kind, object) = (text(&document["kind"]), text(&document["metadata"]["name"]));
            if kind == "Stack" && stack.is_none() {
                stack = Some(object.clone());
            }
            encode(&mut document);
            document["metadata"]["namespace"] = name.clone().into();
            objects.push((format!("{}s", kind.to_lowercase()), object, document));
        }
        Self { expect: expect.unwrap(), stack: stack.unwrap(), name, objects }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.expect == "Ready"
    }

    /// The spec of its Stack.
    pub(crate) fn spec(&self) -> Value {
        self.objects.iter().find(|(plural, ..)| plural == "stacks").unwrap().2["spec"].clone()
    }

    /// What its Stack is in a cluster.
    pub(crate) fn id(&self) -> Id {
        self.within("stacks", &self.stack)
    }

    pub(crate) fn within(&self, plural: &str, name: &str) -> Id {
        Id(plural.to_owned(), self.name.clone(), name.to_owned())
    }

    /// The same in another namespace.
    pub(crate) fn moved(&self, namespace: &str) -> Self {
        Self { name: namespace.to_owned(), ..self.clone() }
    }

    /// Puts everything into the namespace of its name, Stacks last.
    pub(crate) fn put(&self, cluster: &Cluster) {
        let (stacks, others): (Vec<_>, Vec<_>) =
            self.objects.iter().partition(|(plural, ..)| plural == "stacks");
        for (plural, name, object) in others.into_iter().chain(stacks) {
            cluster.act(|state| state.put(&self.within(plural, name), object.clone()));
        }
    }
}

/// As the API server turns `stringData` into `data`.
fn encode(object: &mut Value) {
    let Some(Value::Object(texts)) = object.as_object_mut().unwrap().remove("stringData") else { return };
    for (key, text) in texts {
        let bytes = k8s_openapi::ByteString(text.as_str().unwrap().as_bytes().to_vec());
        object["data"][key] = json!(bytes);
    }
}
