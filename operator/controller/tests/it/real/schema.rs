//! Right and wrong values of every field, as the API server judges them: types, bounds, patterns and CEL rules.

use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::Space;
use crate::schema::{pairs, spec_with, written, wrongs};

/// Requests at the same time.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn every_wrong_value_of_every_field_is_refused_with_its_name() {
    let (space, wrongs) = (Space::new().await, wrongs());
    let answers = stream::iter(&wrongs).map(async |wrong| (wrong, space.dry_run(&wrong.spec).await));
    let faults = answers.buffer_unordered(AT_ONCE).filter_map(async |(wrong, answer)| match answer {
        Ok(_) => Some(format!("{} is accepted: {}", wrong.what, shown(&wrong.spec))),
        Err(refused) if refused.message.contains(&wrong.field) => None,
        Err(refused) => Some(format!("{}: {} is not named in {}", wrong.what, wrong.field, refused.message)),
    });
    let faults: Vec<_> = faults.collect().await;
    assert!(faults.is_empty(), "{faults:#?}");
    println!("bad input: {} wrong values refused", wrongs.len());
    assert!(wrongs.len() > 500, "{}", wrongs.len());
}

#[tokio::test]
async fn every_right_value_of_every_field_is_accepted() {
    let (space, pairs) = (Space::new().await, pairs());
    let specs = pairs.iter().flat_map(|pair| [&pair.one, &pair.other].map(|value| (&pair.path, value)));
    let answers = stream::iter(specs).map(async |(path, value)| {
        let spec = spec_with(path, value.clone());
        space.dry_run(&spec).await.err().map(|refused| format!("{}: {spec}: {refused:?}", written(path)))
    });
    let faults: Vec<_> = answers.buffer_unordered(AT_ONCE).filter_map(async |fault| fault).collect().await;
    assert!(faults.is_empty(), "{faults:#?}");
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}
