//! Deadlines. A deadline is propagated with each call and shrinks at every hop.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

/// Header with the remaining time (gRPC over HTTP/2, `Timeout`).
const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Subtracted on the server, so that DEADLINE_EXCEEDED reaches the caller as the server's answer before the caller gives up.
const WAY_BACK: Duration = Duration::from_millis(2);
/// Maximum number of digits in the protocol.
const MAX_DIGITS: usize = 8;

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The time by which a caller needs its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline after this timeout, or that of the current call if it is earlier.
    pub fn within(timeout: Duration) -> Self {
        let own = Self(Instant::now() + timeout);
        Self::current().map_or(own, |current| current.min(own))
    }

    /// The deadline of the call that this task serves.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// The remaining time; zero when the deadline has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The deadline as an instant.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Runs a future under this deadline: calls that it makes get at most the remaining time.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Reads `grpc-timeout`, minus the time that the answer needs to travel back. An invalid header is ignored.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
        Some(Self(Instant::now() + parse(value)?.saturating_sub(WAY_BACK)))
    }

    /// Writes the remaining time as `grpc-timeout`.
    pub(crate) fn to_headers(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&format(self.left())) {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }
}

fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
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

/// Formats a duration in the finest unit that fits in eight digits: microseconds up to 99 s, milliseconds up to a day, then
/// seconds.
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
    fn parses_what_it_formats() {
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
    fn ignores_an_invalid_timeout() {
        for invalid in ["", "S", "5", "123456789S", "-1S", "+1S", "1x", "1 S", "ü"] {
            assert_eq!(parse(invalid), None, "{invalid:?} was accepted");
        }
    }

    #[tokio::test]
    async fn limits_nested_calls_to_the_time_of_the_outer_call() {
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
