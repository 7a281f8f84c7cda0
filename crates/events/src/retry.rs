//! What happens to a message after an attempt. Pure: the time comes in.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{Outcome, Received, topology::RETRY_DELAYS};

/// How long a message waits for what it needs to come back.
const PATIENCE: SignedDuration = SignedDuration::from_hours(72);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acknowledge,
    /// Publish it to the retry queue of this delay, then acknowledge.
    Wait {
        delay: Duration,
        reason: String,
        attempts: u32,
        failures: u32,
    },
    /// Publish it to the dead letters, then acknowledge.
    Bury {
        reason: String,
        attempts: u32,
        failures: u32,
    },
}

pub(crate) fn next(outcome: Outcome, event: &Received, now: Timestamp) -> Step {
    let attempts = event.attempts.saturating_add(1);
    match outcome {
        Outcome::Done => Step::Acknowledge,
        Outcome::Rejected(reason) => Step::Bury { reason, attempts, failures: event.failures },
        // An outage must not use up the attempts of a failure that comes after it.
        Outcome::Retry(reason) => {
            let failures = event.failures.saturating_add(1);
            match tier(event.failures) {
                Some(delay) => Step::Wait { delay, reason, attempts, failures },
                None => {
                    let reason = format!("failed {failures} times, at last: {reason}");
                    Step::Bury { reason, attempts, failures }
                }
            }
        }
        Outcome::Unavailable(reason) => {
            let failures = event.failures;
            let waited = now.duration_since(event.first_attempt);
            if waited >= PATIENCE {
                let reason = format!("gave up after {} h, at last: {reason}", waited.as_hours());
                return Step::Bury { reason, attempts, failures };
            }
            let [.., last] = RETRY_DELAYS;
            Step::Wait { delay: tier(event.attempts).unwrap_or(last), reason, attempts, failures }
        }
    }
}

fn tier(before: u32) -> Option<Duration> {
    RETRY_DELAYS.get(usize::try_from(before).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn event(attempts: u32, failures: u32) -> Received {
        Received {
            id: "1".into(),
            kind: "log.INFO".into(),
            source: String::new(),
            time: START,
            data: Vec::new(),
            attempts,
            failures,
            first_attempt: START,
        }
    }

    fn delay(outcome: Outcome, event: &Received, now: Timestamp) -> Option<u64> {
        match next(outcome, event, now) {
            Step::Wait { delay, .. } => Some(delay.as_secs()),
            Step::Bury { .. } | Step::Acknowledge => None,
        }
    }

    #[test]
    fn a_failure_goes_through_every_tier_and_then_to_the_dead_letters() {
        let delays: Vec<_> =
            (0..5).map(|n| delay(Outcome::Retry("no".into()), &event(n, n), START)).collect();
        assert_eq!(delays, [Some(1), Some(5), Some(15), Some(60), None]);
        let Step::Bury { reason, attempts, .. } = next(Outcome::Retry("no".into()), &event(4, 4), START)
        else {
            panic!("it should be buried");
        };
        assert_eq!((reason.as_str(), attempts), ("failed 5 times, at last: no", 5));
    }

    #[test]
    fn an_outage_repeats_the_last_tier_for_three_days() {
        let away = || Outcome::Unavailable("away".into());
        let after = |hours| START + SignedDuration::from_hours(hours);
        assert_eq!(delay(away(), &event(3, 0), START), Some(60));
        assert_eq!(delay(away(), &event(4_000, 0), after(71)), Some(60));
        assert_eq!(delay(away(), &event(4_000, 0), after(72)), None);
    }

    #[test]
    fn an_outage_uses_up_no_attempt_of_a_failure() {
        assert_eq!(delay(Outcome::Retry("no".into()), &event(500, 0), START), Some(1));
    }

    #[test]
    fn what_is_rejected_is_buried_at_once() {
        let step = next(Outcome::Rejected("wrong".into()), &event(0, 0), START);
        assert_eq!(step, Step::Bury { reason: "wrong".into(), attempts: 1, failures: 0 });
    }

    #[test]
    fn what_is_done_is_acknowledged() {
        assert_eq!(next(Outcome::Done, &event(3, 1), START), Step::Acknowledge);
    }
}
