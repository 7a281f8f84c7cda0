//! Names of services whose log entries are records of who did what. Nobody else may write entries under these names.

/// Records of the broker: dead letters that were replayed or discarded.
pub const BROKER: &str = "broker.audit";
/// Records of authentication: sign-ins, sign-outs, and changes of users, sessions and passwords.
pub const AUTHENTICATION: &str = "authentication";

/// Whether entries of this service are records, or would pass for such: case, white space, punctuation and invisible
/// characters do not make another name.
#[must_use]
pub fn is_reserved(service: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let service = letters(service);
    [BROKER, AUTHENTICATION].iter().any(|reserved| letters(reserved) == service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_pass_for_a_record_are_reserved() {
        for name in [
            "broker.audit",
            "Broker.Audit",
            " broker.audit\n",
            "broker audit",
            "brokeraudit",
            "broker\u{200b}.audit",
            "authentication",
            "AUTHENTICATION",
            "authentication\0",
        ] {
            assert!(is_reserved(name), "{name:?}");
        }
        for name in ["", "broker", "listener", "orders", "audit", "my-authentication", "brokers.audit"] {
            assert!(!is_reserved(name), "{name:?}");
        }
    }
}
