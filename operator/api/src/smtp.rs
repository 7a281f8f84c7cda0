use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::syntax::SUBDOMAIN;

/// Where mail is handed in: a catcher, or an SMTP server of yours.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.catcher) != has(self.external)").message("give exactly one of catcher and external"))]
#[serde(rename_all = "camelCase")]
pub struct Smtp {
    /// The operator runs a catcher: it takes every mail, shows it on a page (port 1080 of Service mailcatcher) and delivers
    /// none. For trying things out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catcher: Option<Catcher>,
    /// An SMTP server of yours, which delivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSmtp>,
}

/// A catcher of mail, run by the operator. It keeps mail until its pod ends.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Catcher {}

/// An SMTP server that runs somewhere else.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSmtp {
    /// Its name or address, such as smtp.example.com.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?$"))]
    pub host: String,
    /// Its port. Default: 587, with encryption ssl 465, with none 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How the connection is protected. Default: tls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Who signs in there. Without it nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SmtpSecretRef>,
}

/// How a connection to an SMTP server is protected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// STARTTLS, without which nothing is sent.
    #[default]
    Tls,
    /// TLS from the first byte.
    Ssl,
    /// Not at all.
    None,
}

/// A Secret in the Stack's namespace with the keys username and password.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SmtpSecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
}

impl Encryption {
    /// As the mail service's settings name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Ssl => "ssl",
            Self::None => "none",
        }
    }
}

impl ExternalSmtp {
    /// How the connection is protected.
    pub fn encryption(&self) -> Encryption {
        self.encryption.unwrap_or_default()
    }

    /// The port: the one that is usual for the encryption, unless it is named.
    pub fn port(&self) -> i32 {
        self.port.unwrap_or(match self.encryption() {
            Encryption::Tls => 587,
            Encryption::Ssl => 465,
            Encryption::None => 25,
        })
    }
}
