//! How far an exchange with the server is, and how long it may stay there.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use weft_runtime::lifecycle::Shutdown;

use super::error::SmtpError;
use crate::config::Timeouts;

/// How long a caller waits after the end of a mail. RFC 5321 gives the server ten minutes to answer, which is longer than a
/// call can be kept open.
const TELL_AFTER: Duration = Duration::from_secs(30);

/// The steps of an exchange that differ in how long they may take and in what it means when they take longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// All connections are in use.
    Slot,
    /// No address of the server has accepted the connection yet.
    Connect,
    /// The server has to greet, to answer a command, or to take the next part of a mail. It does not have the mail.
    Reply,
    /// The end of the mail is sent or being sent. The server may have the mail.
    End,
}

/// The present phase, and since when.
#[derive(Debug)]
pub(super) struct Progress(watch::Sender<(Phase, Instant)>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new((Phase::Slot, Instant::now())))
    }

    /// The phase's time begins now, also where the phase is the same as before.
    pub(super) fn enter(&self, phase: Phase) {
        self.0.send_replace((phase, Instant::now()));
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.borrow().0
    }
}

/// How long an exchange may go on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// When the caller wants its answer. Until the end of the mail is sent, the exchange ends with it.
    pub give_up: Instant,
    /// The process's end.
    pub shutdown: Shutdown,
    /// How long a caller still waits once the process is asked to end.
    pub grace: Duration,
}

impl Limits {
    /// No limits but this one.
    pub(super) fn within(time: Duration) -> Self {
        Self { give_up: Instant::now() + time, shutdown: Shutdown::default(), grace: time }
    }
}

/// Runs an exchange within the limits of each phase. Calls `late` once, when the caller can't wait longer and the server may
/// have the mail; the exchange then goes on for as long as [`Timeouts::end`] says.
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
    let (mut told, mut leaving) = (false, false);
    tokio::pin!(exchange);
    loop {
        let (phase, since) = *changes.borrow_and_update();
        let allowed = timeouts.of(phase);
        let end = since + allowed;
        let wake = match phase {
            Phase::End if told => end,
            Phase::End => end.min(since + TELL_AFTER).min(limits.give_up),
            Phase::Slot | Phase::Connect | Phase::Reply => end.min(limits.give_up),
        };
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            _ = changes.changed() => {}
            () = limits.shutdown.requested(), if !leaving => {
                leaving = true;
                limits.give_up = limits.give_up.min(Instant::now() + limits.grace);
            }
            () = sleep_until(wake) => match phase {
                Phase::End if wake < end => {
                    told = true;
                    late();
                }
                _ => return Err(overdue(phase, since)),
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

fn overdue(phase: Phase, since: Instant) -> SmtpError {
    let took = since.elapsed();
    match phase {
        Phase::Slot => SmtpError::Busy(took),
        Phase::Connect => SmtpError::Unreachable(format!("no connection within {} s", took.as_secs_f32())),
        Phase::Reply => SmtpError::TimedOut(took),
        Phase::End => SmtpError::Unknown(format!("no reply within {} s after its end", took.as_secs_f32())),
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

    /// What becomes of an exchange that does this; after how many seconds, and when its caller was told to wait no longer.
    async fn run(
        seconds: u64,
        exchange: impl AsyncFn(&Progress) -> Result<(), SmtpError>,
    ) -> (Result<(), SmtpError>, u64, Option<u64>) {
        let started = Instant::now();
        let (progress, told) = (Progress::new(), Cell::new(None));
        let limits = Limits::within(Duration::from_secs(seconds));
        let late = || assert_eq!(told.replace(Some(started.elapsed().as_secs())), None, "told twice");
        let outcome = bounded(exchange(&progress), &progress, &RFC, limits, late).await;
        (outcome, started.elapsed().as_secs(), told.get())
    }

    async fn slow(progress: &Progress, phase: Phase, seconds: u64) {
        progress.enter(phase);
        sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_time() {
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
        let (outcome, took, told) = run(3_600, async |progress| {
            for _ in 0..4 {
                slow(progress, Phase::Reply, 290).await;
            }
            slow(progress, Phase::End, 20).await;
            Ok(())
        })
        .await;
        assert_eq!((outcome, took, told), (Ok(()), 4 * 290 + 20, None));
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_end_of_the_mail_the_caller_ends_the_exchange() {
        let (outcome, took, told) = run(8, async |progress| {
            slow(progress, Phase::Reply, 100).await;
            Ok(())
        })
        .await;
        assert!(matches!(outcome, Err(SmtpError::TimedOut(_))), "{outcome:?}");
        assert_eq!((took, told), (8, None));
    }

    #[tokio::test(start_paused = true)]
    async fn after_it_the_caller_is_told_and_the_exchange_goes_on() {
        // The caller's deadline comes first, or half a minute does.
        for (deadline, told_at) in [(8, 8), (3_600, 35)] {
            let (outcome, took, told) = run(deadline, async |progress| {
                slow(progress, Phase::Reply, 5).await;
                slow(progress, Phase::End, 500).await;
                Ok(())
            })
            .await;
            assert_eq!((outcome, took, told), (Ok(()), 505, Some(told_at)));
        }
        let (outcome, took, told) = run(8, async |progress| {
            progress.enter(Phase::End);
            pending().await
        })
        .await;
        assert!(matches!(outcome, Err(SmtpError::Unknown(_))), "{outcome:?}");
        assert_eq!((took, told), (600, Some(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_process_leaves_time_to_tell_the_caller() {
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
