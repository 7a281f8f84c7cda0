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
    pub mod deadletter {
        pub mod v1 {
            tonic::include_proto!("weft.deadletter.v1");
        }

        /// The largest content of a letter: properties and body together.
        pub const MAX_CONTENT_BYTES: usize = 4 << 20;
        /// The largest message of the service, for `max_decoding_message_size`: a letter and what is known about it.
        pub const MAX_MESSAGE_BYTES: usize = MAX_CONTENT_BYTES + (64 << 10);
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
