//! Why nothing is built.

use weft_operator_api::StoreKind;

use crate::names::{self, SMTP};
use crate::reconcile::dereference::SecretProblem;

/// Why nothing is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "there is one Stack in a namespace, and `{elder}` was here first: delete one of them, or move this one to \
         another namespace"
    )]
    ElderStack { elder: String },
    #[error("spec.version is `{wanted}`, which this operator was not installed with; it knows {known}")]
    UnknownVersion { wanted: String, known: String },
    #[error(
        "Secret {secret} is gone, but its volume {claim} is there, and a new password would not open it: restore \
         the Secret, or delete the PersistentVolumeClaim to start empty"
    )]
    CredentialsLost { store: &'static str, secret: String, claim: String },
    #[error(
        "spec.stores.{store}: {}; copy it (docs/stores.md says how), then set leaveData: true in {} to say that you know. \
         Until then what runs goes on as it is",
        left_behind(store, *kind),
        goal(store, *kind)
    )]
    DataLeftBehind { store: &'static str, kind: StoreKind },
    #[error("spec.stores.{store}.external: {problem}")]
    Secret { store: &'static str, problem: SecretProblem },
    #[error(
        "{problem}: the superuser of {store} must be the one that the operator made. Restore its Secret, with its labels, or rename \
         or delete this one"
    )]
    Superuser { store: &'static str, problem: SecretProblem },
    #[error("spec.admin: {problem}")]
    Admin { problem: SecretProblem },
    #[error(
        "{problem}: it needs the keys that authentication encrypts its signing keys with, or delete it to get a new one"
    )]
    Encryption { problem: SecretProblem },
    #[error(
        "spec.mail.templates: ConfigMap {config_map} does not exist in this namespace; the Stack goes on when it does"
    )]
    Templates { config_map: String },
    #[error("spec.mail.from is missing: an SMTP server of yours needs the address that mail comes from")]
    NoSender,
    #[error("{field}: give exactly one of {choices}")]
    NotOne { field: String, choices: &'static str },
    #[error("{field}: `{value}` is not {wanted}")]
    Malformed { field: &'static str, value: String, wanted: &'static str },
    #[error("{field}: {problem}")]
    Contradiction { field: String, problem: String },
    #[error(
        "spec.workloads[{workload}].envFrom: {kind} {name} does not exist in this namespace; the Stack goes on when it does"
    )]
    EnvFrom { workload: String, kind: &'static str, name: String },
    #[error("the operator can't read this Stack: {error}")]
    Unreadable { error: String },
}

impl Refusal {
    /// The reasons that a store's condition can have.
    pub const REASONS_OF_STORES: [&str; 5] =
        ["CredentialsLost", "DataLeftBehind", "InvalidSpec", "SecretMissing", "SecretUnusable"];

    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ElderStack { .. } => "AnotherStackInNamespace",
            Self::UnknownVersion { .. } => "UnknownVersion",
            Self::CredentialsLost { .. } => "CredentialsLost",
            Self::DataLeftBehind { .. } => "DataLeftBehind",
            Self::Secret { problem: SecretProblem::Missing { .. }, .. }
            | Self::Admin { problem: SecretProblem::Missing { .. } } => "SecretMissing",
            Self::Secret { .. } | Self::Superuser { .. } | Self::Admin { .. } | Self::Encryption { .. } => {
                "SecretUnusable"
            }
            Self::EnvFrom { kind: "Secret", .. } => "SecretMissing",
            Self::Templates { .. } | Self::EnvFrom { .. } => "ConfigMapMissing",
            Self::NoSender
            | Self::NotOne { .. }
            | Self::Malformed { .. }
            | Self::Contradiction { .. }
            | Self::Unreadable { .. } => "InvalidSpec",
        }
    }

    /// The store that it is about.
    pub fn store(&self) -> Option<&str> {
        match self {
            Self::CredentialsLost { store, .. }
            | Self::Secret { store, .. }
            | Self::Superuser { store, .. }
            | Self::DataLeftBehind { store, .. } => Some(store),
            Self::NoSender => Some(SMTP),
            Self::ElderStack { .. }
            | Self::UnknownVersion { .. }
            | Self::Admin { .. }
            | Self::Encryption { .. }
            | Self::Templates { .. }
            | Self::NotOne { .. }
            | Self::Malformed { .. }
            | Self::Contradiction { .. }
            | Self::EnvFrom { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// True when it ends by itself once someone makes what is missing: nothing is broken, and it is looked for often.
    pub fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::Secret { .. }
                | Self::Admin { .. }
                | Self::Encryption { .. }
                | Self::Templates { .. }
                | Self::EnvFrom { .. }
        )
    }
}

fn left_behind(store: &str, kind: StoreKind) -> String {
    match kind {
        StoreKind::Managed => {
            let claim = names::claim(store);
            format!("it becomes external, and the data on the volume {claim} would be left behind")
        }
        StoreKind::External => {
            "it becomes managed, and the data of the external store would be left behind".to_owned()
        }
    }
}

fn goal(store: &str, from: StoreKind) -> String {
    let to = match from {
        StoreKind::Managed => "external",
        StoreKind::External => "managed",
    };
    format!("spec.stores.{store}.{to}")
}
