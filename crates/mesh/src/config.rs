//! Settings of the mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_runtime::config::{ConfigError, Settings};

/// Port of every gRPC server in a cluster.
pub const GRPC_PORT: u16 = 50_051;

/// Transport security of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// No encryption. Must be set explicitly.
    Plaintext,
}

/// The settings of the mesh, as listed in the crate's README.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Transport security.
    pub security: Security,
    /// DNS domain of the services.
    pub domain: Option<String>,
    /// Addresses, `host:port`, that take precedence over the domain.
    pub addresses: BTreeMap<String, String>,
    /// The deadline of a call whose caller has none.
    pub timeout: Duration,
}

impl MeshConfig {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a setting is invalid, or WEFT_MESH_SECURITY is not set.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            security: security(settings)?,
            domain: settings.text("WEFT_MESH_DOMAIN"),
            addresses: addresses(settings)?,
            timeout: settings.duration("WEFT_MESH_TIMEOUT", Duration::from_secs(2))?,
        })
    }

    /// The address, `host:port`, of a service; `None` when it is not listed and no domain is set.
    pub fn address(&self, service: &str) -> Option<String> {
        self.addresses
            .get(service)
            .cloned()
            .or_else(|| Some(format!("{service}.{}:{GRPC_PORT}", self.domain.as_ref()?)))
    }
}

fn security(settings: &Settings) -> Result<Security, ConfigError> {
    const NAME: &str = "WEFT_MESH_SECURITY";
    const WANTED: &str = "`plaintext` (encryption is not supported yet)";
    match settings.required_text(NAME, WANTED)?.as_str() {
        "plaintext" => Ok(Security::Plaintext),
        other => Err(ConfigError::Invalid {
            name: NAME.to_owned(),
            value: other.to_owned(),
            wanted: WANTED,
            reason: "no other value is supported".to_owned(),
        }),
    }
}

fn addresses(settings: &Settings) -> Result<BTreeMap<String, String>, ConfigError> {
    const NAME: &str = "WEFT_MESH_ADDRESSES";
    let value = settings.text(NAME).unwrap_or_default();
    value
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((service, address)) if address.contains(':') => Ok((service.to_owned(), address.to_owned())),
            _ => Err(ConfigError::Invalid {
                name: NAME.to_owned(),
                value: value.clone(),
                wanted: "comma-separated service=host:port pairs",
                reason: format!("`{pair}` is not such a pair"),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use weft_runtime::config::Fixed;

    use super::*;

    fn read<const N: usize>(values: [(&str, &str); N]) -> Result<MeshConfig, ConfigError> {
        MeshConfig::from_settings(&Settings::new(Fixed::new(values)))
    }

    #[test]
    fn requires_plaintext_to_be_set_explicitly() {
        assert!(read([]).unwrap_err().to_string().contains("WEFT_MESH_SECURITY"));
        assert!(read([("WEFT_MESH_SECURITY", "none")]).is_err());
        assert_eq!(read([("WEFT_MESH_SECURITY", "plaintext")]).unwrap().security, Security::Plaintext);
    }

    #[test]
    fn prefers_a_listed_address_to_the_domain() {
        let config = read([
            ("WEFT_MESH_SECURITY", "plaintext"),
            ("WEFT_MESH_DOMAIN", "shop.svc.cluster.local"),
            ("WEFT_MESH_ADDRESSES", "logger=127.0.0.1:5005"),
        ])
        .unwrap();
        assert_eq!(config.address("logger").unwrap(), "127.0.0.1:5005");
        assert_eq!(config.address("mail").unwrap(), "mail.shop.svc.cluster.local:50051");
        assert_eq!(read([("WEFT_MESH_SECURITY", "plaintext")]).unwrap().address("mail"), None);
    }
}
