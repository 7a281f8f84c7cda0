//! Any spec that the definition's types, bounds and patterns allow, for proptest.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;
use serde_json::{Value, json};

use super::agree::agreed;
use super::{Part, right, spec};

/// How likely a field is there that need not be.
const OPTIONAL: f64 = 0.3;
const MOST_ITEMS: usize = 3;

/// Specs that contradict no rule of the definition where a rule is about several fields. One in three has odd texts as well.
pub(crate) fn any_spec() -> impl Strategy<Value = Value> {
    let of = |odd| value(&mut Vec::new(), spec(), odd).prop_map(agreed);
    prop_oneof![2 => of(false), 1 => of(true)]
}

/// Names that an object may have, up to the longest.
pub(crate) fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]([-a-z0-9]{0,20}[a-z0-9])?",
        1 => "[a-z0-9]{1,8}\\.[a-z0-9]{1,8}",
        1 => "[a-z0-9]{62,253}",
    ]
}

fn value(path: &mut Vec<Part>, schema: &Value, odd: bool) -> BoxedStrategy<Value> {
    let choices: Vec<Value> = schema["enum"].as_array().into_iter().flatten().cloned().collect();
    let choices = if choices.is_empty() { right::named(path) } else { choices };
    if !choices.is_empty() {
        return select(choices).boxed();
    }
    let bound = |name: &str, default: i64| schema[name].as_f64().map_or(default, |bound| bound as i64);
    match schema["type"].as_str() {
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => {
            let (least, most) = (bound("minimum", 0), bound("maximum", 1_000));
            prop_oneof![1 => Just(least), 1 => Just(most), 4 => least..=most].prop_map(Value::from).boxed()
        }
        Some("number") => (0.0..=1.0).prop_map(|share: f64| json!(share)).boxed(),
        Some("array") => array(path, schema, odd),
        Some("object") => object(path, schema, odd),
        // A quantity may be a number.
        None => {
            prop_oneof![4 => text(schema, odd).prop_map(Value::from), 1 => (0..10_i64).prop_map(Value::from)]
                .boxed()
        }
        _ => text(schema, odd).prop_map(Value::from).boxed(),
    }
}

fn array(path: &mut Vec<Part>, schema: &Value, odd: bool) -> BoxedStrategy<Value> {
    path.push(Part::Item);
    let item = value(path, &schema["items"], odd);
    path.pop();
    let keys: Vec<String> = match schema["x-kubernetes-list-map-keys"].as_array() {
        Some(keys) => keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
        None => Vec::new(),
    };
    let once = move |items: Vec<Value>| {
        let mut seen = BTreeSet::new();
        let key = |item: &Value| match &keys[..] {
            [] => item.to_string(),
            keys => keys.iter().map(|key| item[key].to_string()).collect(),
        };
        items.into_iter().filter(|item| seen.insert(key(item))).collect::<Vec<_>>().into()
    };
    vec(item, 0..=MOST_ITEMS).prop_map(once).boxed()
}

fn object(path: &mut Vec<Part>, schema: &Value, odd: bool) -> BoxedStrategy<Value> {
    if schema["additionalProperties"].is_object() {
        path.push(Part::Entry);
        let entry = value(path, &schema["additionalProperties"], odd);
        path.pop();
        let entries = vec((key(odd), entry), 0..=MOST_ITEMS);
        return entries.prop_map(|entries| Value::Object(entries.into_iter().collect())).boxed();
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    let mut fields = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        path.push(Part::Name(name.clone()));
        let named = value(path, field, odd);
        path.pop();
        let is_required = required.iter().any(|required| *required == name);
        let name = name.clone();
        let there =
            if is_required { named.prop_map(Some).boxed() } else { weighted(OPTIONAL, named).boxed() };
        fields.push(there.prop_map(move |value| Some((name.clone(), value?))));
    }
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect())).boxed()
}

/// Keys of labels, of which the definition's schema says nothing.
fn key(odd: bool) -> BoxedStrategy<String> {
    let plain = prop_oneof!["[a-z]([-a-z0-9]{0,12}[a-z0-9])?", "[a-z]{1,8}\\.example/[a-z]{1,8}"];
    if odd { prop_oneof![3 => plain, 1 => "\\PC{0,12}", 1 => "[a-z]{60,70}"].boxed() } else { plain.boxed() }
}

fn text(schema: &Value, odd: bool) -> BoxedStrategy<String> {
    let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(64));
    let fits = move |text: &String| (least..=most).contains(&text.chars().count());
    let Some(pattern) = schema["pattern"].as_str() else {
        let plain = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?";
        let text = if odd {
            prop_oneof![3 => plain, 1 => "\\PC{0,20}", 1 => "[a-z]{60,80}"].boxed()
        } else {
            plain.boxed()
        };
        return text.prop_filter("length", fits).boxed();
    };
    let of = |repeats: usize| string_regex(&bounded(pattern, repeats)).unwrap();
    let short = of(8);
    let text = if odd { prop_oneof![2 => short, 1 => of(most.min(64))].boxed() } else { short.boxed() };
    text.prop_filter("length", fits).boxed()
}

/// The pattern without anchors, and with at most so many repeats where it has no bound.
fn bounded(pattern: &str, repeats: usize) -> String {
    let (mut text, mut in_class, mut escaped) = (String::new(), false, false);
    for one in pattern.trim_start_matches('^').trim_end_matches('$').chars() {
        match one {
            _ if escaped => text.push(one),
            '*' if !in_class => text.push_str(&format!("{{0,{repeats}}}")),
            '+' if !in_class => text.push_str(&format!("{{1,{repeats}}}")),
            _ => text.push(one),
        }
        in_class = !escaped && (one == '[' || in_class && one != ']') || escaped && in_class;
        escaped = !escaped && one == '\\';
    }
    text
}
