//! Decides what happens to a message after an attempt. Pure: the time is an argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{Outcome, Queue, Received, topology::RETRY_DELAYS};

/// How long a message is retried while a dependency is unavailable.
const PATIENCE: SignedDuration = SignedDuration::from_hours(72);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acknowledge,
    /// Publish to the retry queue with this delay, then acknowledge.
    Wait {
        delay: Duration,
        reason: String,
        counts: Counts,
    },
    /// Publish to the dead-letter queue, then acknowledge.
    Bury {
        reason: String,
        counts: Counts,
    },
}

/// Number of attempts, this one included, and of those that have a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
    pub(crate) unknowns: u32,
}

pub(crate) fn next(queue: Queue, outcome: Outcome, event: &Received, now: Timestamp) -> Step {
    let &Received { attempts, failures, unknowns, .. } = event;
    let counts = Counts { attempts: attempts.saturating_add(1), failures, unknowns };
    match outcome {
        Outcome::Done => Step::Acknowledge,
        Outcome::Rejected(reason) => Step::Bury { reason, counts },
        // Counted separately, so that an outage does not use up these attempts.
        Outcome::Retry(reason) => {
            let counts = Counts { failures: failures.saturating_add(1), ..counts };
            match nth(&RETRY_DELAYS, failures) {
                Some(delay) => Step::Wait { delay, reason, counts },
                None => {
                    let reason = format!("failed {} times; last error: {reason}", counts.failures);
                    Step::Bury { reason, counts }
                }
            }
        }
        Outcome::Unavailable(reason) => {
            let waited = now.duration_since(event.first_attempt);
            if waited >= PATIENCE {
                let reason = format!("gave up after {} h; last error: {reason}", waited.as_hours());
                return Step::Bury { reason, counts };
            }
            let [.., last] = RETRY_DELAYS;
            Step::Wait { delay: nth(&RETRY_DELAYS, attempts).unwrap_or(last), reason, counts }
        }
        Outcome::Unknown(reason) => {
            let counts = Counts { unknowns: unknowns.saturating_add(1), ..counts };
            match nth(queue.unknown_delays(), unknowns) {
                Some(delay) => Step::Wait { delay, reason, counts },
                None => Step::Bury { reason: format!("outcome unknown: {reason}"), counts },
            }
        }
    }
}

fn nth(delays: &[Duration], index: u32) -> Option<Duration> {
    delays.get(usize::try_from(index).ok()?).copied()
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
            unknowns: 0,
            first_attempt: START,
        }
    }

    fn delay(outcome: Outcome, event: &Received, now: Timestamp) -> Option<u64> {
        match next(Queue::Mail, outcome, event, now) {
            Step::Wait { delay, .. } => Some(delay.as_secs()),
            Step::Bury { .. } | Step::Acknowledge => None,
        }
    }

    fn buried(queue: Queue, outcome: Outcome, event: &Received) -> (String, Counts) {
        match next(queue, outcome, event, START) {
            Step::Bury { reason, counts } => (reason, counts),
            other => panic!("expected Bury, not {other:?}"),
        }
    }

    #[test]
    fn a_failing_event_waits_each_delay_and_becomes_a_dead_letter() {
        let delays: Vec<_> =
            (0..5).map(|n| delay(Outcome::Retry("no".into()), &event(n, n), START)).collect();
        assert_eq!(delays, [Some(1), Some(5), Some(15), Some(60), None]);
        let (reason, counts) = buried(Queue::Mail, Outcome::Retry("no".into()), &event(4, 4));
        assert_eq!((reason.as_str(), counts.attempts), ("failed 5 times; last error: no", 5));
    }

    #[test]
    fn an_outage_repeats_the_last_delay_for_three_days() {
        let away = || Outcome::Unavailable("away".into());
        let after = |hours| START + SignedDuration::from_hours(hours);
        assert_eq!(delay(away(), &event(3, 0), START), Some(60));
        assert_eq!(delay(away(), &event(4_000, 0), after(71)), Some(60));
        assert_eq!(delay(away(), &event(4_000, 0), after(72)), None);
    }

    #[test]
    fn an_outage_does_not_use_up_attempts() {
        assert_eq!(delay(Outcome::Retry("no".into()), &event(500, 0), START), Some(1));
    }

    #[test]
    fn an_unknown_outcome_waits_each_delay_and_becomes_a_dead_letter() {
        let unknown = || Outcome::Unknown("no reply".into());
        // Other failures and the elapsed time make no difference.
        let after = |unknowns| Received { unknowns, ..event(500, 3) };
        let late = START + SignedDuration::from_hours(100);
        let delays: Vec<_> = (0..4).map(|n| delay(unknown(), &after(n), late)).collect();
        assert_eq!(delays, [Some(600), Some(3_600), Some(21_600), None]);
        let (reason, counts) = buried(Queue::Mail, unknown(), &after(3));
        assert_eq!(reason, "outcome unknown: no reply");
        assert_eq!(counts, Counts { attempts: 501, failures: 3, unknowns: 4 });
    }

    #[test]
    fn an_unknown_outcome_without_delays_is_a_dead_letter_at_once() {
        let (reason, _) = buried(Queue::Log, Outcome::Unknown("no reply".into()), &event(0, 0));
        assert_eq!(reason, "outcome unknown: no reply");
    }

    #[test]
    fn a_rejected_event_is_a_dead_letter_at_once() {
        let buried = buried(Queue::Mail, Outcome::Rejected("wrong".into()), &event(0, 0));
        assert_eq!(buried, ("wrong".into(), Counts { attempts: 1, failures: 0, unknowns: 0 }));
    }

    #[test]
    fn a_handled_event_is_acknowledged() {
        assert_eq!(next(Queue::Mail, Outcome::Done, &event(3, 1), START), Step::Acknowledge);
    }
}
