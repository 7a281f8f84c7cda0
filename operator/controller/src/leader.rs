//! Leader election: of several operators of one release one acts, by a Lease of `coordination.k8s.io`.
//!
//! The others keep their caches warm, so that a hand-over costs them a look at the Lease and no listing. A leader that ends
//! cleanly gives the Lease back after its last write: the next one takes it at its next look, within about a second. One
//! that crashes is succeeded when its Lease has run out. One that can't renew stops by itself before that, whether or not the
//! API server answers.

mod election;
mod lease;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use weft_runtime::clock::Clock;
use weft_runtime::health::Condition;
use weft_runtime::telemetry::chain;

use crate::metrics::OperatorMetrics;
use lease::LeaseStore;

pub use election::{Election, Found, Move, Record, Timing};

/// A look at the Lease takes no longer than this.
const LOOK_TIMEOUT: Duration = Duration::from_secs(4);
/// Giving it back takes no longer than this: else it runs out by itself.
const RESIGN_TIMEOUT: Duration = Duration::from_millis(1500);
const RESIGN_AGAIN: Duration = Duration::from_millis(50);

/// Whether this process leads, for those who act.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Of a process that is alone.
    pub fn always() -> Self {
        Self(watch::channel(true).1)
    }

    /// Ends as soon as this process leads.
    pub async fn gained(&mut self) {
        self.turned(true).await;
    }

    /// Ends as soon as it leads no more.
    pub async fn lost(&mut self) {
        self.turned(false).await;
    }

    async fn turned(&mut self, to: bool) {
        if self.0.wait_for(|leads| *leads == to).await.is_err() {
            // Who told us has ended: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

/// What a candidate needs of its surroundings.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub metrics: OperatorMetrics,
    /// Holds while the Lease can be read, whoever holds it: a standby is ready.
    pub condition: Condition,
}

/// This process, as one that may lead.
pub struct Candidate {
    store: LeaseStore,
    election: Election,
    surroundings: Surroundings,
    leads: watch::Sender<bool>,
    holder: Option<String>,
}

impl Candidate {
    /// For the Lease of this name in the client's own namespace.
    pub fn new(
        client: &Client,
        name: &str,
        identity: String,
        timing: Timing,
        surroundings: Surroundings,
    ) -> Self {
        let api = Api::<Lease>::default_namespaced(client.clone());
        Self {
            store: LeaseStore { api, name: name.to_owned() },
            election: Election::new(identity, timing),
            surroundings,
            leads: watch::Sender::new(false),
            holder: None,
        }
    }

    /// For those who act.
    pub fn leadership(&self) -> Leadership {
        Leadership(self.leads.subscribe())
    }

    /// Takes the Lease when it is free, and renews it as long as it can. Never ends by itself.
    ///
    /// # Cancellation
    /// Safe at any point; the Lease stays as it is until it runs out or [`Self::resign`] gives it back.
    pub async fn campaign(&mut self) {
        loop {
            let now = Instant::now();
            let mut limit = now + LOOK_TIMEOUT;
            if self.election.leads(now) {
                limit = limit.min(self.election.deadline().unwrap_or(limit));
            }
            match timeout_at(limit, self.look()).await {
                Ok(Ok(())) => self.surroundings.condition.fulfilled(),
                Ok(Err(error)) => self.failed(&chain(&error)),
                Err(_) => self.failed("the API server did not answer in time"),
            }
            self.announce();
            sleep(self.election.pause(Instant::now())).await;
            self.announce();
        }
    }

    /// Gives the Lease back, after the last write.
    pub async fn resign(&mut self) {
        let gave_back = timeout(RESIGN_TIMEOUT, self.give_back()).await;
        self.announce();
        match gave_back {
            Ok(()) => tracing::info!("the Lease is free"),
            Err(_) => tracing::warn!("the Lease could not be given back in time: it runs out by itself"),
        }
    }

    async fn give_back(&mut self) {
        loop {
            let wall = self.surroundings.clock.now();
            let given = match self.store.read().await {
                Ok(found) => match self.election.resign(found, wall) {
                    Move::Wait => return,
                    step => self.store.carry_out(step).await,
                },
                Err(error) => Err(error),
            };
            match given {
                Ok(true) => return,
                // A last renewal of ours was under way.
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = chain(&error), "failed to give the Lease back; trying again")
                }
            }
            sleep(RESIGN_AGAIN).await;
        }
    }

    async fn look(&mut self) -> Result<(), kube::Error> {
        let found = self.store.read().await?;
        self.tell_holder(found.as_ref());
        let sent = Instant::now();
        let step = self.election.next(found, sent, self.surroundings.clock.now());
        // Another leads: those who act learn of it before anything else is waited for.
        self.announce();
        if self.store.carry_out(step).await? {
            self.election.accepted(sent);
        }
        Ok(())
    }

    fn tell_holder(&mut self, found: Option<&Found>) {
        let holder = found.and_then(|found| found.record.holder.clone());
        if holder != self.holder {
            tracing::info!(holder, "the Lease has another holder");
            self.holder = holder;
        }
    }

    fn failed(&self, error: &str) {
        self.surroundings.metrics.failed("lease");
        self.surroundings.condition.missing(error);
        tracing::warn!(error, "failed to read or renew the Lease; trying again");
    }

    fn announce(&self) {
        let leads = self.election.leads(Instant::now());
        let told = self.leads.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        self.surroundings.metrics.leads(leads);
        if told {
            tracing::info!(
                leads,
                "{}",
                if leads { "this operator leads" } else { "this operator leads no more" }
            );
        }
    }
}
