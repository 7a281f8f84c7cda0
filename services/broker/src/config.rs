//! The broker's settings; the README lists them.

use std::num::NonZeroU32;
use std::time::Duration;

use weft_events::Amqp;
use weft_mesh::MeshConfig;
use weft_runtime::config::{ConfigError, Settings};
use weft_runtime::http;

use crate::client::Proxies;
use crate::forward::Bounds;
use crate::in_flight;
use crate::limit::Quota;
use crate::open::OpenActions;
use crate::origin::Origins;
use crate::quotas;
use crate::routes::Routes;
use crate::session::CookieSecurity;
use crate::traces::JaegerUrl;

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) amqp: Amqp,
    pub(crate) publish_timeout: Duration,
    pub(crate) trust_incoming_traces: bool,
    pub(crate) mesh: MeshConfig,
    pub(crate) origins: Origins,
    pub(crate) jaeger: Option<JaegerUrl>,
    pub(crate) open_actions: OpenActions,
    pub(crate) proxies: Proxies,
    pub(crate) token_issuer: String,
    pub(crate) quota: Option<Quota>,
    pub(crate) quotas: quotas::Limits,
    pub(crate) cookie_security: CookieSecurity,
    pub(crate) routes: Routes,
    pub(crate) route_bounds: Bounds,
    pub(crate) in_flight: in_flight::Bounds,
    pub(crate) connections: http::Bounds,
}

impl Config {
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            amqp: Amqp::from_settings(settings)?,
            publish_timeout: settings.duration("BROKER_PUBLISH_TIMEOUT", Duration::from_secs(2))?,
            trust_incoming_traces: settings.or("BROKER_TRUST_INCOMING_TRACES", "true or false", false)?,
            mesh: MeshConfig::from_settings(settings)?,
            origins: settings.or(
                "BROKER_ORIGINS",
                "origins such as https://console.example.com, separated by commas",
                Origins::default(),
            )?,
            jaeger: settings
                .optional("BROKER_JAEGER_URL", "the http:// address of Jaeger's query API, without a path")?,
            open_actions: settings.or(
                "BROKER_OPEN_ACTIONS",
                "log, event or mail, separated by commas",
                OpenActions::default(),
            )?,
            proxies: settings.or(
                "BROKER_TRUSTED_PROXIES",
                "networks such as 10.0.0.0/8, separated by commas",
                Proxies::default(),
            )?,
            token_issuer: settings.text("BROKER_TOKEN_ISSUER").unwrap_or_else(|| "weft".to_owned()),
            quota: quota(settings)?,
            quotas: quotas::Limits::from_settings(settings)?,
            cookie_security: settings.or("BROKER_COOKIE_SECURE", "auto or always", CookieSecurity::Auto)?,
            routes: settings.or(
                "BROKER_ROUTES",
                "prefixes with addresses, such as /shop=http://orders:8080, separated by commas",
                Routes::default(),
            )?,
            route_bounds: Bounds {
                timeout: settings.duration("BROKER_ROUTE_TIMEOUT", Duration::from_secs(30))?,
                body_bytes: settings.or("BROKER_ROUTE_BODY_BYTES", "a whole number of bytes", 10 << 20)?,
            },
            in_flight: in_flight(settings)?,
            connections: http::Bounds::from_settings(settings)?,
        })
    }
}

fn quota(settings: &Settings) -> Result<Option<Quota>, ConfigError> {
    const WANTED: &str = "a whole number; 0 means no limit";
    let per_second: u32 = settings.or("BROKER_REQUESTS_PER_SECOND", WANTED, 50)?;
    let burst: u32 = settings.or("BROKER_REQUESTS_BURST", WANTED, 100)?;
    let (per_second, burst) = (NonZeroU32::new(per_second), NonZeroU32::new(burst));
    Ok(per_second.zip(burst).map(|(per_second, burst)| Quota { per_second, burst }))
}

/// The defaults fit a pod of 256 MiB, the operator's default limit: while a request is handled, its body is in memory about four
/// times, as bytes, as fields, and as the message to another service.
fn in_flight(settings: &Settings) -> Result<in_flight::Bounds, ConfigError> {
    let number = |name, wanted, default: u32| {
        let default = NonZeroU32::new(default).unwrap_or(NonZeroU32::MIN);
        settings.or(name, wanted, default).map(|number| number.get() as usize)
    };
    let requests = |name, default| number(name, "a whole number, at least 1", default);
    let bytes = |name, default| number(name, "a whole number of bytes, at least 1", default);
    Ok(in_flight::Bounds {
        requests: requests("BROKER_REQUESTS_IN_FLIGHT", 3_072)?,
        requests_per_address: requests("BROKER_REQUESTS_IN_FLIGHT_PER_ADDRESS", 256)?,
        bytes: bytes("BROKER_BYTES_IN_FLIGHT", 32 << 20)?,
        bytes_per_address: bytes("BROKER_BYTES_IN_FLIGHT_PER_ADDRESS", 16 << 20)?,
    })
}

#[cfg(test)]
mod tests {
    use weft_runtime::config::Fixed;

    use super::*;

    fn read(name: &str, value: &str) -> Result<Config, ConfigError> {
        let settings =
            [("AMQP_URI", "amqp://u:p@rabbitmq"), ("WEFT_MESH_SECURITY", "plaintext"), (name, value)];
        Config::from_settings(&Settings::new(Fixed::new(settings)))
    }

    #[test]
    fn names_the_invalid_setting_and_its_value() {
        for (name, value) in [
            ("BROKER_ORIGINS", "*"),
            ("BROKER_JAEGER_URL", "jaeger:16686"),
            ("BROKER_OPEN_ACTIONS", "mail,auth"),
            ("BROKER_TRUSTED_PROXIES", "10.0.0.0/64"),
            ("BROKER_REQUESTS_PER_SECOND", "-1"),
            ("BROKER_COOKIE_SECURE", "never"),
            ("BROKER_ROUTES", "/v1=http://orders:8080"),
            ("BROKER_ROUTE_TIMEOUT", "long"),
            ("BROKER_ROUTE_BODY_BYTES", "1 MiB"),
            ("BROKER_REQUESTS_IN_FLIGHT", "0"),
            ("BROKER_REQUESTS_IN_FLIGHT_PER_ADDRESS", "many"),
            ("BROKER_OPEN_BYTES_PER_DAY", "1 GiB"),
            ("BROKER_USER_MAILS_PER_HOUR", "many"),
            ("BROKER_RECIPIENT_MAILS_PER_HOUR", "-1"),
            ("BROKER_BYTES_IN_FLIGHT", "32 MiB"),
            ("BROKER_BYTES_IN_FLIGHT_PER_ADDRESS", "-1"),
            ("WEFT_HTTP_CONNECTIONS", "0"),
            ("WEFT_HTTP_SEND_TIMEOUT", "15"),
        ] {
            let error = read(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn by_default_no_action_is_open_and_requests_are_limited() {
        let config = read("AMQP_URI", "amqp://u:p@rabbitmq").unwrap();
        assert!(config.open_actions == OpenActions::default() && config.jaeger.is_none());
        assert_eq!(config.quota.unwrap().burst.get(), 100);
    }

    #[test]
    fn a_rate_of_0_disables_the_limit() {
        assert!(read("BROKER_REQUESTS_PER_SECOND", "0").unwrap().quota.is_none());
        assert!(read("BROKER_REQUESTS_BURST", "0").unwrap().quota.is_none());
    }
}
