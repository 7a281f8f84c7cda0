//! Inserts one group.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Waiting, Written};
use crate::metrics::Metrics;
use crate::store::{Cause, Inserted, LogStore, StoreError};
use crate::trace::{DatabaseSpan, DatabaseSpans};

/// Inserts a group and answers its calls. Each call gets a database span in its own trace.
pub(super) async fn run(
    store: Arc<dyn LogStore>,
    spans: DatabaseSpans,
    metrics: Metrics,
    mut group: Vec<Waiting>,
) {
    let counts: Vec<usize> = group.iter().map(|waiting| waiting.entries.len()).collect();
    let entries: Vec<_> = group.iter_mut().flat_map(|waiting| std::mem::take(&mut waiting.entries)).collect();
    let size = entries.len();
    let started = Instant::now();
    let open = |waiting: &Waiting| -> Vec<DatabaseSpan> {
        let own = std::iter::once(&waiting.span).chain(&waiting.joined);
        own.map(|parent| spans.insert(parent, size)).collect()
    };
    let opened: Vec<_> = group.iter().map(open).collect();
    let outcome = store.insert(entries).await;
    metrics.inserted(size, started.elapsed());
    let mut outcomes = match outcome {
        Ok(all) if all.len() == size => Ok(all.into_iter()),
        Ok(all) => {
            let cause = format!("{} outcomes for {size} entries", all.len());
            Err(StoreError::Failed(Cause::new(cause)))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &outcomes {
        // Logged once for the group, in the trace of its first call.
        let _first = group.first().map(|waiting| waiting.span.clone().entered());
        tracing::error!(
            error = error as &dyn std::error::Error,
            calls = group.len(),
            entries = size,
            "failed to insert entries"
        );
    }
    for ((waiting, count), opened) in group.into_iter().zip(counts).zip(opened) {
        let answer = match &mut outcomes {
            Ok(all) => answer(all.take(count)),
            Err(error) => Err(error.clone()),
        };
        for span in opened {
            span.end(answer.as_ref().err().map(StoreError::kind));
        }
        // The caller may have gone; its entries are stored anyway.
        let _ = waiting.answer.send(answer);
    }
}

/// The result of each entry, or the first refusal.
fn answer(entries: impl Iterator<Item = Inserted>) -> Result<Vec<Written>, StoreError> {
    // Consumes all outcomes of this call, so that the next call gets its own.
    let entries: Vec<Inserted> = entries.collect();
    let each = entries.into_iter().map(|inserted| match inserted {
        Inserted::Created => Ok(Written::Created),
        Inserted::AlreadyThere => Ok(Written::Repeated),
        Inserted::Conflict => Ok(Written::Conflict),
        Inserted::Refused(cause) => {
            let error = StoreError::Failed(cause);
            tracing::error!(error = &error as &dyn std::error::Error, "the store refused an entry");
            Err(error)
        }
    });
    each.collect()
}
