//! Mails in flight, and mails sent recently. A repeat of either sends no second copy.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::smtp::SmtpError;
use crate::validate::Order;

/// Longer than the last repeat of callers that do not know the outcome: they repeat after 10 minutes, 1 hour and 6 hours.
const KEPT_FOR: Duration = Duration::from_secs(8 * 3_600);
const MAX_KEPT: usize = 10_000;

/// An order's id, and a keyed hash of the whole order: the same id with other content is another mail.
type Key = (Uuid, u64);

/// State of a mail in flight.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    /// No outcome yet.
    Open,
    /// No outcome yet; the server may have the mail, and callers should not wait longer.
    Late,
    /// Finished.
    Done(Result<String, SmtpError>),
}

impl Report {
    /// The outcome to return to a caller now.
    pub(crate) fn outcome(&self) -> Result<String, SmtpError> {
        match self {
            Self::Done(outcome) => outcome.clone(),
            Self::Open | Self::Late => {
                Err(SmtpError::Unknown("no reply to the end of the mail yet".to_owned()))
            }
        }
    }
}

/// What is known of an order when a call arrives.
pub(crate) enum Place {
    /// The mail was sent; the server's reply.
    Sent(String),
    /// Another call is sending the mail.
    Joined(watch::Receiver<Report>),
    /// Unknown: this call must send the mail.
    First(Entry, watch::Receiver<Report>),
}

/// All mails in flight and sent recently. Clones share state.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<Mutex<Mails>>);

#[derive(Debug, Default)]
struct Mails {
    hash: RandomState,
    sending: HashMap<Key, watch::Sender<Report>>,
    sent: HashMap<Key, String>,
    /// Keys of `sent`, oldest first.
    kept: VecDeque<(Instant, Key)>,
}

/// A mail in flight, until it is finished or this value is dropped.
pub(crate) struct Entry {
    in_flight: InFlight,
    key: Key,
    report: watch::Sender<Report>,
}

impl InFlight {
    pub(crate) fn enter(&self, order: &Order) -> Place {
        let mut mails = self.lock();
        let key = (order.id, mails.hash.hash_one(order));
        mails.forget(Instant::now());
        if let Some(reply) = mails.sent.get(&key) {
            return Place::Sent(reply.clone());
        }
        if let Some(report) = mails.sending.get(&key) {
            return Place::Joined(report.subscribe());
        }
        let (report, told) = watch::channel(Report::Open);
        mails.sending.insert(key, report.clone());
        Place::First(Entry { in_flight: self.clone(), key, report }, told)
    }

    fn lock(&self) -> MutexGuard<'_, Mails> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Tells callers not to wait longer.
    pub(crate) fn late(&self) {
        self.report.send_replace(Report::Late);
    }

    /// Returns the outcome to all waiting callers. Remembers every mail that was sent, because any caller may be gone before the answer
    /// reaches it.
    pub(crate) fn done(self, outcome: Result<String, SmtpError>) {
        let mut mails = self.in_flight.lock();
        if let Ok(reply) = &outcome {
            mails.keep(self.key, reply.clone(), Instant::now());
        }
        mails.sending.remove(&self.key);
        drop(mails);
        self.report.send_replace(Report::Done(outcome));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.in_flight.lock().sending.remove(&self.key);
    }
}

impl Mails {
    fn keep(&mut self, key: Key, reply: String, now: Instant) {
        self.sent.insert(key, reply);
        self.kept.push_back((now, key));
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, key)) = self.kept.front().copied() {
            if self.kept.len() <= MAX_KEPT && now - since < KEPT_FOR {
                return;
            }
            self.kept.pop_front();
            self.sent.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::address::mailbox;

    fn order(id: u128) -> Order {
        Order {
            id: Uuid::from_u128(id),
            template: "message".into(),
            to: mailbox("to", "ann@example.org").unwrap(),
            reply_to: None,
            values: Default::default(),
        }
    }

    fn first(in_flight: &InFlight, order: &Order) -> (Entry, watch::Receiver<Report>) {
        match in_flight.enter(order) {
            Place::First(entry, report) => (entry, report),
            Place::Sent(_) | Place::Joined(_) => panic!("expected Place::First"),
        }
    }

    fn send(in_flight: &InFlight, order: &Order, outcome: Result<String, SmtpError>) {
        let (entry, report) = first(in_flight, order);
        drop(report);
        entry.done(outcome);
    }

    #[test]
    fn a_repeat_joins_the_mail_in_flight() {
        let in_flight = InFlight::default();
        let (entry, report) = first(&in_flight, &order(1));
        let Place::Joined(joined) = in_flight.enter(&order(1)) else { panic!("expected Place::Joined") };
        entry.late();
        assert!(matches!(*joined.borrow(), Report::Late));
        entry.done(Ok("250 ok".into()));
        for told in [report, joined] {
            assert_eq!(told.borrow().outcome(), Ok("250 ok".into()));
        }
        assert!(matches!(in_flight.enter(&order(1)), Place::Sent(reply) if reply == "250 ok"));
    }

    #[test]
    fn the_same_id_with_other_content_is_another_mail() {
        let in_flight = InFlight::default();
        let _one = first(&in_flight, &order(1));
        let other = Order { to: mailbox("to", "bob@example.org").unwrap(), ..order(1) };
        let _other = first(&in_flight, &other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_within_eight_hours_gets_the_first_reply() {
        let in_flight = InFlight::default();
        send(&in_flight, &order(1), Ok("250 ok".into()));
        advance(KEPT_FOR - Duration::from_secs(1)).await;
        assert!(matches!(in_flight.enter(&order(1)), Place::Sent(reply) if reply == "250 ok"));
        advance(Duration::from_secs(1)).await;
        first(&in_flight, &order(1));
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_the_oldest_mail_beyond_the_limit() {
        let in_flight = InFlight::default();
        for id in 0..=MAX_KEPT as u128 {
            send(&in_flight, &order(id), Ok("250 ok".into()));
        }
        first(&in_flight, &order(0));
        assert!(matches!(in_flight.enter(&order(1)), Place::Sent(_)));
    }

    #[test]
    fn an_unsent_mail_can_be_sent_again() {
        let in_flight = InFlight::default();
        send(&in_flight, &order(1), Err(SmtpError::Unknown("cut".into())));
        let (entry, report) = first(&in_flight, &order(1));
        // As after a panic.
        drop(entry);
        assert!(report.has_changed().is_err());
        first(&in_flight, &order(1));
    }
}
