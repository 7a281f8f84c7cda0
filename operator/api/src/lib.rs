#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

mod admin;
mod console;
mod edge;
mod expose;
mod life;
mod mail;
mod moment;
mod quantity;
mod service;
mod smtp;
mod stack;
mod status;
mod store;
mod syntax;
mod tracing;
mod tuning;
mod workload;

pub use admin::{Admin, AdminSecretRef};
pub use console::Console;
pub use edge::{Limits, OpenAction};
pub use expose::{Expose, ExposeTls, RESERVED_SEGMENTS, Route};
pub use life::{ALLOW_DATA_DELETION, DeletionPolicy};
pub use mail::{Mail, MailFrom, MailTemplates};
pub use moment::Moment;
pub use quantity::Quantity;
pub use service::{EnvVar, RESERVED_ENV, ResourceList, Resources, Service, Services};
pub use smtp::{Catcher, Encryption, ExternalSmtp, Smtp, SmtpSecretRef};
pub use stack::{Stack, StackSpec};
pub use status::{Condition, ConditionStatus, ServiceStatus, StackStatus, StoreKind, StoreUse};
pub use store::{ExternalStore, ManagedStore, SecretRef, Store, Stores};
pub use tracing::{ManagedTracing, Otlp, Tracing};
pub use tuning::{Autoscaling, TaintEffect, Toleration, TolerationOperator};
pub use workload::{
    EnvFrom, LocalReference, Probe, ProbeType, Probes, Protocol, RESERVED_NAMES, Workload, WorkloadEnv,
};

/// The API group of every resource here.
pub const GROUP: &str = "weft.dev";
