//! A pass as seen from outside: its span, the Stack's name on each of its log lines, its place in the queue.

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tracing::Instrument as _;
use tracing::field::Empty;
use weft_runtime::log_scope;

use crate::cache::GuardedStack;
use crate::context::Context;
use crate::reconcile::{ReconcileError, reconcile};

/// Reconciles, seen from outside.
pub(super) async fn observed(
    stack: Arc<GuardedStack>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let reference = ObjectRef::from_obj(stack.as_ref());
    context.metrics.begun(&reference);
    let (name, namespace) = (reference.name, reference.namespace.unwrap_or_default());
    let span = tracing::info_span!(
        parent: None,
        "reconcile",
        otel.name = "reconcile Stack",
        otel.kind = "internal",
        otel.status_code = Empty,
        k8s.namespace.name = namespace,
        weft.stack = name,
        error.type = Empty,
    );
    let pass = async {
        let done = reconcile(stack, context).await;
        if let Err(error) = &done {
            let span = tracing::Span::current();
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.kind());
        }
        done
    };
    log_scope::with([("stack", name), ("namespace", namespace)], pass.instrument(span)).await
}
