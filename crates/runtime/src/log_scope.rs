//! Fields that every log line has while a future runs, such as the object that a pass is about.
//!
//! Spans would not do: their fields are not written, since formatting every field of every span costs more than the lines that
//! want one.

use std::future::Future;

use tokio::task::futures::TaskLocalFuture;

/// Names and values.
type Fields = Vec<(&'static str, String)>;

tokio::task_local! {
    static FIELDS: Fields;
}

/// Runs a future; each line that is logged meanwhile, by the future itself, has these fields. A field of the line's own with the
/// same name wins.
pub fn with<F: Future>(
    fields: impl IntoIterator<Item = (&'static str, String)>,
    future: F,
) -> TaskLocalFuture<Fields, F> {
    FIELDS.scope(fields.into_iter().collect(), future)
}

/// The fields at this moment.
pub(crate) fn each(mut write: impl FnMut(&'static str, &str)) {
    // Without a scope there are none.
    let _ = FIELDS.try_with(|fields| {
        for (name, value) in fields {
            write(name, value);
        }
    });
}
