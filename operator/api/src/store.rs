use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::quantity::Quantity;
use crate::smtp::Smtp;
use crate::syntax::SUBDOMAIN;

/// Where the services keep their data.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Stores {
    /// MongoDB, for the logger's entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mongodb: Option<Store>,
    /// RabbitMQ, for events between broker and listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rabbitmq: Option<Store>,
    /// PostgreSQL, for authentication's users and sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Store>,
    /// Where mail is handed in. Default: a catcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Smtp>,
}

/// A store: run by the operator, or somewhere else.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.managed) != has(self.external)").message("give exactly one of managed and external"))]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// The operator runs it, makes its password (a Secret named as the store), and keeps its volume and that Secret
    /// when the Stack goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedStore>,
    /// It runs somewhere else; a Secret says where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStore>,
}

/// A store that the operator runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("quantity(string(self.storage)).isGreaterThan(quantity('0'))").message("a volume has a size").field_path(".storage"))]
#[x_kube(validation = Rule::new("self.storage == oldSelf.storage").message("a volume's size can't be changed in place").field_path(".storage"))]
#[serde(rename_all = "camelCase")]
pub struct ManagedStore {
    /// The size of its volume. Default: 1Gi.
    #[serde(default = "one_gibibyte")]
    pub storage: Quantity,
    /// A moment, such as 2026-11-25T15:00:00Z. Each change of it restarts the store, which is away until it is back. The
    /// moment itself means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Moment>,
    /// A moment, such as 2026-11-25T15:00:00Z. Each change of it gives the store a new user with a new password: the services
    /// move to it without a failed call, then the former user is shut out. The moment itself means nothing. See
    /// docs/stores.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Moment>,
    /// True says that you know: the data of the external store that was used until now does not come along. Without it
    /// the way back from external to managed is refused. See docs/stores.md. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_data: Option<bool>,
}

/// A store that runs somewhere else.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalStore {
    /// The Secret that says how to reach it.
    pub secret_ref: SecretRef,
    /// True says that you know: what the managed store has on its volume does not come along. Without it the way from
    /// managed to external is refused while there is such a volume. See docs/stores.md. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_data: Option<bool>,
}

/// A Secret in the Stack's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Which of its keys holds the connection URI. Without it: uri, else connection_string, else the URI is made from
    /// host, port, username and password (with dbname for PostgreSQL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

impl Default for ManagedStore {
    fn default() -> Self {
        Self { storage: one_gibibyte(), restarted_at: None, rotated_at: None, leave_data: None }
    }
}

fn one_gibibyte() -> Quantity {
    Quantity::new("1Gi")
}
