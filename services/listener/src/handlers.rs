//! What each kind of event starts.

pub(crate) mod log;
