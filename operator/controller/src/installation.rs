//! What the chart was installed with: the images of each version, the stores' images, the namespaces to look after.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The file that `WEFT_OPERATOR_CONFIG` names.
#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// The Helm release's name.
    pub release: String,
    /// The namespace that the operator runs in.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The images of the built-in services, by version.
    pub versions: BTreeMap<String, Images>,
    pub stores: StoreImages,
    pub tracing: TracingImages,
    /// Secrets, in the namespace of each Stack, that open the registries of all images.
    #[serde(default, rename = "pullSecrets")]
    pub pull_secrets: Vec<String>,
    /// Where Prometheus runs.
    #[serde(default, rename = "monitoringNamespaces")]
    pub monitoring_namespaces: Vec<String>,
    #[serde(default)]
    pub watch: Watch,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Images {
    pub broker: String,
    pub logger: String,
    pub listener: String,
    pub authentication: String,
    pub mail: String,
    pub frontend: String,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StoreImages {
    pub mongodb: MongoDb,
    pub rabbitmq: RabbitMq,
    pub postgres: Postgres,
    pub mailcatcher: MailCatcher,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MongoDb {
    pub image: String,
    pub flavour: Flavour,
}

/// What speaks MongoDB's protocol.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// The official image, with a password.
    MongoDb,
    /// FerretDB on SQLite, which knows no passwords with our driver.
    FerretDb,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RabbitMq {
    pub image: String,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    pub image: String,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MailCatcher {
    pub image: String,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TracingImages {
    pub jaeger: Jaeger,
}

#[derive(Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Jaeger {
    pub image: String,
    /// 1 and 2 take different flags.
    pub major: u8,
}

#[derive(Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Empty: all, except those whose label names another release.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    #[error("failed to read {path}, which WEFT_OPERATOR_CONFIG names")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to understand {path}, which WEFT_OPERATOR_CONFIG names")]
    Parse { path: PathBuf, source: serde_yaml_ng::Error },
    #[error("{path}: tracing.jaeger.major is {major}, but only 1 and 2 are known")]
    JaegerMajor { path: PathBuf, major: u8 },
}

impl Installation {
    /// Reads the file.
    ///
    /// # Errors
    /// When it can't be read, or says what this operator does not know.
    pub fn read(path: &Path) -> Result<Self, InstallationError> {
        let path_buf = || path.to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|source| InstallationError::Read { path: path_buf(), source })?;
        let read: Self = serde_yaml_ng::from_str(&text)
            .map_err(|source| InstallationError::Parse { path: path_buf(), source })?;
        match read.tracing.jaeger.major {
            1 | 2 => Ok(read),
            major => Err(InstallationError::JaegerMajor { path: path_buf(), major }),
        }
    }
}
