//! Lets build-dependencies have their one set of features too.

fn main() {}
