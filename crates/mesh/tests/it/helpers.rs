//! A client and a server of `weft.log.v1`, and the spans that both create.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests; clippy recognises only test functions"
)]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanKind, TraceId, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};
use tracing_subscriber::layer::SubscriberExt as _;
use weft_mesh::{Channel, Deadline, Mesh, MeshConfig, Server};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::log_service_server::{LogService, LogServiceServer};
use weft_proto::weft::log::v1::{
    QueryRequest, QueryResponse, WriteManyRequest, WriteManyResponse, WriteRequest, WriteResponse,
};
use weft_runtime::config::{Fixed, Settings};
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;

static SPANS: LazyLock<InMemorySpanExporter> = LazyLock::new(|| {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("one subscriber for the test binary");
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    exporter
});

/// What the server does with a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    Answer,
    AnswerWhenTold,
    Refuse,
    Hang,
    Panic,
}

#[derive(Debug)]
struct Seen {
    deadline: Mutex<Option<Duration>>,
    entered: Semaphore,
    told: Semaphore,
    dropped: Notify,
}

#[derive(Debug, Clone)]
struct Logger {
    behaviour: Behaviour,
    seen: Arc<Seen>,
}

struct OnDrop(Arc<Seen>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

#[tonic::async_trait]
impl LogService for Logger {
    async fn write(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        *self.seen.deadline.lock().unwrap() = Deadline::current().map(Deadline::left);
        let _dropped = OnDrop(Arc::clone(&self.seen));
        self.seen.entered.add_permits(1);
        match self.behaviour {
            Behaviour::Answer => {}
            Behaviour::AnswerWhenTold => self.seen.told.acquire().await.unwrap().forget(),
            Behaviour::Refuse => return Err(Status::invalid_argument("no")),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Panic => panic!("on purpose"),
        }
        Ok(Response::new(WriteResponse { created: true, conflict: false }))
    }

    async fn write_audit(&self, _: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn write_many(&self, _: Request<WriteManyRequest>) -> Result<Response<WriteManyResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        Err(Status::unimplemented("not part of these tests"))
    }
}

/// A server and a channel to it.
pub(crate) struct Pair {
    address: SocketAddr,
    seen: Arc<Seen>,
    shutdown: Shutdown,
    serving: Option<JoinHandle<()>>,
    channel: Channel,
}

impl Pair {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut pair = Self::unserved(&listener);
        pair.serve(listener, behaviour);
        pair
    }

    /// A pair whose address neither accepts nor refuses connections until the listener is served, because the backlog is full.
    pub(crate) async fn silent() -> (Self, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let pair = Self::unserved(&listener);
        let mut queued = Vec::new();
        let timeout = Duration::from_millis(300);
        while let Ok(stream) = tokio::time::timeout(timeout, TcpStream::connect(pair.address)).await {
            queued.push(stream.unwrap());
        }
        (pair, listener)
    }

    /// A pair whose first connection ends at the first call, as with a pod that drains: GOAWAY says that no call was processed.
    /// The server answers from the second connection on.
    pub(crate) async fn draining() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut pair = Self::unserved(&listener);
        let mut client = pair.client();
        let call = tokio::spawn(async move { client.write(request()).await });
        let (mut connection, _) = listener.accept().await.unwrap();
        send_goaway(&mut connection).await;
        drop(connection);
        pair.serve(listener, Behaviour::Answer);
        call.await.unwrap().expect("the call was not retried");
        pair
    }

    fn unserved(listener: &TcpListener) -> Self {
        LazyLock::force(&SPANS);
        let address = listener.local_addr().unwrap();
        let settings = Settings::new(Fixed::new([
            ("WEFT_MESH_SECURITY", "plaintext"),
            ("WEFT_MESH_ADDRESSES", &format!("logger={address}")),
            ("WEFT_MESH_TIMEOUT", "10s"),
        ]));
        let mesh = Mesh::new(MeshConfig::from_settings(&settings).unwrap(), &Metrics::default());
        let channel = mesh.channel("logger").unwrap();
        let seen = Seen {
            deadline: Mutex::default(),
            entered: Semaphore::new(0),
            told: Semaphore::new(0),
            dropped: Notify::default(),
        };
        Self { address, seen: Arc::new(seen), shutdown: Shutdown::default(), serving: None, channel }
    }

    pub(crate) fn serve(&mut self, listener: TcpListener, behaviour: Behaviour) {
        self.shutdown = Shutdown::default();
        let logger = Logger { behaviour, seen: Arc::clone(&self.seen) };
        let server =
            Server::new(&Metrics::default(), self.shutdown.clone()).serving(LogServiceServer::new(logger));
        self.serving = Some(tokio::spawn(async move { server.serve(listener).await.unwrap() }));
    }

    pub(crate) async fn start_server(&mut self, behaviour: Behaviour) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener, behaviour);
    }

    pub(crate) async fn stop_server(&mut self) {
        self.shutdown.request();
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(Duration::from_secs(60), serving)
            .await
            .expect("the server did not stop")
            .unwrap();
    }

    pub(crate) fn client(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.channel.clone())
    }

    pub(crate) fn request_shutdown(&self) {
        self.shutdown.request();
    }

    pub(crate) fn cut(&self) {
        self.shutdown.cut_now();
    }

    pub(crate) fn tell_handlers(&self, count: usize) {
        self.seen.told.add_permits(count);
    }

    pub(crate) async fn handler_entered(&self) {
        self.seen.entered.acquire().await.unwrap().forget();
    }

    pub(crate) async fn handler_dropped(&self) {
        self.seen.dropped.notified().await;
    }

    pub(crate) async fn deadline_seen(&self) -> Option<Duration> {
        self.handler_entered().await;
        *self.seen.deadline.lock().unwrap()
    }
}

/// Reads frames up to the first HEADERS, then sends GOAWAY, NO_ERROR, with 0 as the last processed stream (RFC 9113, 4.1, 6.8).
async fn send_goaway(connection: &mut TcpStream) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    connection.read_exact(&mut [0; PREFACE]).await.unwrap();
    connection.write_all(&SETTINGS).await.unwrap();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        connection.read_exact(&mut vec![0; length as usize]).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    connection.write_all(&GOAWAY).await.unwrap();
}

pub(crate) fn request() -> WriteRequest {
    WriteRequest::default()
}

/// Waits for this many spans of the mesh in this trace.
pub(crate) async fn spans_of(trace: TraceId, count: usize) -> Vec<SpanData> {
    let collect = async {
        loop {
            let spans = SPANS.get_finished_spans().unwrap();
            let found: Vec<_> = spans
                .into_iter()
                .filter(|span| span.span_context.trace_id() == trace && span.span_kind != SpanKind::Internal)
                .collect();
            if found.len() >= count {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), collect).await.expect("timed out waiting for the spans")
}

pub(crate) fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}
