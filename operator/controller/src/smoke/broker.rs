//! The broker, as one who tries it out sees it.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use weft_runtime::config::{ExposeSecret as _, SecretString};

use crate::plain_http;

/// Why a try did not succeed.
#[derive(Debug)]
pub(super) enum Trial {
    /// Waiting may help.
    NotYet(String),
    /// It does not.
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Broker {
    address: String,
}

struct Answer {
    status: StatusCode,
    trace: Option<String>,
    body: Value,
}

impl Broker {
    /// `http://<host>[:<port>]`
    pub(super) fn at(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let fine = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        let host = uri.host().filter(|_| fine)?;
        Some(Self { address: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }

    /// Gives an access token.
    pub(super) async fn sign_in(&self, email: &str, password: &SecretString) -> Result<String, Trial> {
        let auth = json!({ "email": email, "password": password.expose_secret() });
        let answer = self.handle(None, &json!({ "action": "auth", "auth": auth })).await?;
        let token = answer.body["data"]["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| Trial::Refused("the answer has no access token".to_owned()))
    }

    /// Gives the id of the trace that the request became.
    pub(super) async fn publish(&self, token: &str, name: &str) -> Result<String, Trial> {
        let event = json!({ "name": name, "data": "published by weft-operator smoke" });
        let answer = self.handle(Some(token), &json!({ "action": "event", "event": event })).await?;
        answer.trace.ok_or_else(|| Trial::Refused("the answer has no traceresponse".to_owned()))
    }

    /// Succeeds when there is one entry of this name, of this trace.
    pub(super) async fn entry(&self, token: &str, name: &str, trace: &str) -> Result<(), Trial> {
        let found = self.get(token, &format!("/v1/logs?text={name}")).await?;
        let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        match items {
            [] => Err(Trial::NotYet("there is no entry".to_owned())),
            [one] if one["name"] == name && one["trace_id"] == trace => Ok(()),
            other => {
                let wanted = format!("instead of one entry {name} of trace {trace} there is");
                Err(Trial::Refused(format!("{wanted} {}", Value::from(other.to_vec()))))
            }
        }
    }

    /// Succeeds when the trace has a span of each of these services.
    pub(super) async fn trace(&self, token: &str, id: &str, services: &[&str]) -> Result<(), Trial> {
        let found = self.get(token, &format!("/v1/traces/{id}")).await?;
        let spans = found["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let missing: Vec<&str> = services
            .iter()
            .filter(|service| !spans.iter().any(|span| span["service"] == **service))
            .copied()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Trial::NotYet(format!("the trace has no span of {}", missing.join(", "))))
    }

    async fn handle(&self, token: Option<&str>, body: &Value) -> Result<Answer, Trial> {
        let mut request = Request::post("/handle").header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = self.send(request.header(HOST, &self.address), body.to_string()).await?;
        if answer.status == StatusCode::ACCEPTED { Ok(answer) } else { Err(refusal(&answer)) }
    }

    async fn get(&self, token: &str, path: &str) -> Result<Value, Trial> {
        let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = self.send(request.header(HOST, &self.address), String::new()).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            StatusCode::NOT_FOUND => Err(Trial::NotYet(said(&answer))),
            _ => Err(refusal(&answer)),
        }
    }

    async fn send(&self, request: http::request::Builder, body: String) -> Result<Answer, Trial> {
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| Trial::Refused(error.to_string()))?;
        let answer = plain_http::exchange(&self.address, request).await;
        let answer = answer.map_err(|error| Trial::NotYet(format!("{}: {error}", self.address)))?;
        let trace = answer.headers().get("traceresponse").and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status(),
            trace: trace.and_then(|value| value.split('-').nth(1)).map(str::to_owned),
            body: serde_json::from_slice(answer.body()).unwrap_or_default(),
        })
    }
}

/// What is the broker's own fault, or a limit's, may pass.
fn refusal(answer: &Answer) -> Trial {
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        Trial::NotYet(said(answer))
    } else {
        Trial::Refused(said(answer))
    }
}

fn said(answer: &Answer) -> String {
    format!("the broker answered {}: {}", answer.status, answer.body["message"])
}
