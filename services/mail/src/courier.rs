//! Sends each mail in its own task, so that an exchange with the SMTP server continues when its caller goes away.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use weft_mesh::Deadline;
use weft_runtime::lifecycle::Shutdown;

use crate::in_flight::{Entry, InFlight, Place, Report};
use crate::message::Outgoing;
use crate::metrics::Metrics;
use crate::smtp::{Limits, Smtp, SmtpError};
use crate::supervise::Watch;
use crate::trace;
use crate::validate::Order;

/// Deadline of calls that have none.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);
/// Time reserved for the response, so that the caller gets the outcome and not DEADLINE_EXCEEDED.
const RESPONSE_TIME: Duration = Duration::from_secs(2);

/// Sends mails for callers that may go away. Clones share state.
#[derive(Debug, Clone)]
pub struct Courier {
    /// The SMTP server.
    pub smtp: Smtp,
    /// The SMTP server's entry in `/status`.
    pub watch: Watch,
    /// Metrics.
    pub metrics: Metrics,
    /// Mails in flight, and mails sent recently.
    pub in_flight: InFlight,
    /// Shutdown of the process.
    pub shutdown: Shutdown,
    /// How long callers still wait after shutdown is requested.
    pub grace: Duration,
}

impl Courier {
    /// Sends a mail and returns the server's reply. A repeat of an order sends no second copy: it waits for the mail in flight, or
    /// returns the reply to the mail that was sent.
    ///
    /// # Errors
    /// Those of [`Smtp::send`].
    ///
    /// # Cancellation
    /// The mail is still sent.
    pub async fn send(&self, order: &Order, mail: Outgoing) -> Result<String, SmtpError> {
        let give_up = give_up();
        match self.in_flight.enter(order) {
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
        self.watch.mail_outcome(error);
        if let Ok(smtp_reply) = &outcome {
            tracing::info!(message_id = mail.message_id, smtp_reply, "mail sent");
        }
        entry.done(outcome);
    }
}

fn give_up() -> Instant {
    let deadline = Deadline::within(DEFAULT_DEADLINE);
    let left = deadline.left();
    deadline.instant() - RESPONSE_TIME.min(left / 4)
}
