use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::syntax::SUBDOMAIN;

/// The first user, an administrator, who is made when there is no user of that email.
///
/// Unless a Secret is named, the operator makes one, `<stack>-admin`, with a password of its own. It does so once: when that
/// Secret is deleted and the data is still there, no new one is made, since its password would not be the user's.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!(has(self.secretRef) && has(self.email))")
        .message("the Secret holds the email: give one of secretRef and email")
)]
#[serde(rename_all = "camelCase")]
pub struct Admin {
    /// A Secret of yours with the keys email and password, instead of the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AdminSecretRef>,
    /// The email in the Secret that the operator makes. Default: admin@example.com.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 254),
        regex(pattern = r#"^[^\x00-\x20\x7f@<>(),;:"\[\]\\]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"#)
    )]
    pub email: Option<String>,
}

/// A Secret in the Stack's namespace with the keys email and password.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdminSecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
}

impl Admin {
    /// The email of a first user of whom nothing is said.
    pub const EMAIL: &str = "admin@example.com";
}
