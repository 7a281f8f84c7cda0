//! The OpenAPI 3.1 description of the API, generated from the endpoints. Adds what all endpoints have in common.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Header, HeaderBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder,
    PathItem, Paths, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema};

use crate::reply::{Envelope, ProblemDetails};

/// Path of the description.
pub(crate) const PATH: &str = "/v1/openapi.json";
/// Path of the health check, which is neither rate limited nor traced.
pub(crate) const PING: &str = "/ping";

/// Adds a type's schema and those that it refers to.
pub(crate) fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into(), T::schema()));
    T::schemas(schemas);
}

/// The description, serialized once.
#[derive(Debug, Clone)]
pub(crate) struct Document(Bytes);

/// The description without paths: info, security schemes, and the schemas of errors.
pub(crate) fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Weft's broker")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The single entry point of a Weft application."));
    let mut components = Components::new();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The access token from signing in"));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let cookie = ApiKeyValue::with_description(
        "weft-session",
        "`weft-session.<namespace>.<Stack>`; over https `__Host-weft-session.<namespace>.<Stack>`",
    );
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components.schemas.insert(Envelope::name().into(), Envelope::schema());
    components.schemas.insert(ProblemDetails::name().into(), ProblemDetails::schema());
    OpenApiBuilder::new().info(info.build()).paths(Paths::new()).components(Some(components)).build()
}

impl Document {
    /// Adds the path of the description itself, and the replies that every endpoint has in common.
    pub(crate) fn new(mut api: OpenApi) -> Self {
        api.paths.paths.insert(PATH.to_owned(), PathItem::new(HttpMethod::Get, own_path()));
        for (path, item) in &mut api.paths.paths {
            for change in [&mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
                add_error(change, "403", "A page of another origin sent it");
            }
            for operation in
                [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
            {
                complete(path, operation);
            }
        }
        Self(Bytes::from(api.to_json().unwrap_or_default()))
    }
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
        (headers, self.0).into_response()
    }
}

fn own_path() -> Operation {
    let any = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::Object))).build();
    let found = ResponseBuilder::new().description("This description").content("application/json", any);
    utoipa::openapi::path::OperationBuilder::new()
        .operation_id(Some("get_description"))
        .summary(Some("This description, as OpenAPI 3.1"))
        .tag("broker")
        .response("200", found)
        .build()
}

/// Adds an error, unless the operation describes this status itself.
fn add_error(operation: &mut Operation, status: &str, description: &str) {
    let response = ResponseBuilder::new().description(description);
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
}

/// Adds what all operations have in common: errors of the edge and of other services, the format of errors, and headers.
fn complete(path: &str, operation: &mut Operation) {
    if !["/", PING, PATH].contains(&path) {
        add_error(operation, "502", "A service behind the broker failed");
        add_error(
            operation,
            "503",
            "A service behind the broker can't be reached in time, or too much is in flight",
        );
    }
    if path != PING {
        add_error(operation, "500", "Internal error of the broker");
        add_error(operation, "429", "Too many requests, or too many failed sign-ins");
        add_error(operation, "503", "Too many requests or bytes are in flight");
    }
    if operation.security.is_some() {
        add_error(operation, "401", "Not signed in");
    }
    if operation.request_body.is_some() {
        add_error(operation, "408", "The body did not arrive within 15 s");
        add_error(operation, "413", "The body is larger than 1 MiB");
        add_error(operation, "415", "The body has a Content-Encoding");
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if status.as_str() >= "400" && response.content.is_empty() {
            let (media_type, schema) = if path.starts_with("/v1/") || path.starts_with("/.well-known/") {
                ("application/problem+json", ProblemDetails::name())
            } else {
                ("application/json", Envelope::name())
            };
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
            response.content.insert(media_type.to_owned(), RefOr::T(content));
        }
        headers(path, status, &mut response.headers);
    }
}

fn headers(path: &str, status: &str, headers: &mut BTreeMap<String, RefOr<Header>>) {
    let mut add = |name: &str, description: &str| {
        let header =
            HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String).build()));
        let header = header.description(Some(description)).build();
        headers.entry(name.to_owned()).or_insert(RefOr::T(header));
    };
    if path != PING {
        add("traceresponse", "The request's trace: `00-<trace>-<span>-<flags>`");
        add("RateLimit", "What remains of the client address's limit; absent without a limit");
        add("RateLimit-Policy", "The client address's limit; absent without a limit");
    }
    if ["429", "503"].contains(&status) {
        add("Retry-After", "Seconds to wait before trying again");
    }
    if status == "401" {
        add("WWW-Authenticate", "`Bearer`, with `error=\"invalid_token\"` if the request had a token");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::http;

    fn document() -> Value {
        let Document(bytes) = Document::new(http::described().into_openapi());
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Every `$ref` below a value.
    fn references(value: &Value) -> Vec<String> {
        match value {
            Value::Object(fields) => {
                let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
                own.into_iter().chain(fields.values().flat_map(references)).collect()
            }
            Value::Array(items) => items.iter().flat_map(references).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn is_openapi_3_1_and_every_reference_resolves() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        for reference in references(&document) {
            let found = document.pointer(reference.trim_start_matches('#'));
            assert!(found.is_some(), "{reference} does not resolve");
        }
    }

    #[test]
    fn describes_every_route_and_the_trace_header_of_every_reply() {
        let document = document();
        for path in [
            "/",
            "/ping",
            "/handle",
            "/log-grpc",
            "/logout",
            "/v1/session/refresh",
            "/v1/users/me",
            "/v1/users/me/password",
            "/v1/sessions",
            "/v1/sessions/{id}",
            "/v1/users",
            "/v1/users/{id}",
            "/v1/users/{id}/deactivate",
            "/v1/users/{id}/reactivate",
            "/v1/users/{id}/password-reset",
            "/v1/password/forgot",
            "/v1/password/reset",
            "/v1/events",
            "/v1/logs",
            "/v1/traces/{id}",
            "/v1/dead-letters",
            "/v1/dead-letters/{queue}/{id}",
            "/v1/dead-letters/{queue}/{id}/replay",
            "/v1/dead-letters/replay",
            PATH,
            "/.well-known/jwks.json",
            "/v1/signing-keys/rotate",
        ] {
            let methods = document["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is missing"));
            for operation in methods.values() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let traced = response["headers"]["traceresponse"].is_object();
                    assert_eq!(traced, path != PING, "{path} {status}");
                    assert!(status.as_str() < "400" || response["content"].is_object(), "{path} {status}");
                }
            }
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let document = document();
        let ids = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values());
        let mut ids: Vec<&str> = ids.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
