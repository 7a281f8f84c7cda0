//! Mails that the SMTP server has not answered for yet, and those that it took: a repeat of either sends no second copy.

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

/// Callers that do not know the outcome ask again after 10 minutes, 1 hour and 6 hours.
const KEPT_FOR: Duration = Duration::from_secs(8 * 3_600);
const MOST_KEPT: usize = 10_000;

/// An order's id, and a keyed hash of all of it: another mail with the same id is another mail.
type Key = (Uuid, u64);

/// What is known of a mail under way.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    /// Nothing yet.
    Open,
    /// The server may have it, and the caller should not wait longer.
    Late,
    /// All of it.
    Done(Result<String, SmtpError>),
}

impl Report {
    /// What to tell a caller now.
    pub(crate) fn outcome(&self) -> Result<String, SmtpError> {
        match self {
            Self::Done(outcome) => outcome.clone(),
            Self::Open | Self::Late => Err(SmtpError::Unknown("its reply is still awaited".to_owned())),
        }
    }
}

/// Where a call finds its mail.
pub(crate) enum Place {
    /// It was sent. The reply to it.
    Sent(String),
    /// Another call has it under way.
    Joined(watch::Receiver<Report>),
    /// Nobody has: the caller sends it.
    First(Entry, watch::Receiver<Report>),
}

/// All of them. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Mutex<Mails>>);

#[derive(Debug, Default)]
struct Mails {
    hash: RandomState,
    going: HashMap<Key, watch::Sender<Report>>,
    sent: HashMap<Key, String>,
    /// In the order in which they were sent.
    kept: VecDeque<(Instant, Key)>,
}

/// A mail under way, until it is done or this is dropped.
pub(crate) struct Entry {
    under_way: UnderWay,
    key: Key,
    report: watch::Sender<Report>,
}

impl UnderWay {
    pub(crate) fn enter(&self, order: &Order) -> Place {
        let mut mails = self.lock();
        let key = (order.id, mails.hash.hash_one(order));
        mails.forget(Instant::now());
        if let Some(reply) = mails.sent.get(&key) {
            return Place::Sent(reply.clone());
        }
        if let Some(report) = mails.going.get(&key) {
            return Place::Joined(report.subscribe());
        }
        let (report, told) = watch::channel(Report::Open);
        mails.going.insert(key, report.clone());
        Place::First(Entry { under_way: self.clone(), key, report }, told)
    }

    fn lock(&self) -> MutexGuard<'_, Mails> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The caller should not wait longer.
    pub(crate) fn late(&self) {
        self.report.send_replace(Report::Late);
    }

    /// Tells all callers that still wait, and remembers a mail that was sent: a caller that has gone is noticed only later, and one that
    /// waits may go before it has the answer.
    pub(crate) fn done(self, outcome: Result<String, SmtpError>) {
        let mut mails = self.under_way.lock();
        if let Ok(reply) = &outcome {
            mails.keep(self.key, reply.clone(), Instant::now());
        }
        mails.going.remove(&self.key);
        drop(mails);
        self.report.send_replace(Report::Done(outcome));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.under_way.lock().going.remove(&self.key);
    }
}

impl Mails {
    fn keep(&mut self, key: Key, reply: String, now: Instant) {
        self.sent.insert(key, reply);
        self.kept.push_back((now, key));
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, key)) = self.kept.front().copied() {
            if self.kept.len() <= MOST_KEPT && now - since < KEPT_FOR {
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

    fn first(under_way: &UnderWay, order: &Order) -> (Entry, watch::Receiver<Report>) {
        match under_way.enter(order) {
            Place::First(entry, report) => (entry, report),
            Place::Sent(_) | Place::Joined(_) => panic!("it should be the first"),
        }
    }

    fn send(under_way: &UnderWay, order: &Order, outcome: Result<String, SmtpError>) {
        let (entry, report) = first(under_way, order);
        drop(report);
        entry.done(outcome);
    }

    #[test]
    fn a_repeat_joins_the_mail_that_is_under_way_and_gets_its_outcome() {
        let under_way = UnderWay::default();
        let (entry, report) = first(&under_way, &order(1));
        let Place::Joined(joined) = under_way.enter(&order(1)) else { panic!("it should join") };
        entry.late();
        assert!(matches!(*joined.borrow(), Report::Late));
        entry.done(Ok("250 ok".into()));
        for told in [report, joined] {
            assert_eq!(told.borrow().outcome(), Ok("250 ok".into()));
        }
        assert!(matches!(under_way.enter(&order(1)), Place::Sent(reply) if reply == "250 ok"));
    }

    #[test]
    fn another_mail_with_the_same_id_is_another_mail() {
        let under_way = UnderWay::default();
        let _one = first(&under_way, &order(1));
        let other = Order { to: mailbox("to", "bob@example.org").unwrap(), ..order(1) };
        let _other = first(&under_way, &other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mail_that_was_sent_is_not_sent_again_for_eight_hours() {
        let under_way = UnderWay::default();
        send(&under_way, &order(1), Ok("250 ok".into()));
        advance(KEPT_FOR - Duration::from_secs(1)).await;
        assert!(matches!(under_way.enter(&order(1)), Place::Sent(reply) if reply == "250 ok"));
        advance(Duration::from_secs(1)).await;
        first(&under_way, &order(1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_remembered() {
        let under_way = UnderWay::default();
        for id in 0..=MOST_KEPT as u128 {
            send(&under_way, &order(id), Ok("250 ok".into()));
        }
        first(&under_way, &order(0));
        assert!(matches!(under_way.enter(&order(1)), Place::Sent(_)));
    }

    #[test]
    fn what_was_not_sent_may_be_sent_again() {
        let under_way = UnderWay::default();
        send(&under_way, &order(1), Err(SmtpError::Unknown("cut".into())));
        let (entry, report) = first(&under_way, &order(1));
        // As after a panic.
        drop(entry);
        assert!(report.has_changed().is_err());
        first(&under_way, &order(1));
    }
}
