//! A logger and a mail service that remember what they were told. They may come late.

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

/// What came, with the trace that it came in.
#[derive(Debug, Default)]
struct Seen {
    entries: Mutex<Vec<(Entry, String)>>,
    mails: Mutex<Vec<(SendRequest, String)>>,
    answer: Mutex<Option<Code>>,
    held: watch::Sender<bool>,
}

/// One server with both faces.
#[derive(Debug)]
pub(crate) struct Peer {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Peer {
    pub(crate) async fn start() -> Result<Self> {
        let peer = Self::away()?;
        peer.arrive().await?;
        Ok(peer)
    }

    /// One that is not there yet.
    pub(crate) fn away() -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], weft_devstack::free_port()?));
        Ok(Self { address, seen: Arc::default() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn arrive(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let face = Face(Arc::clone(&self.seen));
        let server = Server::new(&Metrics::default(), Shutdown::default())
            .serving(LogServiceServer::new(face.clone()))
            .serving(MailServiceServer::new(face));
        tokio::spawn(server.serve(listener));
        Ok(())
    }

    /// Every mail, once for each call that brought it.
    pub(crate) fn copies(&self) -> usize {
        self.seen.mails.lock().unwrap().len()
    }

    /// Every call is answered so from now on.
    pub(crate) fn answer(&self, code: Option<Code>) {
        *self.seen.answer.lock().unwrap() = code;
    }

    /// Whether calls wait from now on.
    pub(crate) fn hold(&self, held: bool) {
        self.seen.held.send_replace(held);
    }

    /// What was written, each entry once.
    pub(crate) fn entries(&self) -> Vec<(Entry, String)> {
        let mut entries = self.seen.entries.lock().unwrap().clone();
        let mut ids = std::collections::HashSet::new();
        entries.retain(|(entry, _)| ids.insert(entry.id.clone()));
        entries
    }

    pub(crate) fn has_entry(&self, data: &str) -> bool {
        self.entries().iter().any(|(entry, _)| entry.data == data)
    }

    /// What was sent, each mail once.
    pub(crate) fn mails(&self) -> Vec<(SendRequest, String)> {
        let mut mails = self.seen.mails.lock().unwrap().clone();
        let mut ids = std::collections::HashSet::new();
        mails.retain(|(mail, _)| ids.insert(mail.id.clone()));
        mails
    }
}

#[derive(Debug, Clone)]
struct Face(Arc<Seen>);

impl Face {
    fn answer(&self) -> Result<(), Status> {
        match *self.0.answer.lock().unwrap() {
            Some(code) => Err(Status::new(code, "as the test wants it")),
            None => Ok(()),
        }
    }
}

fn trace<T>(request: &Request<T>) -> String {
    let parent = request.metadata().get("traceparent").and_then(|value| value.to_str().ok());
    parent.unwrap_or_default().to_owned()
}

#[tonic::async_trait]
impl LogService for Face {
    async fn write(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::permission_denied("authentication writes nothing but records"))
    }

    async fn write_audit(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.answer()?;
        let trace = trace(&request);
        let entry = request.into_inner().entry.unwrap_or_default();
        self.0.entries.lock().unwrap().push((entry, trace));
        Ok(Response::new(WriteResponse { created: true, conflict: false }))
    }

    async fn write_many(&self, _: Request<WriteManyRequest>) -> Result<Response<WriteManyResponse>, Status> {
        Err(Status::unimplemented("authentication writes one by one"))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        Err(Status::unimplemented("authentication asks for nothing"))
    }
}

#[tonic::async_trait]
impl MailService for Face {
    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        // The sender is in this very value.
        let _ = self.0.held.subscribe().wait_for(|held| !held).await;
        self.answer()?;
        let trace = trace(&request);
        self.0.mails.lock().unwrap().push((request.into_inner(), trace));
        Ok(Response::new(SendResponse::default()))
    }
}
