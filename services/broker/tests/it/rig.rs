//! A broker with fakes of its services. Fields are dropped in this order.

use std::sync::{Arc, Mutex};

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use weft_devstack::{RabbitMq, Service, ServiceOptions, StateDir, free_port};
use weft_mesh::Server;
use weft_mesh::caller::Role;
use weft_proto::weft::auth::v1::auth_service_server::AuthServiceServer;
use weft_proto::weft::log::v1::Entry;
use weft_proto::weft::log::v1::log_service_server::LogServiceServer;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;

use crate::authentication::{Authentication, ISSUER, Seen, token};
use crate::letters::Letters;
use crate::logger::Logger;

pub(crate) struct Rig {
    pub(crate) broker: Service,
    pub(crate) rabbitmq: Option<RabbitMq>,
    pub(crate) authentication: Arc<Seen>,
    pub(crate) entries: Arc<Mutex<Vec<Entry>>>,
    /// The dead letters of the logger, and those of authentication's outbox.
    pub(crate) letters: Letters,
    pub(crate) outbox: Letters,
    authentication_shutdown: Shutdown,
    logger_shutdown: Shutdown,
    http: Client,
    _state: StateDir,
}

/// A reply with its whole body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Rig {
    /// Starts without RabbitMQ.
    pub(crate) async fn start(options: ServiceOptions) -> Self {
        Self::with(options, false).await
    }

    pub(crate) async fn with_rabbitmq() -> Self {
        Self::with_rabbitmq_and(ServiceOptions::default()).await
    }

    pub(crate) async fn with_rabbitmq_and(options: ServiceOptions) -> Self {
        Self::with(options, true).await
    }

    async fn with(options: ServiceOptions, rabbitmq: bool) -> Self {
        let state = StateDir::temporary().unwrap();
        let authentication = Authentication::default();
        authentication.0.seeds.lock().unwrap().push(1);
        let logger = Logger::default();
        let (authentication_shutdown, logger_shutdown) = (Shutdown::default(), Shutdown::default());
        let server = |shutdown: &Shutdown| Server::new(&Metrics::default(), shutdown.clone());
        let (letters, outbox) = (Letters::default(), Letters::delivering());
        let of_authentication = server(&authentication_shutdown)
            .serving(AuthServiceServer::new(authentication.clone()))
            .serving(outbox.server());
        let of_logger =
            server(&logger_shutdown).serving(LogServiceServer::new(logger.clone())).serving(letters.server());
        let (auth_address, log_address) = (serve(of_authentication).await, serve(of_logger).await);
        let rabbitmq = match rabbitmq {
            true => Some(RabbitMq::start(&state.folder("rabbitmq").unwrap()).await.unwrap()),
            false => None,
        };
        let unused = format!("amqp://u:p@127.0.0.1:{}/%2f", free_port().unwrap());
        let mut all = ServiceOptions::default()
            .env("AMQP_URI", rabbitmq.as_ref().map_or(unused.as_str(), RabbitMq::uri))
            .env("WEFT_MESH_ADDRESSES", format!("logger={log_address},authentication={auth_address}"))
            .env("BROKER_TOKEN_ISSUER", ISSUER)
            .env("BROKER_OPEN_ACTIONS", "log,event")
            // On a busy machine, slow services must not count as unavailable.
            .env("WEFT_MESH_TIMEOUT", "20s")
            .env("BROKER_REQUESTS_PER_SECOND", "0");
        all.env.extend(options.env);
        let broker = Service::start("broker", state.path(), all).await.unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let (authentication, entries) = (authentication.0, logger.0);
        Self {
            broker,
            rabbitmq,
            authentication,
            entries,
            letters,
            outbox,
            authentication_shutdown,
            logger_shutdown,
            http,
            _state: state,
        }
    }

    /// Stops authentication, whether or not the broker has connected to it.
    pub(crate) async fn stop_authentication(&self) {
        self.authentication_shutdown.cut_now();
        self.until_503("/v1/sessions").await;
    }

    /// Stops the logger.
    pub(crate) async fn stop_logger(&self) {
        self.logger_shutdown.cut_now();
        self.until_503("/v1/logs").await;
    }

    /// Waits until this path answers 503: the stopping service may still answer some calls.
    async fn until_503(&self, path: &str) {
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
        while self.as_viewer(self.get(path)).await.status != 503 {
            assert!(tokio::time::Instant::now() < until, "{path} is still answered");
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.broker.http_url()))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    pub(crate) async fn as_user(&self, request: RequestBuilder) -> Reply {
        reply(request.bearer_auth(token(Role::User))).await
    }

    pub(crate) async fn as_viewer(&self, request: RequestBuilder) -> Reply {
        reply(request.bearer_auth(token(Role::Viewer))).await
    }

    pub(crate) async fn as_admin(&self, request: RequestBuilder) -> Reply {
        reply(request.bearer_auth(token(Role::Admin))).await
    }
}

async fn serve(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { server.serve(listener).await.unwrap() });
    address
}

pub(crate) async fn reply(request: RequestBuilder) -> Reply {
    let response: Response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let traced = headers.contains_key("traceresponse") || (response.url().path() == "/ping" && status == 200);
    assert!(traced, "a reply with status {status} has no trace id");
    let bytes = response.bytes().await.unwrap();
    Reply { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that the reply is a problem with this status, and with this part in its detail.
    pub(crate) fn is_problem(&self, status: u16, part: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status);
        assert!(self.body["detail"].as_str().unwrap().contains(part), "{self:?} without `{part}`");
        assert_eq!(self.body["trace_id"].as_str().unwrap().len(), 32);
    }
}
