//! A namespace of one test: a Stack in it, what the Stack may refer to, and everything that the API server refused the operator.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::Layer as _;
use weft_operator::client::TraceWrites;
use weft_operator::controller::Scope;
use weft_operator::installation::Installation;
use weft_operator::leader::Leadership;

use super::server;
use crate::fake::Id;
use crate::harness::{Operator, installation};
use crate::world::{Shape, bare, surroundings};

/// Long enough for a machine that has other things to do.
const WITHIN: Duration = Duration::from_secs(300);
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Every kind that an operator of Stacks makes.
const KINDS: [(&str, &str); 12] = [
    ("/api/v1", "configmaps"),
    ("/api/v1", "secrets"),
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "services"),
    ("/apis/apps/v1", "controllerrevisions"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "statefulsets"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("/apis/batch/v1", "jobs"),
    ("/apis/networking.k8s.io/v1", "ingresses"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
];

pub(crate) struct Space {
    name: String,
    stack: String,
    client: Client,
    refused: Arc<Mutex<Vec<String>>>,
}

/// A refusal: status code, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Space {
    /// A new namespace with everything that a generated spec may refer to.
    pub(crate) async fn new() -> Self {
        Self::of("shop").await
    }

    /// The same, for a Stack of this name.
    pub(crate) async fn of(stack: &str) -> Self {
        let client = server::client().await;
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "generateName": "real-" } });
        let made = send(&client, "POST", "/api/v1/namespaces", &namespace).await.unwrap();
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        let space = Self { name, stack: stack.to_owned(), client, refused: Arc::default() };
        for (plural, name, mut object) in surroundings() {
            object["metadata"] = json!({ "name": name });
            space.send("POST", &space.path("/api/v1", plural), &object).await.unwrap();
        }
        space
    }

    /// An operator of this namespace alone.
    pub(crate) async fn operator(&self) -> Operator {
        let (inner, refused) = (self.client.clone(), Arc::clone(&self.refused));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (inner, refused) = (inner.clone(), Arc::clone(&refused));
            async move { recorded(&inner, request, &refused).await }
        });
        let client = Client::new(TraceWrites.layer(service), &self.name);
        let password = || "the same thirty-two letters for all".to_owned();
        let scope = Scope::Namespace(self.name.clone());
        let installation = Installation { pull_secrets: vec!["registry-one".to_owned()], ..installation() };
        Operator::start_in(client, &scope, installation, Leadership::always(), password).await
    }

    /// Asserts that the API server has refused nothing that the operator asked for.
    pub(crate) fn assert_nothing_refused(&self, what: &str) {
        let refused = self.refused.lock().unwrap();
        assert!(refused.is_empty(), "{what}: the API server refused {refused:#?}");
    }

    /// What the API server refused since this was last asked.
    pub(crate) fn take_refused(&self) -> Vec<String> {
        std::mem::take(&mut self.refused.lock().unwrap())
    }

    /// Applies the Stack as a user.
    pub(crate) async fn apply(&self, spec: &Value) -> Result<Value, Refused> {
        let path =
            format!("{}/{}?fieldManager=user&force=true&fieldValidation=Strict", self.stacks(), self.stack);
        self.send("PATCH", &path, &self.object(spec)).await
    }

    /// Whether the API server would accept this Stack.
    pub(crate) async fn dry_run(&self, spec: &Value) -> Result<Value, Refused> {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", self.stacks());
        self.send("POST", &path, &self.object(spec)).await
    }

    /// Waits until the operator has said in the status what it makes of the Stack as it stands.
    pub(crate) async fn observed(&self) -> Value {
        let path = format!("{}/{}", self.stacks(), self.stack);
        let wait = async {
            loop {
                let stack = self.send("GET", &path, &Value::Null).await.unwrap();
                if stack["status"]["observedGeneration"] == stack["metadata"]["generation"] {
                    return stack;
                }
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        };
        let observed = tokio::time::timeout(WITHIN, wait).await;
        observed.unwrap_or_else(|_| panic!("not observed: {:#?}", self.refused.lock().unwrap()))
    }

    /// All objects of the operator's kinds.
    pub(crate) async fn shape(&self) -> Shape {
        let mut shape = Shape::new();
        for (group, plural) in KINDS {
            let list = self.send("GET", &self.path(group, plural), &Value::Null).await.unwrap();
            for object in list["items"].as_array().unwrap() {
                let name = object["metadata"]["name"].as_str().unwrap();
                shape.insert(Id(plural.to_owned(), self.name.clone(), name.to_owned()), comparable(object));
            }
        }
        shape
    }

    /// Waits until everything is as it was; Secrets may have come to it, since passwords are kept.
    pub(crate) async fn becomes(&self, wanted: &Shape) -> Shape {
        let mut shape = Shape::new();
        let wait = async {
            loop {
                shape = self.shape().await;
                shape.retain(|id, _| wanted.contains_key(id) || id.0 != "secrets");
                if shape == *wanted {
                    return;
                }
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        };
        // What is not so by then is for the caller to tell.
        drop(tokio::time::timeout(WITHIN, wait).await);
        shape
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        send(&self.client, method, path, body).await
    }

    pub(crate) fn path(&self, group: &str, plural: &str) -> String {
        format!("{group}/namespaces/{}/{plural}", self.name)
    }

    fn object(&self, spec: &Value) -> Value {
        json!({ "apiVersion": "weft.dev/v1alpha1", "kind": "Stack", "metadata": { "name": self.stack }, "spec": spec })
    }

    fn stacks(&self) -> String {
        self.path("/apis/weft.dev/v1alpha1", "stacks")
    }
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
    let kind = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let answer = client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
    let is_success = answer.status().is_success();
    let body: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    if is_success {
        return Ok(body);
    }
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let code = body["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap();
    Err(Refused { code, reason: text("reason"), message: text("message") })
}

/// Sends a request of the operator's. Keeps what a refusal says; not found and conflict are answers that it expects.
async fn recorded(
    client: &Client,
    request: Request<Body>,
    refused: &Mutex<Vec<String>>,
) -> Result<Response<Body>, kube::Error> {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let answer = client.send(request).await?;
    if answer.status().is_success() || [404, 409].contains(&answer.status().as_u16()) {
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    refused.lock().unwrap().push(format!("{asked}: {}: {}", parts.status, status["message"]));
    Ok(Response::from_parts(parts, Body::from(body.to_vec())))
}

/// Without what the API server gives by itself.
fn comparable(object: &Value) -> Value {
    let mut object = bare(object);
    for pointer in ["/spec/clusterIP", "/spec/clusterIPs", "/revision"] {
        if let Some(given) = object.pointer_mut(pointer) {
            *given = Value::Null;
        }
    }
    object
}
