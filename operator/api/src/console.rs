use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The addresses that the console is told: as the browser reaches them, not as pods do.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Console {
    /// The console itself, such as https://shop.example.com: links in mails lead there. Default: the origin of spec.expose. Without either no
    /// password can be reset by mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 8, max = 256),
        regex(pattern = r"^https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$")
    )]
    pub url: Option<String>,
    /// The broker: scheme, host and port, such as http://127.0.0.1:30080. The console's own origin has to be in spec.origins then. Default: the
    /// console's own origin, where an Ingress sends both to one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 8, max = 256),
        regex(pattern = r"^https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$")
    )]
    pub broker_url: Option<String>,
    /// Jaeger's page, for links to traces. Default: no links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 512), regex(pattern = r#"^https?://[^\s"'<>\\?#@]+$"#))]
    pub jaeger_url: Option<String>,
}
