//! Fields that are added to every log line while a future runs, such as the object of a reconcile pass.
//!
//! Span fields are not logged, because formatting every field of every span would cost too much.

use std::future::Future;

use tokio::task::futures::TaskLocalFuture;

/// Names and values.
type Fields = Vec<(&'static str, String)>;

tokio::task_local! {
    static FIELDS: Fields;
}

/// Runs a future. Each line that the future logs has these fields, unless the event has a field of the same name. Tasks that the
/// future spawns are not covered.
pub fn with<F: Future>(
    fields: impl IntoIterator<Item = (&'static str, String)>,
    future: F,
) -> TaskLocalFuture<Fields, F> {
    FIELDS.scope(fields.into_iter().collect(), future)
}

/// Calls `write` for each field of the current scope.
pub(crate) fn each(mut write: impl FnMut(&'static str, &str)) {
    // Fails outside a scope, where there are no fields.
    let _ = FIELDS.try_with(|fields| {
        for (name, value) in fields {
            write(name, value);
        }
    });
}
