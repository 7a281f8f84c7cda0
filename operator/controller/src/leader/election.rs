//! Who leads: a pure state machine over what the Lease says. Both clocks are arguments.
//!
//! Machines' clocks differ, so the times that a Lease holds are never compared with ours: a Lease has run out when it has
//! not changed for its own duration since we first saw it so, by the clock that only goes forward.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// How long each thing takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A Lease that is not renewed for so long is free.
    pub lease: Duration,
    /// A leader that could not renew for so long leads no more. Shorter than `lease` by the longest that a request takes,
    /// so that its last write is over before anybody else begins.
    pub give_up: Duration,
    /// A leader renews this often.
    pub renew: Duration,
    /// Others look this often.
    pub look: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            give_up: Duration::from_secs(10),
            renew: Duration::from_secs(2),
            look: Duration::from_secs(1),
        }
    }
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nobody, when its holder gave it back.
    pub holder: Option<String>,
    pub lease: Option<Duration>,
    pub acquired: Option<Timestamp>,
    pub renewed: Option<Timestamp>,
    pub transitions: i32,
}

/// A Lease as it was found: a write that names its version fails when it has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub record: Record,
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    Wait,
    Create(Record),
    Replace(Found),
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    /// What another's Lease said last, and since when.
    observed: Option<(Record, Instant)>,
    /// When the last write that made or kept us leader began.
    renewed: Option<Instant>,
}

impl Election {
    /// `identity` tells this process from every other, earlier ones of the same name too.
    pub fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, observed: None, renewed: None }
    }

    /// What to do about what was found.
    pub fn next(&mut self, found: Option<Found>, now: Instant, wall: Timestamp) -> Move {
        let Some(Found { record, version }) = found else {
            return Move::Create(self.mine(wall, wall, 0));
        };
        match record.holder.as_deref().filter(|holder| !holder.is_empty()) {
            Some(holder) if holder == self.identity => {
                let acquired = record.acquired.unwrap_or(wall);
                Move::Replace(Found { record: self.mine(acquired, wall, record.transitions), version })
            }
            Some(_) => {
                self.renewed = None;
                if !self.has_run_out(&record, now) {
                    return Move::Wait;
                }
                self.take(&record, version, wall)
            }
            None => self.take(&record, version, wall),
        }
    }

    /// A write was accepted. What it gives counts from when it was sent, since the answer may have been long on its way.
    pub fn accepted(&mut self, sent: Instant) {
        self.renewed = Some(sent);
        self.observed = None;
    }

    /// True until another is seen, or the time to renew has passed.
    pub fn leads(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// Until when we lead if no more is heard.
    pub fn deadline(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.give_up)
    }

    /// How long until the next look.
    pub fn pause(&self, now: Instant) -> Duration {
        match self.deadline() {
            Some(deadline) if now < deadline => self.timing.renew.min(deadline - now),
            _ => self.timing.look,
        }
    }

    /// Leads no more. When the Lease that was found is ours, this gives it back, so that nobody has to wait until it runs out.
    pub fn resign(&mut self, found: Option<Found>, wall: Timestamp) -> Move {
        self.renewed = None;
        let Some(Found { record, version }) = found else { return Move::Wait };
        if record.holder.as_deref() != Some(self.identity.as_str()) {
            return Move::Wait;
        }
        Move::Replace(Found { record: Record { holder: None, renewed: Some(wall), ..record }, version })
    }

    fn has_run_out(&mut self, record: &Record, now: Instant) -> bool {
        let since = match &self.observed {
            Some((before, since)) if before == record => *since,
            _ => {
                self.observed = Some((record.clone(), now));
                now
            }
        };
        now >= since + record.lease.unwrap_or(self.timing.lease)
    }

    fn take(&self, before: &Record, version: String, wall: Timestamp) -> Move {
        let record = self.mine(wall, wall, before.transitions.saturating_add(1));
        Move::Replace(Found { record, version })
    }

    fn mine(&self, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> Record {
        Record {
            holder: Some(self.identity.clone()),
            lease: Some(self.timing.lease),
            acquired: Some(acquired),
            renewed: Some(renewed),
            transitions,
        }
    }
}

#[cfg(test)]
mod tests;
