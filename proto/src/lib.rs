//! gRPC interfaces of the services, generated from the `.proto` files in this folder.
//!
//! [`idempotency`] tells from the `idempotency_level` in these files whether a method may be called again when the outcome of
//! the first call is unknown.

#![expect(missing_docs, reason = "generated code has the comments of the .proto files")]

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

        /// Maximum size of a letter's content: properties and body together.
        pub const MAX_CONTENT_BYTES: usize = 4 << 20;
        /// Maximum message size, for `max_decoding_message_size`: a letter's content and its metadata.
        pub const MAX_MESSAGE_BYTES: usize = MAX_CONTENT_BYTES + (64 << 10);
        /// Upper bound for a replay, from Replay to the end of Remove. After it the letter can be replayed again.
        pub const REPLAY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
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

/// Interface of the original Go course's logger.
pub mod logs {
    tonic::include_proto!("logs");
}

pub mod idempotency;

/// Descriptors of all files, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
