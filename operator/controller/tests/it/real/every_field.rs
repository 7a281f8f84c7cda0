//! G4 on a real API server: every field changed, changed back and taken away. The API server refuses none of it, or refuses the
//! Stack itself by the field's name, and at the end everything is as it was.

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use serde_json::json;

use super::Space;
use super::space::Refused;
use crate::schema::{Pair, pairs, spec_with, written};
use crate::trust::NEVER_AS_BEFORE;
use crate::world::assert_same;

/// Namespaces at the same time.
const AT_ONCE: usize = 4;

#[tokio::test]
async fn every_field_is_changed_and_changed_back_without_a_refusal() {
    let mut pairs = pairs();
    pairs.retain(|pair| !is_once(pair));
    join_all(pairs.chunks(pairs.len().div_ceil(AT_ONCE)).map(change_and_take_away)).await;
    println!("G4: {} fields changed, changed back and taken away", pairs.len());
    assert!(pairs.len() > 60, "{}", pairs.len());
}

/// One after the other, of one Stack.
async fn change_and_take_away(pairs: &[Pair]) {
    let space = Space::new().await;
    let operator = space.operator().await;
    let nothing = json!({ "version": "0.1.0" });
    space.apply(&nothing).await.unwrap();
    space.observed().await;
    let before = space.shape().await;
    for pair in pairs {
        change(&space, pair).await;
        space.apply(&nothing).await.unwrap();
        space.observed().await;
        let after = space.becomes(&before).await;
        let field = written(&pair.path);
        assert_same(&after, &before, &format!("{field} taken away"));
        space.assert_nothing_refused(&field);
    }
    operator.stop().await;
}

/// Fields that a Stack has from its beginning, or that leave something behind: each in a namespace of its own.
#[tokio::test]
async fn a_field_that_leaves_something_behind_is_changed_and_changed_back_without_a_refusal() {
    let mut pairs = pairs();
    pairs.retain(is_once);
    let runs = stream::iter(&pairs).map(async |pair| {
        let space = Space::new().await;
        let operator = space.operator().await;
        change(&space, pair).await;
        operator.stop().await;
    });
    runs.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// One value, the other, the one again.
async fn change(space: &Space, Pair { path, one, other }: &Pair) {
    let field = written(path);
    for value in [one, other, one] {
        let spec = spec_with(path, value.clone());
        match space.apply(&spec).await {
            Ok(_) => {}
            Err(Refused { message, .. }) => {
                let name = field.rsplit('.').next().unwrap();
                assert!(value == other && message.contains(name), "{field}: {spec}: {message}");
                continue;
            }
        }
        let stack = space.observed().await;
        space.assert_nothing_refused(&format!("{field}: {spec}"));
        let conditions = stack["status"]["conditions"].to_string();
        assert!(!conditions.contains("ApplyFailed"), "{field}: {spec}: {conditions}");
    }
}

/// A store that was external does not become managed by itself, a volume keeps its size, and new credentials stay.
fn is_once(pair: &Pair) -> bool {
    let field = written(&pair.path);
    let is_store = ["mongodb", "rabbitmq", "postgres"].iter().any(|store| field.contains(store));
    is_store && (field.contains(".external") || field.ends_with(".storage"))
        || field.ends_with(NEVER_AS_BEFORE)
}
