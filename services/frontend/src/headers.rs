//! The security headers of every response.

use axum::http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Origin;

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The headers, built once because they depend only on the settings.
#[derive(Debug, Clone)]
pub(crate) struct SecurityHeaders(HeaderMap);

impl SecurityHeaders {
    pub(crate) fn new(broker: Option<&Origin>) -> Self {
        let fixed = |value: &'static str| HeaderValue::from_static(value);
        // Never fails, because an origin has only characters that are valid in a header. The fallback allows nothing.
        let policy = HeaderValue::from_str(&policy(broker)).unwrap_or_else(|_| fixed("default-src 'none'"));
        Self(HeaderMap::from_iter([
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (REFERRER_POLICY, fixed("no-referrer")),
            (CROSS_ORIGIN_OPENER_POLICY, fixed("same-origin")),
            (CROSS_ORIGIN_RESOURCE_POLICY, fixed("same-origin")),
            (PERMISSIONS_POLICY, fixed("camera=(), geolocation=(), microphone=(), payment=(), usb=()")),
            // Browsers ignore it over plain http.
            (STRICT_TRANSPORT_SECURITY, fixed("max-age=31536000")),
        ]))
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.clone());
    }
}

/// Allows scripts, styles and images of this origin and calls to the broker. Trusted types forbid creating markup or code from text.
fn policy(broker: Option<&Origin>) -> String {
    let broker = broker.map(|origin| format!(" {origin}")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{broker}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}
