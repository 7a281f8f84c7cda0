//! How many Stacks there are, and how they are: counted when somebody asks, from what the watches know.

use std::sync::{Arc, Mutex, PoisonError};

use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use weft_operator_api::{ConditionStatus, Stack};

use crate::cache::GuardedStack;

/// In the order in which they are looked for: a Stack that is Stalled is not Ready either.
const STATES: [&str; 3] = ["ready", "stalled", "reconciling"];

/// The Stacks of every scope.
#[derive(Clone, Default)]
pub(super) struct Stacks(Arc<Mutex<Vec<Store<GuardedStack>>>>);

impl std::fmt::Debug for Stacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stacks")
    }
}

impl Stacks {
    pub(super) fn add(&self, stacks: Store<GuardedStack>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(stacks);
    }

    fn counts(&self) -> [i64; STATES.len()] {
        let mut counts = [0; STATES.len()];
        for store in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for stack in store.state() {
                if let Some(count) = counts.get_mut(state(stack.0.as_ref().ok())) {
                    *count += 1;
                }
            }
        }
        counts
    }
}

/// The index in [`STATES`]. One that does not parse is Stalled.
fn state(stack: Option<&Stack>) -> usize {
    let Some(stack) = stack else { return 1 };
    let holds = |condition: &str| {
        let found = stack.status.as_ref().and_then(|status| status.condition(condition));
        found.is_some_and(|found| found.status == ConditionStatus::True)
    };
    if holds("Ready") {
        0
    } else if holds("Stalled") {
        1
    } else {
        2
    }
}

impl Collector for Stacks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Stacks, by how they are";
        let mut metric = encoder.encode_descriptor("weft_operator_stacks", help, None, MetricType::Gauge)?;
        for (state, count) in STATES.into_iter().zip(self.counts()) {
            let gauge = ConstGauge::new(count);
            gauge.encode(metric.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}
