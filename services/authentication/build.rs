//! A new migration is a change of this crate, though no source names its file.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
