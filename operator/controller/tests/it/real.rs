//! What only a real kube-apiserver knows: which Stacks and which objects of the operator's it refuses, and in which words.

mod differential;
mod every_field;
mod generated;
mod limits;
mod refusals;
mod schema;
mod server;
mod space;

pub(crate) use space::Space;
