//! Delivers the outbox: to the logger and to mail, until each letter has arrived.
//!
//! Every replica has a relay for each recipient. A relay takes letters under a lease that outlasts a call, so no lock is
//! held while a peer thinks, and what a killed replica had taken is due again when the lease ends. A letter may arrive
//! twice; its id tells.

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
use crate::store::{PostgresStore, StoreError};
use crate::supervise::STORE;

/// Letters under way to one recipient at once.
const AT_ONCE: usize = 16;
/// What a call to the logger may take.
const LOGGER_WITHIN: Duration = Duration::from_secs(10);
/// What a call to mail may take. Mail answers as soon as it knows what became of the mail.
const MAIL_WITHIN: Duration = Duration::from_secs(300);
/// How soon another replica takes over what a killed one was delivering.
const LEASE: Duration = Duration::from_secs(15);
/// A call that is still under way extends its lease.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a letter is tried, as the listener does with events.
const PATIENCE: SignedDuration = SignedDuration::from_hours(72);
/// How long a mail waits after each attempt whose outcome is unknown: a repeat may be a second copy.
const UNKNOWN_DELAYS: [Duration; 3] =
    [Duration::from_secs(600), Duration::from_secs(3_600), Duration::from_secs(21_600)];
/// How soon a relay finds what another replica left, or what is due again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After a look, so that letters of busy moments go together and cost one look.
const REST: Duration = Duration::from_millis(25);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Tells this process's relays that something was written.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<[Notify; 2]>);

impl Wake {
    /// Wakes the one of this recipient.
    pub fn one(&self, recipient: Recipient) {
        self.of(recipient).notify_one();
    }

    /// Wakes all of them.
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

/// The end of a delivery: the id of a letter that has arrived.
type Ended = Result<Option<Uuid>, JoinError>;

/// The peers, through the mesh.
#[derive(Clone)]
pub struct Peers {
    logger: LogServiceClient<Channel>,
    mail: MailServiceClient<Channel>,
    links: ResetLinks,
}

impl Peers {
    /// Peers behind these channels.
    pub fn new(logger: Channel, mail: Channel, links: ResetLinks) -> Self {
        Self {
            logger: LogServiceClient::new(logger.with_timeout(LOGGER_WITHIN)),
            mail: MailServiceClient::new(mail.with_timeout(MAIL_WITHIN)),
            links,
        }
    }
}

impl Peers {
    /// Hands one letter to its recipient. Returns when the recipient has it.
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
                    // The logger takes the trace of this call, which is that of the change.
                    trace_id: String::new(),
                    attributes: attributes.into_iter().collect(),
                };
                self.logger.clone().write_audit(WriteRequest { entry: Some(entry) }).await.map(drop)
            }
            Message::Mail { template, to, values: _ } if template == reset_link::TEMPLATE => {
                // Without a mail nobody has the address.
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
    /// Where they are.
    pub store: Arc<PostgresStore>,
    /// Whose they are.
    pub recipient: Recipient,
    /// How they go.
    pub peers: Arc<Peers>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Told of what this process writes.
    pub wake: Wake,
    /// Nothing is asked of a store that is known to be unusable: one that refuses the credentials is not asked more often.
    pub status: StatusBoard,
}

impl Relay {
    /// Runs until it is stopped, and then until what is due has had one more attempt.
    pub async fn run(self, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        loop {
            // Asked before the letters are, so that none of those written until now is left.
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
            let look = sleep(LOOK_EVERY);
            tokio::pin!(woken, look);
            loop {
                tokio::select! {
                    Some(done) = under_way.join_next() => {
                        self.forget_delivered(done, &mut under_way).await;
                        if full { break }
                    }
                    () = &mut woken, if !full => break,
                    () = &mut look, if !full => break,
                    () = stop.cancelled(), if !stopping && !full => break,
                }
            }
        }
        while let Some(done) = under_way.join_next().await {
            self.forget_delivered(done, &mut under_way).await;
        }
    }

    /// Starts what is due, as far as there is room, and returns whether there may be more.
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
            // Readiness and the log tell of the store already.
            Err(error) => {
                tracing::debug!(error = chain(&error), "failed to look into the outbox");
                return false;
            }
        };
        let full = claimed.len() == room;
        for letter in claimed {
            under_way.spawn(self.clone().deliver(letter));
        }
        full
    }

    /// Forgets the letter that has just arrived, and with it all that have arrived meanwhile.
    async fn forget_delivered(&self, first: Ended, under_way: &mut JoinSet<Option<Uuid>>) {
        let ended = std::iter::once(first).chain(std::iter::from_fn(|| under_way.try_join_next()));
        let arrived: Vec<Uuid> = ended.filter_map(Result::ok).flatten().collect();
        if arrived.is_empty() {
            return;
        }
        if let Err(error) = self.store.delivered(&arrived).await {
            self.not_noted(&error);
        }
    }

    /// The letter's id, if it has arrived.
    async fn deliver(self, claimed: Claimed) -> Option<Uuid> {
        let recipient = self.recipient.as_str();
        let attempt = claimed.attempt;
        let span =
            info_span!("relay", otel.name = format!("relay {recipient}"), otel.kind = "internal", attempt);
        // Fails only without telemetry.
        let _ = span.set_parent(claimed.letter.trace.to_context());
        let Err(status) = self.call(&claimed.letter).instrument(span).await else {
            self.metrics.delivery(self.recipient, "delivered");
            return Some(claimed.letter.id);
        };
        if let Err(error) = self.note(&claimed, &status).await {
            self.not_noted(&error);
        }
        None
    }

    /// Hands the letter over, and keeps it leased for as long as that takes.
    async fn call(&self, letter: &Letter) -> Result<(), Status> {
        let call = self.peers.deliver(letter);
        tokio::pin!(call);
        loop {
            tokio::select! {
                answer = &mut call => return answer,
                () = sleep(RENEW_EVERY) => {
                    if let Err(error) = self.store.renew(letter.id, after(self.clock.now(), LEASE)).await {
                        self.not_noted(&error);
                    }
                }
            }
        }
    }

    async fn note(&self, claimed: &Claimed, status: &Status) -> Result<(), StoreError> {
        let (now, recipient, id) = (self.clock.now(), self.recipient.as_str(), claimed.letter.id);
        match next(self.recipient, status, claimed, now) {
            Step::GiveUp { reason } => {
                self.metrics.delivery(self.recipient, "failed");
                tracing::error!(recipient, letter.id = %id, reason, "a letter can't be delivered: it is kept as failed");
                self.store.give_up(id, now, &reason).await
            }
            Step::Later { delay, unknowns, reason } => {
                let result = if unknowns > claimed.unknowns { "unknown" } else { "postponed" };
                self.metrics.delivery(self.recipient, result);
                tracing::debug!(recipient, letter.id = %id, reason, attempt = claimed.attempt, "a letter goes again later");
                self.store.postpone(id, after(now, delay), unknowns, &reason).await
            }
        }
    }

    fn not_noted(&self, error: &StoreError) {
        let (error, recipient) = (chain(error), self.recipient.as_str());
        tracing::warn!(error, recipient, "failed to note what became of a letter: it goes again");
    }
}

/// What becomes of a letter that was not delivered, or may not have been.
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
        // No repeat changes these.
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => Step::GiveUp { reason },
        // The logger recognises a repeat; a person would get a second mail.
        Code::Unknown | Code::DeadlineExceeded if recipient == Recipient::Mail => {
            match usize::try_from(unknowns).ok().and_then(|before| UNKNOWN_DELAYS.get(before)) {
                Some(delay) => Step::Later { delay: *delay, unknowns: unknowns.saturating_add(1), reason },
                None => Step::GiveUp { reason: format!("outcome unknown: {reason}") },
            }
        }
        _ if waited >= PATIENCE => {
            Step::GiveUp { reason: format!("gave up after {} h; last error: {reason}", waited.as_hours()) }
        }
        _ => Step::Later { delay: delay(claimed.attempt), unknowns, reason },
    }
}

/// Peers' words may be long.
fn reason(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message().chars().take(1_000).collect::<String>())
}

/// Twice as long each time.
fn delay(attempt: u32) -> Duration {
    let doubled = 2_u32.checked_pow(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY.checked_mul(doubled).map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::TraceContext;

    #[test]
    fn delays_grow_to_half_a_minute() {
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
    fn what_no_repeat_changes_is_given_up_at_once() {
        for recipient in Recipient::ALL {
            assert_eq!(step(recipient, Code::InvalidArgument, 0, 0), given_up("InvalidArgument: why"));
            assert_eq!(step(recipient, Code::FailedPrecondition, 0, 0), given_up("FailedPrecondition: why"));
            assert_eq!(step(recipient, Code::AlreadyExists, 0, 0), given_up("AlreadyExists: why"));
        }
    }

    #[test]
    fn everything_else_is_tried_for_three_days_and_not_longer() {
        let codes = [
            Code::Unavailable,
            Code::ResourceExhausted,
            Code::Internal,
            Code::Unimplemented,
            Code::Cancelled,
        ];
        for code in codes {
            let later = Step::Later { delay: LONGEST_DELAY, unknowns: 2, reason: format!("{code:?}: why") };
            assert_eq!(step(Recipient::Mail, code, 2, 71), later);
            let ended = format!("gave up after 72 h; last error: {code:?}: why");
            assert_eq!(step(Recipient::Mail, code, 2, 72), given_up(&ended));
        }
        // The logger recognises a repeat.
        assert!(matches!(step(Recipient::Logger, Code::Unknown, 0, 71), Step::Later { unknowns: 0, .. }));
        assert!(matches!(step(Recipient::Logger, Code::DeadlineExceeded, 0, 72), Step::GiveUp { .. }));
    }

    #[test]
    fn a_mail_that_may_have_been_sent_goes_again_after_10_minutes_1_hour_and_6_hours_and_is_then_given_up() {
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
