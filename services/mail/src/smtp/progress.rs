//! The phases of an exchange with the SMTP server, and their timeouts.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use weft_runtime::lifecycle::Shutdown;

use super::error::SmtpError;
use crate::config::Timeouts;

/// How long a caller waits after the end of a mail. RFC 5321 gives the server ten minutes to answer, which is longer than a
/// call can be kept open.
const CALLER_WAITS: Duration = Duration::from_secs(30);

/// The phases of an exchange. They differ in their timeouts, and in what a timeout means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for a free connection.
    Slot,
    /// Connecting to the server's addresses.
    Connect,
    /// Waiting for the greeting, for a reply, or until a part of a mail is written. The server does not have the mail.
    Reply,
    /// The end of the mail has been or is being sent. The server may have the mail.
    End,
}

/// The current phase and its start.
#[derive(Debug)]
pub(super) struct Progress(watch::Sender<(Phase, Instant)>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new((Phase::Slot, Instant::now())))
    }

    /// Enters a phase, and restarts its timeout if the phase is the same.
    pub(super) fn enter(&self, phase: Phase) {
        self.0.send_replace((phase, Instant::now()));
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.borrow().0
    }
}

/// Limits of an exchange beside the timeouts of its phases.
#[derive(Debug, Clone)]
pub struct Limits {
    /// When the caller stops waiting. Before the end of the mail is sent, this also ends the exchange.
    pub give_up: Instant,
    /// Shutdown of the process.
    pub shutdown: Shutdown,
    /// How long a caller still waits after shutdown is requested.
    pub grace: Duration,
}

impl Limits {
    /// Limits with this timeout only.
    pub(super) fn within(time: Duration) -> Self {
        Self { give_up: Instant::now() + time, shutdown: Shutdown::default(), grace: time }
    }
}

/// Runs an exchange within the timeouts of its phases. Calls `late` once when the caller stops waiting after the end of the mail
/// was sent; the exchange then continues until [`Timeouts::end`].
///
/// # Cancellation
/// Drops the exchange.
pub(super) async fn bounded<T>(
    exchange: impl Future<Output = Result<T, SmtpError>>,
    progress: &Progress,
    timeouts: &Timeouts,
    mut limits: Limits,
    late: impl Fn(),
) -> Result<T, SmtpError> {
    let mut changes = progress.0.subscribe();
    let (mut late_called, mut shutting_down) = (false, false);
    tokio::pin!(exchange);
    loop {
        let (phase, since) = *changes.borrow_and_update();
        let allowed = timeouts.of(phase);
        let end = since + allowed;
        let wake = match phase {
            Phase::End if late_called => end,
            Phase::End => end.min(since + CALLER_WAITS).min(limits.give_up),
            Phase::Slot | Phase::Connect | Phase::Reply => end.min(limits.give_up),
        };
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            _ = changes.changed() => {}
            () = limits.shutdown.requested(), if !shutting_down => {
                shutting_down = true;
                limits.give_up = limits.give_up.min(Instant::now() + limits.grace);
            }
            () = sleep_until(wake) => match phase {
                Phase::End if wake < end => {
                    late_called = true;
                    late();
                }
                _ => return Err(timed_out(phase, since)),
            },
        }
    }
}

impl Timeouts {
    fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Slot | Phase::Connect => self.connect,
            Phase::Reply => self.reply,
            Phase::End => self.end,
        }
    }
}

fn timed_out(phase: Phase, since: Instant) -> SmtpError {
    let took = since.elapsed();
    match phase {
        Phase::Slot => SmtpError::Busy(took),
        Phase::Connect => SmtpError::Unreachable(format!("no connection within {} s", took.as_secs_f32())),
        Phase::Reply => SmtpError::TimedOut(took),
        Phase::End => {
            SmtpError::Unknown(format!("no reply within {} s after the end of the mail", took.as_secs_f32()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const RFC: Timeouts = Timeouts {
        connect: Duration::from_secs(10),
        reply: Duration::from_secs(300),
        end: Duration::from_secs(600),
    };

    /// Runs an exchange. Returns its outcome, its duration in seconds, and when `late` was called.
    async fn run(
        seconds: u64,
        exchange: impl AsyncFn(&Progress) -> Result<(), SmtpError>,
    ) -> (Result<(), SmtpError>, u64, Option<u64>) {
        let started = Instant::now();
        let (progress, late_at) = (Progress::new(), Cell::new(None));
        let limits = Limits::within(Duration::from_secs(seconds));
        let late =
            || assert_eq!(late_at.replace(Some(started.elapsed().as_secs())), None, "late was called twice");
        let outcome = bounded(exchange(&progress), &progress, &RFC, limits, late).await;
        (outcome, started.elapsed().as_secs(), late_at.get())
    }

    async fn slow(progress: &Progress, phase: Phase, seconds: u64) {
        progress.enter(phase);
        sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_timeout() {
        for (phase, seconds) in
            [(Phase::Slot, 10), (Phase::Connect, 10), (Phase::Reply, 300), (Phase::End, 600)]
        {
            let (outcome, took, _) = run(3_600, async |progress| {
                slow(progress, phase, 100_000).await;
                Ok(())
            })
            .await;
            assert!(outcome.is_err());
            assert_eq!(took, seconds, "{phase:?}");
        }
        let (outcome, took, late_at) = run(3_600, async |progress| {
            for _ in 0..4 {
                slow(progress, Phase::Reply, 290).await;
            }
            slow(progress, Phase::End, 20).await;
            Ok(())
        })
        .await;
        assert_eq!((outcome, took, late_at), (Ok(()), 4 * 290 + 20, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_ends_the_exchange_before_the_end_of_the_mail() {
        let (outcome, took, late_at) = run(8, async |progress| {
            slow(progress, Phase::Reply, 100).await;
            Ok(())
        })
        .await;
        assert!(matches!(outcome, Err(SmtpError::TimedOut(_))), "{outcome:?}");
        assert_eq!((took, late_at), (8, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_exchange_continues_without_its_caller_after_the_end_of_the_mail() {
        // Limited by the caller's deadline, or by CALLER_WAITS.
        for (deadline, expected_late_at) in [(8, 8), (3_600, 35)] {
            let (outcome, took, late_at) = run(deadline, async |progress| {
                slow(progress, Phase::Reply, 5).await;
                slow(progress, Phase::End, 500).await;
                Ok(())
            })
            .await;
            assert_eq!((outcome, took, late_at), (Ok(()), 505, Some(expected_late_at)));
        }
        let (outcome, took, late_at) = run(8, async |progress| {
            progress.enter(Phase::End);
            pending().await
        })
        .await;
        assert!(matches!(outcome, Err(SmtpError::Unknown(_))), "{outcome:?}");
        assert_eq!((took, late_at), (600, Some(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_ends_the_exchange_after_the_grace_period() {
        let started = Instant::now();
        let progress = Progress::new();
        let limits = Limits {
            give_up: started + Duration::from_secs(300),
            shutdown: Shutdown::default(),
            grace: Duration::from_secs(15),
        };
        limits.shutdown.request();
        progress.enter(Phase::Reply);
        let outcome = bounded(pending::<Result<(), _>>(), &progress, &RFC, limits, || {}).await;
        assert!(matches!(outcome, Err(SmtpError::TimedOut(_))), "{outcome:?}");
        assert_eq!(started.elapsed().as_secs(), 15);
    }
}
