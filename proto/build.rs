//! Compiles the .proto files with protox, so that `protoc` need not be installed.

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 5] = [
    "weft/auth/v1/auth.proto",
    "weft/deadletter/v1/deadletter.proto",
    "weft/log/v1/log.proto",
    "weft/mail/v1/mail.proto",
    "logs/logs.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let set = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(set)?;
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    Ok(())
}
