//! The time by which an answer is of use. It is carried with each call and shrinks at every hop.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

/// The header that carries what is left (gRPC over HTTP/2, `Timeout`).
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// So that "too late" reaches the caller as this server's answer, with its status, before the caller gives up.
const WAY_BACK: Duration = Duration::from_millis(2);
/// The protocol allows at most eight digits.
const MOST_DIGITS: usize = 8;

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The moment by which a caller wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline this far ahead, or the present call's, whichever comes first.
    pub fn within(timeout: Duration) -> Self {
        let own = Self(Instant::now() + timeout);
        Self::current().map_or(own, |current| current.min(own))
    }

    /// The deadline of the call that this task serves.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// What is left; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Runs a future under this deadline: calls that it makes get no more time than is left.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Reads `grpc-timeout`, less the time that the answer needs on its way back. A header that does not follow the
    /// protocol counts as none.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
        Some(Self(Instant::now() + parse(value)?.saturating_sub(WAY_BACK)))
    }

    /// Writes what is left as `grpc-timeout`.
    pub(crate) fn to_headers(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&format(self.left())) {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }
}

fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MOST_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// In the finest unit that eight digits hold: 99 s in microseconds, a day in milliseconds, then seconds.
fn format(left: Duration) -> String {
    let most = 10_u128.pow(8) - 1;
    if left.as_micros() <= most {
        format!("{}u", left.as_micros())
    } else if left.as_millis() <= most {
        format!("{}m", left.as_millis())
    } else {
        format!("{}S", u128::from(left.as_secs()).min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for duration in [
            Duration::ZERO,
            Duration::from_micros(1_500),
            Duration::from_secs(99),
            Duration::from_secs(86_400),
        ] {
            assert_eq!(parse(&format(duration)), Some(duration));
        }
        assert_eq!(format(Duration::MAX), "99999999S");
    }

    #[test]
    fn what_does_not_follow_the_protocol_counts_as_none() {
        for wrong in ["", "S", "5", "123456789S", "-1S", "+1S", "1x", "1 S", "ü"] {
            assert_eq!(parse(wrong), None, "{wrong:?} was taken");
        }
    }

    #[tokio::test]
    async fn a_call_made_while_another_is_served_gets_no_more_time_than_that_one() {
        let outer = Deadline::within(Duration::from_millis(300));
        outer
            .scope(async {
                assert_eq!(Deadline::within(Duration::from_secs(2)), outer);
                assert!(Deadline::within(Duration::from_millis(10)) < outer);
            })
            .await;
        assert_eq!(Deadline::current(), None);
    }
}
