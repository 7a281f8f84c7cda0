use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::syntax::SUBDOMAIN;

/// Whom mail comes from, and how it looks.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// Whom every mail comes from. Where an action names someone else, that one goes into Reply-To. Default: the Stack's
    /// name, no-reply@example.com.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MailFrom>,
    /// Templates that go before the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<MailTemplates>,
}

/// Whom mail comes from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MailFrom {
    /// The name that a reader sees. Default: the Stack's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\x00-\x1f\x7f]+$"))]
    pub name: Option<String>,
    /// The address.
    #[schemars(
        length(min = 3, max = 254),
        regex(pattern = r#"^[^\x00-\x20\x7f@<>(),;:"\[\]\\]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"#)
    )]
    pub address: String,
}

/// Templates of mails.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MailTemplates {
    /// The name of a ConfigMap in the Stack's namespace, with a file for each key. The README of the mail service says how
    /// they are named. A change of it rolls the mail service.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub config_map: String,
}
