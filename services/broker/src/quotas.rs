//! Quotas: bytes a day without sign-in, and mails an hour. Each replica counts separately.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use weft_mesh::Caller;
use weft_runtime::allowance::{Allowance, Taken};
use weft_runtime::budget::subscriber;
use weft_runtime::config::{ConfigError, Settings};
use weft_values::address::Address;

use crate::reply::ApiError;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The limits; `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes a day of one client address, without sign-in.
    open_bytes: Option<NonZeroU64>,
    /// Mails an hour from one user, or from one client address without sign-in.
    mails_by_sender: Option<NonZeroU64>,
    /// Mails an hour to one recipient.
    mails_by_recipient: Option<NonZeroU64>,
}

impl Limits {
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let read = |name, default| {
            settings.or::<u64>(name, "a whole number; 0 means no limit", default).map(NonZeroU64::new)
        };
        Ok(Self {
            open_bytes: read("BROKER_OPEN_BYTES_PER_DAY", 1 << 30)?,
            mails_by_sender: read("BROKER_USER_MAILS_PER_HOUR", 100)?,
            mails_by_recipient: read("BROKER_RECIPIENT_MAILS_PER_HOUR", 20)?,
        })
    }
}

/// Usage of all callers.
#[derive(Debug)]
pub(crate) struct Quotas {
    open_bytes: Option<Allowance>,
    mails_by_sender: Option<Allowance>,
    mails_by_recipient: Option<Allowance>,
}

/// Who writes: a user, or an anonymous caller from this address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) caller: Option<&'a Caller>,
    pub(crate) address: IpAddr,
}

/// The sender of a mail.
#[derive(Hash)]
enum Sender<'a> {
    User(&'a str),
    Address(IpAddr),
}

impl Quotas {
    pub(crate) fn new(limits: Limits) -> Self {
        let of = |limit: Option<NonZeroU64>, period| limit.map(|limit| Allowance::new(limit.get(), period));
        let Limits { open_bytes, mails_by_sender, mails_by_recipient } = limits;
        Self {
            open_bytes: of(open_bytes, DAY),
            mails_by_sender: of(mails_by_sender, HOUR),
            mails_by_recipient: of(mails_by_recipient, HOUR),
        }
    }

    /// Performs a write. Without sign-in, its bytes count against the day's allowance of the client address. A write that failed does
    /// not count, unless it may have been stored all the same, or its client disconnected before the reply.
    ///
    /// # Errors
    /// 429 when too little of the allowance is left; those of the write.
    pub(crate) async fn open_write<T>(
        &self,
        writer: Writer<'_>,
        bytes: usize,
        write: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let Some(allowance) = self.open_bytes.as_ref().filter(|_| writer.caller.is_none()) else {
            return write.await;
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let taken = allowance.take(&subscriber(writer.address), bytes, Instant::now());
        let taken = taken.map_err(|wait| {
            let limit = allowance.limit();
            too_much(
                format!(
                    "writes without sign-in are limited to {limit} bytes a day from one address; sign in, or"
                ),
                wait,
            )
        })?;
        give_back_on_error(&[(allowance, taken)], write.await)
    }

    /// Sends a mail, which counts against the hour's allowances of its sender and its recipient. A mail that failed does not count,
    /// unless it may be sent all the same, or its client disconnected before the reply.
    ///
    /// # Errors
    /// 429 when one of the allowances is used up; those of sending.
    pub(crate) async fn mail<T>(
        &self,
        writer: Writer<'_>,
        recipient: &str,
        send: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let sender = writer
            .caller
            .map_or(Sender::Address(subscriber(writer.address)), |caller| Sender::User(&caller.user));
        let mut taken = Vec::with_capacity(2);
        if let Some(allowance) = &self.mails_by_sender {
            let one = allowance.take(&sender, 1, Instant::now());
            let one = one.map_err(|wait| {
                let limit = allowance.limit();
                too_much(format!("mails are limited to {limit} an hour from one user or address;"), wait)
            })?;
            taken.push((allowance, one));
        }
        if let Some(allowance) = &self.mails_by_recipient {
            match allowance.take(&mailbox(recipient), 1, Instant::now()) {
                Ok(one) => taken.push((allowance, one)),
                Err(wait) => {
                    let limit = allowance.limit();
                    let message = format!("mails are limited to {limit} an hour to one recipient;");
                    return give_back_on_error(&taken, Err(too_much(message, wait)));
                }
            }
        }
        give_back_on_error(&taken, send.await)
    }
}

/// The mailbox of a recipient, in lower case: most mail servers ignore case before the @.
fn mailbox(recipient: &str) -> Cow<'_, str> {
    Address::parse(recipient).map_or(Cow::Borrowed(recipient), |address| {
        Cow::Owned(format!("{}@{}", address.local().to_lowercase(), address.domain().to_lowercase()))
    })
}

fn give_back_on_error<T>(taken: &[(&Allowance, Taken)], outcome: Result<T, ApiError>) -> Result<T, ApiError> {
    if outcome.as_ref().is_err_and(|error| !error.uncertain) {
        taken.iter().for_each(|(allowance, taken)| allowance.give_back(*taken));
    }
    outcome
}

fn too_much(limit: String, wait: Duration) -> ApiError {
    let message = format!("{limit} try again after the time in Retry-After");
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).after(wait)
}

#[cfg(test)]
mod tests {
    use weft_mesh::caller::Role;

    use super::*;

    fn quotas(open_bytes: u64, mails_by_sender: u64, mails_by_recipient: u64) -> Quotas {
        Quotas::new(Limits {
            open_bytes: NonZeroU64::new(open_bytes),
            mails_by_sender: NonZeroU64::new(mails_by_sender),
            mails_by_recipient: NonZeroU64::new(mails_by_recipient),
        })
    }

    fn anonymous(address: &str) -> Writer<'static> {
        Writer { caller: None, address: address.parse().unwrap() }
    }

    fn user(name: &str) -> Caller {
        Caller { user: name.to_owned(), session: "s".to_owned(), role: Role::User }
    }

    async fn accepted() -> Result<(), ApiError> {
        Ok(())
    }

    async fn timed_out() -> Result<(), ApiError> {
        Err(ApiError::unavailable("late", HOUR).uncertain())
    }

    async fn failed() -> Result<(), ApiError> {
        Err(ApiError::bad_request("no"))
    }

    #[tokio::test]
    async fn counts_only_accepted_writes_without_sign_in_by_address() {
        let quotas = quotas(100, 0, 0);
        let ours = anonymous("2001:db8:1:2::1");
        assert_eq!(quotas.open_write(ours, 100, failed()).await.unwrap_err().status, 400);
        assert_eq!(quotas.open_write(ours, 60, accepted()).await, Ok(()));
        let elsewhere = anonymous("192.0.2.9");
        assert!(quotas.open_write(elsewhere, 100, timed_out()).await.unwrap_err().uncertain);
        assert_eq!(quotas.open_write(elsewhere, 1, accepted()).await.unwrap_err().status, 429);
        let same_subscriber = anonymous("2001:db8:1:2:ffff::2");
        let refused = quotas.open_write(same_subscriber, 41, accepted()).await.unwrap_err();
        assert_eq!(refused.status, 429);
        assert!(refused.message.contains("100 bytes a day"), "{}", refused.message);
        assert!(refused.retry_after.is_some_and(|wait| wait <= DAY && wait > HOUR), "{refused:?}");
        assert_eq!(quotas.open_write(anonymous("2001:db8:1:3::1"), 100, accepted()).await, Ok(()));
        let ann = user("ann");
        let signed_in = Writer { caller: Some(&ann), ..ours };
        assert_eq!(quotas.open_write(signed_in, 1_000, accepted()).await, Ok(()));
    }

    #[tokio::test]
    async fn mails_are_limited_by_sender_and_by_recipient() {
        let quotas = quotas(0, 3, 2);
        let (ann, bob) = (user("ann"), user("bob"));
        let from = |caller| Writer { caller: Some(caller), ..anonymous("192.0.2.1") };
        assert_eq!(quotas.mail(from(&ann), "a@b.c", failed()).await.unwrap_err().status, 400);
        assert_eq!(quotas.mail(from(&ann), "a@b.c", accepted()).await, Ok(()));
        assert_eq!(quotas.mail(from(&bob), "A@B.c", accepted()).await, Ok(()));
        let refused = quotas.mail(from(&bob), "a@b.C", accepted()).await.unwrap_err();
        assert_eq!(refused.status, 429);
        assert!(refused.message.contains("2 an hour to one recipient"), "{}", refused.message);
        // A mail that was refused because of its recipient does not count for its sender.
        assert_eq!(quotas.mail(from(&bob), "b@b.c", accepted()).await, Ok(()));
        assert_eq!(quotas.mail(from(&bob), "c@b.c", accepted()).await, Ok(()));
        let refused = quotas.mail(from(&bob), "d@b.c", accepted()).await.unwrap_err();
        assert!(refused.message.contains("3 an hour from one user"), "{}", refused.message);
        // Without sign-in, the client address is the sender.
        assert_eq!(quotas.mail(anonymous("192.0.2.1"), "d@b.c", accepted()).await, Ok(()));
    }
}
