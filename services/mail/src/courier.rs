//! Hands mails to the SMTP server, each in a task of its own: what a caller does not wait for is not cut off half way.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use weft_mesh::Deadline;
use weft_runtime::lifecycle::Shutdown;

use crate::message::Outgoing;
use crate::metrics::Metrics;
use crate::smtp::{Limits, Smtp, SmtpError};
use crate::supervise::Watch;
use crate::trace;
use crate::under_way::{Entry, Place, Report, UnderWay};
use crate::validate::Order;

/// For callers that bring no deadline.
const LONGEST: Duration = Duration::from_secs(600);
/// So that the caller gets the answer, and not the end of its own time, which would tell it less.
const WAY_BACK: Duration = Duration::from_secs(2);

/// Sends mails for callers that may go away. Clones share everything.
#[derive(Debug, Clone)]
pub struct Courier {
    /// Where mails go.
    pub smtp: Smtp,
    /// What learns how the server does.
    pub watch: Watch,
    /// What mail counts.
    pub metrics: Metrics,
    /// Mails that the server has not answered for yet, and some that it has.
    pub under_way: UnderWay,
    /// The process's end.
    pub shutdown: Shutdown,
    /// How long callers still wait after it was asked for.
    pub grace: Duration,
}

impl Courier {
    /// Sends a mail and returns the server's reply. A repeat of an order whose mail is under way waits for that one, and one
    /// whose mail was sent gets its reply: no second copy is sent.
    ///
    /// # Errors
    /// Those of [`Smtp::send`].
    ///
    /// # Cancellation
    /// The mail is sent all the same.
    pub async fn send(&self, order: &Order, mail: Outgoing) -> Result<String, SmtpError> {
        let give_up = give_up();
        match self.under_way.enter(order) {
            Place::Sent(reply) => Ok(reply),
            Place::Joined(mut report) => {
                let done = report.wait_for(|report| matches!(report, Report::Done(_)));
                match timeout_at(give_up, done).await {
                    Ok(Ok(report)) => report.outcome(),
                    Ok(Err(_)) | Err(_) => Report::Late.outcome(),
                }
            }
            Place::First(entry, mut report) => {
                let limits = Limits { give_up, shutdown: self.shutdown.clone(), grace: self.grace };
                let span = trace::exchange(self.smtp.config(), &mail.message_id);
                tokio::spawn(self.clone().exchange(mail, limits, entry).instrument(span));
                match report.wait_for(|report| !matches!(report, Report::Open)).await {
                    Ok(report) => report.outcome(),
                    Err(_) => Report::Late.outcome(),
                }
            }
        }
    }

    async fn exchange(self, mail: Outgoing, limits: Limits, entry: Entry) {
        let started = Instant::now();
        let outcome = self.smtp.send(&mail, limits, || entry.late()).await;
        trace::outcome(&tracing::Span::current(), &outcome);
        let error = outcome.as_ref().err();
        self.metrics.exchanged(error.map_or("sent", SmtpError::kind), started.elapsed());
        self.watch.saw(error);
        if let Ok(smtp_reply) = &outcome {
            tracing::info!(message_id = mail.message_id, smtp_reply, "mail sent");
        }
        entry.done(outcome);
    }
}

fn give_up() -> Instant {
    let deadline = Deadline::within(LONGEST);
    let left = deadline.left();
    deadline.instant() - WAY_BACK.min(left / 4)
}
