//! An empty build script, so that the manifest can have build-dependencies.

fn main() {}
