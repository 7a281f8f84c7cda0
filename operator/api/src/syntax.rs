//! The API server's own syntax of names, labels and taints. What it would refuse of an object is refused of the Stack.

/// A DNS subdomain: the name of most objects.
pub(crate) const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// The key of a label or a taint, with or without a prefix.
pub(crate) const LABEL_KEY: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// The value of a label or a taint.
pub(crate) const LABEL_VALUE: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// A port from 1 to 65535.
pub(crate) const PORT: &str =
    "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// A rule for the keys of a map, of which a schema says nothing.
pub(crate) fn label_keys() -> serde_json::Value {
    serde_json::json!({
        "rule": format!("self.all(key, key.matches(r'{LABEL_KEY}') && key.indexOf('/') <= 253)"),
        "message": "a key is a name of at most 63 letters, digits, hyphens, underscores and dots, with or without a DNS prefix and a slash",
    })
}
