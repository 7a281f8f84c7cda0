//! Delivers the letters of the outbox to the logger and mail, at least once.
//!
//! Every replica has a relay for each recipient. A relay leases letters and renews the lease during the call, so that no lock
//! is held while a peer works. Letters that a killed replica had leased are due again when the lease ends. A letter may arrive twice, with
//! the same id.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{Instrument as _, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;
use weft_mesh::Channel;
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, Level, WriteRequest};
use weft_proto::weft::mail::v1::SendRequest;
use weft_proto::weft::mail::v1::mail_service_client::MailServiceClient;
use weft_runtime::clock::Clock;
use weft_runtime::status::StatusBoard;
use weft_runtime::telemetry::chain;
use weft_values::audit;

use crate::metrics::Metrics;
use crate::outbox::{Claimed, Letter, Message, Recipient};
use crate::reset_link::{self, ResetLinks};
use crate::session::after;
use crate::store::{PostgresStore, STORE, StoreError};

/// Concurrent deliveries to one recipient.
const AT_ONCE: usize = 16;
/// Timeout of a call to the logger.
const LOGGER_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a call to mail, which answers as soon as it knows the mail's outcome.
const MAIL_TIMEOUT: Duration = Duration::from_secs(300);
/// Duration of a lease. Another replica takes over the letters of a killed one after this time.
const LEASE: Duration = Duration::from_secs(15);
/// Interval at which a running call renews its lease.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Letters are retried for this long, like events in the listener.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);
/// Delays after attempts to mail with an unknown outcome. Long, because a repeat may be a second copy.
const UNKNOWN_DELAYS: [Duration; 3] =
    [Duration::from_secs(600), Duration::from_secs(3_600), Duration::from_secs(21_600)];
/// Poll interval for letters of other replicas and for retries.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Shortest pause between polls, so that letters written in quick succession need only one.
const REST: Duration = Duration::from_millis(25);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Wakes this process's relays when letters were written.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<[Notify; 2]>);

impl Wake {
    /// Wakes the relay of one recipient.
    pub fn one(&self, recipient: Recipient) {
        self.of(recipient).notify_one();
    }

    /// Wakes all relays.
    pub fn all(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }

    fn of(&self, recipient: Recipient) -> &Notify {
        let [logger, mail] = &*self.0;
        match recipient {
            Recipient::Logger => logger,
            Recipient::Mail => mail,
        }
    }
}

/// The result of a delivery: the letter's id if it has arrived.
type Ended = Result<Option<Uuid>, JoinError>;

/// Clients of the recipients, through the mesh.
#[derive(Clone)]
pub struct Peers {
    logger: LogServiceClient<Channel>,
    mail: MailServiceClient<Channel>,
    links: ResetLinks,
}

impl Peers {
    pub fn new(logger: Channel, mail: Channel, links: ResetLinks) -> Self {
        Self {
            logger: LogServiceClient::new(logger.with_timeout(LOGGER_TIMEOUT)),
            mail: MailServiceClient::new(mail.with_timeout(MAIL_TIMEOUT)),
            links,
        }
    }
}

impl Peers {
    /// Delivers one letter to its recipient.
    async fn deliver(&self, letter: &Letter) -> Result<(), Status> {
        let id = letter.id.to_string();
        match letter.message.clone() {
            Message::Log { time, warning, data, attributes } => {
                let level = if warning { Level::Warning } else { Level::Info };
                let entry = Entry {
                    id,
                    time: Some(weft_values::time::to_proto(time)),
                    service: audit::AUTHENTICATION.to_owned(),
                    level: level.into(),
                    name: "authentication".to_owned(),
                    data,
                    // Empty: the logger uses the trace of this call, which is that of the change.
                    trace_id: String::new(),
                    attributes: attributes.into_iter().collect(),
                };
                self.logger.clone().write_audit(WriteRequest { entry: Some(entry) }).await.map(drop)
            }
            Message::Mail { template, to, values: _ } if template == reset_link::TEMPLATE => {
                // `None`: no active user has the address.
                match self.links.mail(letter, &to).await? {
                    Some(mail) => self.mail.clone().send(mail).await.map(drop),
                    None => Ok(()),
                }
            }
            Message::Mail { template, to, values } => {
                let values = values.into_iter().collect();
                let request = SendRequest { id, template, to, reply_to: String::new(), values };
                self.mail.clone().send(request).await.map(drop)
            }
        }
    }
}

/// Delivers the letters of one recipient.
#[derive(Clone)]
pub struct Relay {
    pub store: Arc<PostgresStore>,
    pub recipient: Recipient,
    pub peers: Arc<Peers>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub wake: Wake,
    /// The relay does not query a store that is known to be unusable, so that refused credentials do not cause more attempts.
    pub status: StatusBoard,
}

impl Relay {
    /// Runs until `stop` is cancelled, then attempts all letters that are due once more.
    pub async fn run(self, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        loop {
            // Read before the outbox, so that no letter written before the stop is missed.
            let stopping = stop.is_cancelled();
            let full = self.start_due(&mut under_way).await;
            if stopping && !full {
                break;
            }
            let rest = sleep(REST);
            let woken = async {
                rest.await;
                self.wake.of(self.recipient).notified().await;
            };
            let look = sleep(POLL_EVERY);
            tokio::pin!(woken, look);
            loop {
                tokio::select! {
                    Some(done) = under_way.join_next() => {
                        self.delete_delivered(done, &mut under_way).await;
                        if full { break }
                    }
                    () = &mut woken, if !full => break,
                    () = &mut look, if !full => break,
                    () = stop.cancelled(), if !stopping && !full => break,
                }
            }
        }
        while let Some(done) = under_way.join_next().await {
            self.delete_delivered(done, &mut under_way).await;
        }
    }

    /// Starts deliveries of due letters, up to [`AT_ONCE`]. Returns whether more letters may be due.
    async fn start_due(&self, under_way: &mut JoinSet<Option<Uuid>>) -> bool {
        let room = AT_ONCE.saturating_sub(under_way.len());
        if room == 0 {
            return true;
        }
        if !self.status.is_usable(STORE) {
            return false;
        }
        let claimed = match self.store.claim(self.recipient, room, self.clock.now(), LEASE).await {
            Ok(claimed) => claimed,
            // The supervisor reports the unavailable store.
            Err(error) => {
                tracing::debug!(error = chain(&error), "failed to read the outbox");
                return false;
            }
        };
        let full = claimed.len() == room;
        for letter in claimed {
            under_way.spawn(self.clone().deliver(letter));
        }
        full
    }

    /// Deletes the letter that has just arrived, together with others that have arrived meanwhile.
    async fn delete_delivered(&self, first: Ended, under_way: &mut JoinSet<Option<Uuid>>) {
        let ended = std::iter::once(first).chain(std::iter::from_fn(|| under_way.try_join_next()));
        let arrived: Vec<Uuid> = ended.filter_map(Result::ok).flatten().collect();
        if arrived.is_empty() {
            return;
        }
        if let Err(error) = self.store.delivered(&arrived).await {
            self.warn_not_recorded(&error);
        }
    }

    /// Attempts one delivery. Returns the letter's id if it has arrived.
    async fn deliver(self, claimed: Claimed) -> Option<Uuid> {
        let recipient = self.recipient.as_str();
        let attempt = claimed.attempt;
        let span =
            info_span!("relay", otel.name = format!("relay {recipient}"), otel.kind = "internal", attempt);
        // Fails only if telemetry is off.
        let _ = span.set_parent(claimed.letter.trace.to_context());
        let Err(status) = self.call(&claimed.letter).instrument(span).await else {
            self.metrics.delivery(self.recipient, "delivered");
            return Some(claimed.letter.id);
        };
        if let Err(error) = self.record_failure(&claimed, &status).await {
            self.warn_not_recorded(&error);
        }
        None
    }

    /// Calls the recipient and renews the lease until the call ends.
    async fn call(&self, letter: &Letter) -> Result<(), Status> {
        let call = self.peers.deliver(letter);
        tokio::pin!(call);
        loop {
            tokio::select! {
                answer = &mut call => return answer,
                () = sleep(RENEW_EVERY) => {
                    if let Err(error) = self.store.renew(letter.id, after(self.clock.now(), LEASE)).await {
                        self.warn_not_recorded(&error);
                    }
                }
            }
        }
    }

    async fn record_failure(&self, claimed: &Claimed, status: &Status) -> Result<(), StoreError> {
        let (now, recipient, id) = (self.clock.now(), self.recipient.as_str(), claimed.letter.id);
        match next(self.recipient, status, claimed, now) {
            Step::GiveUp { reason } => {
                self.metrics.delivery(self.recipient, "failed");
                tracing::error!(recipient, letter.id = %id, reason, "an outbox letter can't be delivered; it is kept as failed");
                self.store.give_up(id, now, &reason).await
            }
            Step::Later { delay, unknowns, reason } => {
                let result = if unknowns > claimed.unknowns { "unknown" } else { "postponed" };
                self.metrics.delivery(self.recipient, result);
                tracing::debug!(recipient, letter.id = %id, reason, attempt = claimed.attempt, "an outbox letter is retried later");
                self.store.postpone(id, after(now, delay), unknowns, &reason).await
            }
        }
    }

    fn warn_not_recorded(&self, error: &StoreError) {
        let (error, recipient) = (chain(error), self.recipient.as_str());
        tracing::warn!(
            error,
            recipient,
            "failed to record the outcome of an outbox letter; it is delivered again"
        );
    }
}

/// What to do with a letter that was not, or perhaps not, delivered.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Later { delay: Duration, unknowns: u32, reason: String },
    GiveUp { reason: String },
}

fn next(recipient: Recipient, status: &Status, claimed: &Claimed, now: Timestamp) -> Step {
    let reason = reason(status);
    let unknowns = claimed.unknowns;
    let waited = now.duration_since(claimed.letter.created_at);
    match status.code() {
        // A retry would fail again.
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => Step::GiveUp { reason },
        // Only for mail: the logger recognises a repeat, but a user would get a second mail.
        Code::Unknown | Code::DeadlineExceeded if recipient == Recipient::Mail => {
            match usize::try_from(unknowns).ok().and_then(|before| UNKNOWN_DELAYS.get(before)) {
                Some(delay) => Step::Later { delay: *delay, unknowns: unknowns.saturating_add(1), reason },
                None => Step::GiveUp { reason: format!("outcome unknown: {reason}") },
            }
        }
        _ if waited >= GIVE_UP_AFTER => {
            Step::GiveUp { reason: format!("gave up after {} h; last error: {reason}", waited.as_hours()) }
        }
        _ => Step::Later { delay: delay(claimed.attempt), unknowns, reason },
    }
}

/// Code and message, truncated.
fn reason(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message().chars().take(1_000).collect::<String>())
}

/// Exponential back-off.
fn delay(attempt: u32) -> Duration {
    let doubled = 2_u32.checked_pow(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.checked_mul(doubled).map_or(MAX_DELAY, |delay| delay.min(MAX_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::TraceContext;

    #[test]
    fn delays_double_up_to_30_seconds() {
        let delays = [0, 1, 2, 3, 8, 9, 100, u32::MAX].map(|attempt| delay(attempt).as_millis());
        assert_eq!(delays, [200, 200, 400, 800, 25_600, 30_000, 30_000, 30_000]);
    }

    const WRITTEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn step(recipient: Recipient, code: Code, unknowns: u32, hours: i64) -> Step {
        let message =
            Message::Mail { template: "logout".into(), to: "a@b.c".into(), values: Default::default() };
        let letter = Letter { id: Uuid::nil(), message, trace: TraceContext::default(), created_at: WRITTEN };
        let claimed = Claimed { letter, attempt: 100, unknowns };
        next(recipient, &Status::new(code, "why"), &claimed, WRITTEN + SignedDuration::from_hours(hours))
    }

    fn given_up(reason: &str) -> Step {
        Step::GiveUp { reason: reason.to_owned() }
    }

    #[test]
    fn gives_up_at_once_on_permanent_errors() {
        for recipient in Recipient::ALL {
            assert_eq!(step(recipient, Code::InvalidArgument, 0, 0), given_up("InvalidArgument: why"));
            assert_eq!(step(recipient, Code::FailedPrecondition, 0, 0), given_up("FailedPrecondition: why"));
            assert_eq!(step(recipient, Code::AlreadyExists, 0, 0), given_up("AlreadyExists: why"));
        }
    }

    #[test]
    fn retries_other_errors_for_three_days() {
        let codes = [
            Code::Unavailable,
            Code::ResourceExhausted,
            Code::Internal,
            Code::Unimplemented,
            Code::Cancelled,
        ];
        for code in codes {
            let later = Step::Later { delay: MAX_DELAY, unknowns: 2, reason: format!("{code:?}: why") };
            assert_eq!(step(Recipient::Mail, code, 2, 71), later);
            let ended = format!("gave up after 72 h; last error: {code:?}: why");
            assert_eq!(step(Recipient::Mail, code, 2, 72), given_up(&ended));
        }
        // Unknown outcomes are retried like other errors at the logger.
        assert!(matches!(step(Recipient::Logger, Code::Unknown, 0, 71), Step::Later { unknowns: 0, .. }));
        assert!(matches!(step(Recipient::Logger, Code::DeadlineExceeded, 0, 72), Step::GiveUp { .. }));
    }

    #[test]
    fn retries_a_mail_of_unknown_outcome_after_10_minutes_1_hour_and_6_hours() {
        for code in [Code::Unknown, Code::DeadlineExceeded] {
            for (before, seconds) in (0..).zip([600, 3_600, 21_600]) {
                let delay = Duration::from_secs(seconds);
                let reason = format!("{code:?}: why");
                let later = Step::Later { delay, unknowns: before + 1, reason };
                assert_eq!(step(Recipient::Mail, code, before, 100), later);
            }
            let ended = format!("outcome unknown: {code:?}: why");
            assert_eq!(step(Recipient::Mail, code, 3, 0), given_up(&ended));
        }
    }
}
