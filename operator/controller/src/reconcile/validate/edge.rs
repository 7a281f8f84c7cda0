//! What the services at the edge are told.

use std::net::IpAddr;

use weft_operator_api::{Console, Limits, OpenAction, StackSpec};

use super::Refusal;

/// What broker, authentication and frontend are told of the world outside.
#[derive(Clone, Debug, Default)]
pub struct EdgePlan {
    pub origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub limits: Limits,
    pub open_actions: Vec<OpenAction>,
    pub console: Console,
}

pub(super) fn edge(spec: &StackSpec) -> Result<EdgePlan, Refusal> {
    let StackSpec { origins, trusted_proxies, limits, open_actions, console, .. } = spec;
    if let Some(value) = trusted_proxies.iter().find(|text| !is_network(text)) {
        let (field, value) = ("spec.trustedProxies", value.clone());
        return Err(Refusal::Malformed { field, value, wanted: "a network such as 10.0.0.0/8 or fd00::/8" });
    }
    Ok(EdgePlan {
        origins: origins.clone(),
        trusted_proxies: trusted_proxies.clone(),
        limits: limits.clone().unwrap_or_default(),
        open_actions: open_actions.clone(),
        console: console.clone().unwrap_or_default(),
    })
}

/// No pattern can say this much of a network.
fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_a_length_that_fits_it() {
        for right in ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "fd00::/8", "::1/128"] {
            assert!(is_network(right), "{right}");
        }
        for wrong in
            ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "/8", "10.0.0.0/", "a/8", "1.2.3.4/-1"]
        {
            assert!(!is_network(wrong), "{wrong}");
        }
    }
}
