//! A connection to RabbitMQ that reconnects whenever it is lost.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, ErrorKind, Event as ConnectionEvent, runtime,
    tcp::OwnedTLSConfig, uri::AMQPScheme,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use weft_runtime::{net, status::StoreStatus, store::pauses_while_refused};

use crate::{Amqp, metrics, topology, version};

/// Timeout of one attempt to connect, and of declaring the topology.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Timeout for a TCP connection, over all addresses of RabbitMQ's name.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// lapin reports most lost connections by an event. Polling finds the others.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Minimum interval between two declarations on one connection, so that deletions in a loop do not flood RabbitMQ.
const DECLARE_EVERY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The current connection, or why there is none.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Up(Arc<Session>),
    Down(Outage),
}

/// Status while there is no connection.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) reachable: bool,
    pub(crate) authenticated: bool,
    pub(crate) reason: String,
}

/// Waits for a connection. Returns `None` when the link is closed.
pub(crate) async fn up(state: &mut watch::Receiver<State>) -> Option<Arc<Session>> {
    match &*state.wait_for(|state| matches!(state, State::Up(_))).await.ok()? {
        State::Up(session) => Some(session.clone()),
        State::Down(_) => None,
    }
}

/// One connection.
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) connection: Connection,
    version: Option<String>,
    /// Why RabbitMQ blocks publishing, if it does.
    blocked: watch::Sender<Option<String>>,
    /// Start of the last declaration.
    declared: Mutex<Instant>,
}

/// Keeps a connection open. Dropping the link closes the connection.
#[derive(Debug)]
pub(crate) struct Link {
    state: watch::Receiver<State>,
    end: CancellationToken,
    _end: DropGuard,
}

impl Link {
    /// `reads_version`: whether the status includes RabbitMQ's version, which costs a line in RabbitMQ's log.
    pub(crate) fn start(
        amqp: Amqp,
        name: &'static str,
        reads_version: bool,
        metrics: &metrics::EventMetrics,
    ) -> Self {
        let starting = Outage { reachable: false, authenticated: false, reason: "not connected yet".into() };
        let (tell, state) = watch::channel(State::Down(starting));
        let end = CancellationToken::new();
        let connected = metrics.connected.get_or_create_owned(&metrics::Connection { connection: name });
        connected.set(0);
        let supervisor = Supervisor { amqp, name, reads_version, tell, end: end.clone(), connected };
        tokio::spawn(supervisor.run());
        Self { state, _end: end.clone().drop_guard(), end }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(crate) fn status(&self) -> StoreStatus {
        match &*self.state.borrow() {
            State::Up(session) => StoreStatus {
                reachable: true,
                authenticated: true,
                migrated: true,
                version: session.version.clone(),
                message: session.blocked().map(|reason| format!("RabbitMQ blocks publishing: {reason}")),
            },
            State::Down(outage) => StoreStatus {
                reachable: outage.reachable,
                authenticated: outage.authenticated,
                migrated: false,
                version: None,
                message: Some(outage.reason.clone()),
            },
        }
    }

    /// Closes the connection and does not reconnect.
    pub(crate) async fn close(&self) {
        self.end.cancel();
        let mut state = self.state.clone();
        // An error means that the supervisor, and with it the connection, has ended.
        let _ = timeout(2 * CLOSE_WITHIN, state.wait_for(|state| matches!(state, State::Down(_)))).await;
    }
}

impl Session {
    pub(crate) fn blocked(&self) -> Option<String> {
        self.blocked.borrow().clone()
    }

    /// Returns when RabbitMQ does not block publishing.
    pub(crate) async fn unblocked(&self) {
        // Can't fail: `self` owns the sender.
        let _ = self.blocked.subscribe().wait_for(Option::is_none).await;
    }

    /// Declares the topology again, unless that was done after `since`. Concurrent callers share one declaration, and there is at
    /// most one a second.
    pub(crate) async fn redeclare(&self, since: Instant) -> lapin::Result<()> {
        let mut declared = self.declared.lock().await;
        if *declared > since {
            return Ok(());
        }
        sleep_until(*declared + DECLARE_EVERY).await;
        *declared = Instant::now();
        self.declare().await
    }

    /// As [`Session::redeclare`], but only logs errors, for callers that retry anyway.
    pub(crate) async fn redeclare_or_warn(&self, since: Instant) {
        let declared = timeout(OPEN_WITHIN, self.redeclare(since)).await;
        if let Ok(Err(error)) = declared {
            tracing::warn!(%error, "failed to declare exchanges and queues again");
        }
    }

    /// Declares every exchange, queue and binding. Idempotent.
    async fn declare(&self) -> lapin::Result<()> {
        let channel = self.connection.create_channel().await?;
        topology::declare(&channel).await?;
        channel.close(200, "declared".into()).await
    }

    /// Returns when the connection is lost, with the reason.
    async fn lost(&self) -> String {
        let mut events = self.connection.events_listener();
        let mut reason = None;
        while self.connection.status().connected() {
            match timeout(POLL_EVERY, events.next()).await {
                Ok(Some(ConnectionEvent::ConnectionBlocked(why))) => {
                    tracing::warn!(reason = why, "RabbitMQ blocks publishing");
                    self.blocked.send_replace(Some(why));
                }
                Ok(Some(ConnectionEvent::ConnectionUnblocked)) => {
                    tracing::info!("RabbitMQ no longer blocks publishing");
                    self.blocked.send_replace(None);
                }
                // May concern one channel only: the loop checks whether the connection is still open.
                Ok(Some(ConnectionEvent::Error(error))) => reason = Some(error.to_string()),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => break,
            }
        }
        reason.unwrap_or_else(|| "the connection was closed".into())
    }

    /// Whether RabbitMQ still opens channels on this connection. Waits at most 2 s.
    pub(crate) async fn answers(&self) -> bool {
        matches!(timeout(CLOSE_WITHIN, self.connection.create_channel()).await, Ok(Ok(_)))
    }

    /// Closes the connection. The link opens another one unless it is closed too. Waits at most 2 s.
    pub(crate) async fn close(&self) {
        let closed = timeout(CLOSE_WITHIN, self.connection.close(200, "no longer needed".into())).await;
        if let Ok(Err(error)) = closed {
            tracing::debug!(%error, "failed to close the connection to RabbitMQ");
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("number", &self.number).finish_non_exhaustive()
    }
}

struct Supervisor {
    amqp: Amqp,
    name: &'static str,
    reads_version: bool,
    tell: watch::Sender<State>,
    end: CancellationToken,
    connected: Gauge,
}

impl Supervisor {
    async fn run(self) {
        let mut pauses = Pauses::new();
        let mut number = 0;
        let mut logged = None;
        while let Some(opened) = self.end.run_until_cancelled(self.open(number)).await {
            let outage = match opened {
                Ok(session) => {
                    pauses = Pauses::new();
                    number += 1;
                    logged = None;
                    match self.hold(session).await {
                        Some(outage) => outage,
                        None => break,
                    }
                }
                Err(outage) => outage,
            };
            if logged.as_ref() != Some(&outage.reason) {
                tracing::warn!(
                    connection = self.name,
                    server = ?self.amqp,
                    reason = outage.reason,
                    "not connected to RabbitMQ"
                );
                logged = Some(outage.reason.clone());
            }
            let pause = pauses.after(&outage);
            self.tell.send_replace(State::Down(outage));
            if self.end.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        let reason = "the connection was closed".into();
        self.tell.send_replace(State::Down(Outage { reachable: false, authenticated: false, reason }));
    }

    /// Keeps a connection until it is lost. Returns `None` when the link was closed.
    async fn hold(&self, session: Session) -> Option<Outage> {
        let session = Arc::new(session);
        tracing::info!(connection = self.name, server = ?self.amqp, "connected to RabbitMQ");
        self.connected.set(1);
        self.tell.send_replace(State::Up(session.clone()));
        let lost = self.end.run_until_cancelled(session.lost()).await;
        self.connected.set(0);
        match lost {
            Some(reason) => Some(Outage { reachable: false, authenticated: false, reason }),
            None => {
                session.close().await;
                None
            }
        }
    }

    async fn open(&self, number: u64) -> Result<Session, Outage> {
        match timeout(OPEN_WITHIN, self.connect(number)).await {
            Ok(opened) => opened,
            Err(_) => Err(Outage {
                reachable: false,
                authenticated: false,
                reason: format!(
                    "RabbitMQ accepted the connection but did not answer within {} s",
                    OPEN_WITHIN.as_secs()
                ),
            }),
        }
    }

    async fn connect(&self, number: u64) -> Result<Session, Outage> {
        // Checked before lapin connects: lapin first allocates its buffers, megabytes for each attempt, and that memory would stay
        // in use while RabbitMQ is away.
        let (host, port) = (self.amqp.host(), self.amqp.port());
        let stream = net::connect_within(host, port, CONNECT_WITHIN).await.map_err(unreachable)?;
        let address = stream.peer_addr().map_err(unreachable)?;
        let version = if self.reads_version {
            version::of(&self.amqp, stream).await
        } else {
            drop(stream);
            None
        };
        let connection = self.handshake(address).await.map_err(|error| refused(&error))?;
        let (blocked, declared) = (watch::Sender::new(None), Mutex::new(Instant::now()));
        let session = Session { number, connection, version, blocked, declared };
        match session.declare().await {
            Ok(()) => Ok(session),
            Err(error) => {
                session.close().await;
                Err(Outage {
                    reachable: true,
                    authenticated: true,
                    reason: format!(
                        "failed to declare exchanges and queues: {error} (a queue that exists with other arguments must be \
                         emptied and deleted; the user needs configure, write and read permissions)"
                    ),
                })
            }
        }
    }
}

impl Supervisor {
    /// Connects to `address`. Given the name, lapin would try the next address only after the kernel's timeout for one that does
    /// not answer.
    async fn handshake(&self, address: SocketAddr) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.into());
        let runtime = runtime::default_runtime()?;
        Connection::connector(
            self.amqp.0.clone(),
            runtime,
            async move |uri, runtime| {
                let stream = AsyncTcpStream::connect(&runtime, address).await?;
                Ok(match uri.scheme {
                    AMQPScheme::AMQP => stream,
                    AMQPScheme::AMQPS => {
                        stream.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref()).await?
                    }
                })
            },
            properties,
        )
        .await
    }
}

/// Whether RabbitMQ answered that the queue or exchange does not exist.
pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    const NOT_FOUND: u16 = 404;
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND)
}

fn unreachable(error: std::io::Error) -> Outage {
    Outage { reachable: false, authenticated: false, reason: format!("failed to connect: {error}") }
}

fn refused(error: &lapin::Error) -> Outage {
    const ACCESS_REFUSED: u16 = 403;
    let code = match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    };
    Outage {
        reachable: code.is_some(),
        authenticated: code.is_some_and(|code| code != ACCESS_REFUSED),
        reason: match code {
            Some(ACCESS_REFUSED) => format!("RabbitMQ refuses the credentials in AMQP_URI: {error}"),
            Some(_) => format!("RabbitMQ refuses the connection: {error}"),
            None => format!("failed to connect: {error}"),
        },
    }
}

/// Pauses between attempts to connect: short while RabbitMQ is unreachable, long while it refuses the credentials.
struct Pauses {
    away: ExponentialBackoff,
    refused: ExponentialBackoff,
}

impl Pauses {
    fn new() -> Self {
        let away = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times();
        Self { away: away.build(), refused: pauses_while_refused() }
    }

    fn after(&mut self, outage: &Outage) -> Duration {
        if outage.reachable && !outage.authenticated {
            return self.refused.next().unwrap_or(LONGEST_PAUSE);
        }
        self.refused = pauses_while_refused();
        self.away.next().unwrap_or(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_longer_when_the_credentials_are_refused() {
        let outage = |reachable| Outage { reachable, authenticated: false, reason: String::new() };
        let mut pauses = Pauses::new();
        let away: Vec<_> = (0..20).map(|_| pauses.after(&outage(false))).collect();
        assert!(
            away[0] <= 2 * FIRST_PAUSE && away.iter().all(|pause| *pause <= 2 * LONGEST_PAUSE),
            "{away:?}"
        );
        let refused: Vec<_> = (0..20).map(|_| pauses.after(&outage(true))).collect();
        assert!(refused[0] >= Duration::from_secs(1), "{refused:?}");
        assert!(
            refused[10] > 2 * LONGEST_PAUSE && refused.iter().all(|pause| pause.as_secs() <= 30),
            "{refused:?}"
        );
    }
}
