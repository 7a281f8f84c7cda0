//! Stand-ins for the logger and mail, which record what they receive and may start late.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use weft_mesh::Server;
use weft_proto::weft::log::v1::log_service_server::{LogService, LogServiceServer};
use weft_proto::weft::log::v1::{
    Entry, QueryRequest, QueryResponse, WriteManyRequest, WriteManyResponse, WriteRequest, WriteResponse,
};
use weft_proto::weft::mail::v1::mail_service_server::{MailService, MailServiceServer};
use weft_proto::weft::mail::v1::{SendRequest, SendResponse};
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;

/// What was received, each with the traceparent of its call.
#[derive(Debug, Default)]
struct Received {
    entries: Mutex<Vec<(Entry, String)>>,
    mails: Mutex<Vec<(SendRequest, String)>>,
    failure: Mutex<Option<Code>>,
    held: watch::Sender<bool>,
}

/// A server that implements both services.
#[derive(Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    received: Arc<Received>,
}

impl Peer {
    pub(crate) async fn start() -> Result<Self> {
        let peer = Self::stopped()?;
        peer.listen().await?;
        Ok(peer)
    }

    /// A peer that does not listen yet.
    pub(crate) fn stopped() -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], weft_devstack::free_port()?));
        Ok(Self { address, received: Arc::default() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn listen(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let handlers = Handlers(Arc::clone(&self.received));
        let server = Server::new(&Metrics::default(), Shutdown::default())
            .serving(LogServiceServer::new(handlers.clone()))
            .serving(MailServiceServer::new(handlers));
        tokio::spawn(server.serve(listener));
        Ok(())
    }

    /// Number of mails received, repeats included.
    pub(crate) fn copies(&self) -> usize {
        self.requests().len()
    }

    /// All mails received, repeats included.
    pub(crate) fn requests(&self) -> Vec<SendRequest> {
        self.received.mails.lock().unwrap().iter().map(|(mail, _)| mail.clone()).collect()
    }

    /// Makes every further call fail with this code, or succeed.
    pub(crate) fn fail_with(&self, code: Option<Code>) {
        *self.received.failure.lock().unwrap() = code;
    }

    /// Makes further calls wait, or releases them.
    pub(crate) fn hold(&self, held: bool) {
        self.received.held.send_replace(held);
    }

    /// The entries received, without repeats.
    pub(crate) fn entries(&self) -> Vec<(Entry, String)> {
        let mut entries = self.received.entries.lock().unwrap().clone();
        let mut ids = std::collections::HashSet::new();
        entries.retain(|(entry, _)| ids.insert(entry.id.clone()));
        entries
    }

    pub(crate) fn has_entry(&self, data: &str) -> bool {
        self.entries().iter().any(|(entry, _)| entry.data == data)
    }

    /// The mails received, without repeats.
    pub(crate) fn mails(&self) -> Vec<(SendRequest, String)> {
        let mut mails = self.received.mails.lock().unwrap().clone();
        let mut ids = std::collections::HashSet::new();
        mails.retain(|(mail, _)| ids.insert(mail.id.clone()));
        mails
    }
}

#[derive(Debug, Clone)]
struct Handlers(Arc<Received>);

impl Handlers {
    fn check(&self) -> Result<(), Status> {
        match *self.0.failure.lock().unwrap() {
            Some(code) => Err(Status::new(code, "set by the test")),
            None => Ok(()),
        }
    }
}

fn trace<T>(request: &Request<T>) -> String {
    let parent = request.metadata().get("traceparent").and_then(|value| value.to_str().ok());
    parent.unwrap_or_default().to_owned()
}

#[tonic::async_trait]
impl LogService for Handlers {
    async fn write(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::permission_denied("authentication writes only audit records"))
    }

    async fn write_audit(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.check()?;
        let trace = trace(&request);
        let entry = request.into_inner().entry.unwrap_or_default();
        self.0.entries.lock().unwrap().push((entry, trace));
        Ok(Response::new(WriteResponse { created: true, conflict: false }))
    }

    async fn write_many(&self, _: Request<WriteManyRequest>) -> Result<Response<WriteManyResponse>, Status> {
        Err(Status::unimplemented("authentication writes single entries"))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        Err(Status::unimplemented("authentication does not query"))
    }
}

#[tonic::async_trait]
impl MailService for Handlers {
    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        // Fails only without a sender, which `self` holds.
        let _ = self.0.held.subscribe().wait_for(|held| !held).await;
        let checked = self.check();
        // A mail of unknown outcome may have been sent.
        if checked.as_ref().err().is_none_or(|status| status.code() == Code::Unknown) {
            let trace = trace(&request);
            self.0.mails.lock().unwrap().push((request.into_inner(), trace));
        }
        checked.map(|()| Response::new(SendResponse::default()))
    }
}
