//! The services' interfaces, compiled from the `.proto` files beside this crate.
//!
//! [`idempotency`] answers, from the files' own `idempotency_level`, whether a method may be called again
//! when it is not known whether the first call arrived.

#![expect(missing_docs, reason = "generated code carries the comments of the .proto files")]

pub mod weft {
    pub mod auth {
        pub mod v1 {
            tonic::include_proto!("weft.auth.v1");
        }
    }
    pub mod log {
        pub mod v1 {
            tonic::include_proto!("weft.log.v1");
        }
    }
    pub mod mail {
        pub mod v1 {
            tonic::include_proto!("weft.mail.v1");
        }
    }
}

/// The Go course's logger.
pub mod logs {
    tonic::include_proto!("logs");
}

pub mod idempotency;

/// Every file's descriptor, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
