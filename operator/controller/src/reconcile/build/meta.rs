use kube::core::ObjectMeta;

use crate::names;
use crate::reconcile::validate::Validated;

/// Of an object that goes with the Stack.
pub(super) fn owned(stack: &Validated, name: &str) -> ObjectMeta {
    ObjectMeta { owner_references: Some(vec![stack.owner.clone()]), ..data(stack, name) }
}

/// Of an object that stays when the Stack goes.
pub(super) fn data(stack: &Validated, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(stack.namespace.clone()),
        labels: Some(names::labels(name, &stack.name)),
        ..ObjectMeta::default()
    }
}

/// Of what keeps pod templates.
pub(crate) fn kept(stack: &Validated, name: &str) -> ObjectMeta {
    let mut labels = names::labels("templates", &stack.name);
    labels.insert(names::KEEPS.to_owned(), "templates".to_owned());
    ObjectMeta { labels: Some(labels), ..owned(stack, name) }
}
