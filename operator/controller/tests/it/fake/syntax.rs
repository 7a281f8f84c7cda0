//! The API server's syntax of names, keys and labels.

fn is_lower(one: char) -> bool {
    one.is_ascii_lowercase() || one.is_ascii_digit()
}

/// Letters and digits of a kind, with some characters between them.
fn is_word(text: &str, is_outer: fn(char) -> bool, between: &[char]) -> bool {
    text.starts_with(is_outer)
        && text.ends_with(is_outer)
        && text.chars().all(|one| is_outer(one) || between.contains(&one))
}

pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| is_word(part, is_lower, &['-']))
}

pub(super) fn is_service_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|one: char| one.is_ascii_lowercase())
        && is_word(text, is_lower, &['-'])
}

fn is_label_word(text: &str) -> bool {
    text.len() <= 63 && is_word(text, |one| one.is_ascii_alphanumeric(), &['-', '_', '.'])
}

pub(super) fn is_label(text: &str) -> bool {
    text.is_empty() || is_label_word(text)
}

pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_word(name),
        None => is_label_word(text),
    }
}

/// A key of a ConfigMap or Secret, which becomes a file's name.
pub(super) fn is_data_key(text: &str) -> bool {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&one);
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(is_plain)
        && !text.starts_with("..")
        && text != "."
}

/// Of an Ingress.
pub(super) fn is_host(text: &str) -> bool {
    is_subdomain(text) && text.parse::<std::net::IpAddr>().is_err()
}
