//! Everything that is built for generated Stacks is accepted, or the Stack itself is refused when it is applied.

use std::cell::Cell;
use std::env;

use proptest::option::weighted;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::Value;

use super::Space;
use crate::schema::{any_name, any_spec};

/// A few, since each takes most of a second; `make bench` asks for more.
const CASES: u32 = 60;
/// How many Stacks are tried.
const CASES_SETTING: &str = "WEFT_REAL_STACKS";
/// A number that an earlier run has printed: the same Stacks again.
const SEED_SETTING: &str = "WEFT_REAL_SEED";
const SHRINKS: u32 = 150;

#[test]
fn what_is_built_for_any_stack_is_accepted_or_the_stack_is_refused() {
    let setting = |name: &str| env::var(name).ok().map(|value| value.parse::<u32>().unwrap());
    let cases = setting(CASES_SETTING).unwrap_or(CASES);
    let seed = setting(SEED_SETTING).unwrap_or_else(rand::random);
    println!("{SEED_SETTING}={seed}");
    let config = Config { cases, failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let applied = Cell::new(0_u32);
    // One in three is changed to another one, by which what can't be changed is found.
    let stacks = (any_name(), any_spec(), weighted(0.3, any_spec()));
    let tried = runner.run(&stacks, |(name, spec, next)| {
        let specs = with_equal_volumes(spec, next);
        let is_applied = runtime.block_on(is_applied(&name, &specs)).map_err(TestCaseError::fail)?;
        applied.set(applied.get() + u32::from(is_applied));
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{SEED_SETTING}={seed}: {error}");
    }
    println!(
        "real_api: {} Stacks applied without a refusal, {} refused themselves",
        applied.get(),
        cases - applied.get()
    );
    assert!(applied.get() * 2 > cases, "most are refused: {} of {cases} applied", applied.get());
}

/// False when the Stack itself is refused; an error when it is not, and something that it needs is.
async fn is_applied(name: &str, specs: &[Value]) -> Result<bool, String> {
    let space = Space::of(name).await;
    let operator = space.operator().await;
    let mut is_applied = true;
    for spec in specs {
        if space.apply(spec).await.is_err() {
            is_applied = false;
            break;
        }
        let stack = space.observed().await;
        let (refused, conditions) = (space.take_refused(), stack["status"]["conditions"].to_string());
        if !refused.is_empty() || conditions.contains("ApplyFailed") {
            return Err(format!("{refused:#?}\n{conditions}"));
        }
        is_applied &= !conditions.contains("InvalidSpec");
    }
    operator.stop().await;
    Ok(is_applied)
}

/// Both specs, without sizes of volumes if there are two: a volume that was not named before can't be changed yet (issue 12, point 4).
fn with_equal_volumes(spec: Value, next: Option<Value>) -> Vec<Value> {
    let mut specs: Vec<Value> = [spec].into_iter().chain(next).collect();
    if specs.len() > 1 {
        for managed in ["mongodb", "rabbitmq", "postgres"].map(|store| format!("/stores/{store}/managed")) {
            let found = specs.iter_mut().filter_map(|spec| spec.pointer_mut(&managed)?.as_object_mut());
            found.for_each(|managed| drop(managed.remove("storage")));
        }
    }
    specs
}
