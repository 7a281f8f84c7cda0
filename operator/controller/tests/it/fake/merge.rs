//! Server-side apply, as far as one manager with force and lists that are replaced whole need it.

use serde_json::{Map, Value};

/// Puts `applied` over `live`; what the manager applied before and no longer does goes.
pub(crate) fn apply(live: &mut Value, applied: &Value, before: &Value) {
    let (Value::Object(live), Value::Object(applied)) = (&mut *live, applied) else {
        *live = applied.clone();
        return;
    };
    let nothing = Map::new();
    let before = before.as_object().unwrap_or(&nothing);
    live.retain(|key, _| applied.contains_key(key) || !before.contains_key(key));
    for (key, wanted) in applied {
        match live.get_mut(key) {
            Some(there) => apply(there, wanted, before.get(key).unwrap_or(&Value::Null)),
            None => {
                live.insert(key.clone(), wanted.clone());
            }
        }
    }
}
