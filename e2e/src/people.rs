//! Users who sign in and out while something fails. Every acknowledged sign-in must have its record, every sign-out its mail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{Broker, Mailbox, Reply, until};

/// Password of all users.
const PASSWORD: &str = "tulips in a blue vase 1887";
/// Number of sign-ins and sign-outs of each user.
const ROUNDS: usize = 10;
/// Number of concurrent users.
const AT_ONCE: usize = 4;
const REPEAT_AFTER: Duration = Duration::from_millis(300);
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
const DELIVERED_WITHIN: Duration = Duration::from_secs(180);
/// A kill can leave the outcome of a mail unknown; authentication repeats such a mail after ten minutes.
const MAILED_WITHIN: Duration = Duration::from_secs(600 + 180);

/// Result of all sign-ins and sign-outs.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// Number of acknowledged sign-ins, each with a record in the logger.
    pub sign_ins: usize,
    /// Number of acknowledged sign-outs, each with a mail.
    pub sign_outs: usize,
    /// Number of repeated requests.
    pub repeated: usize,
    /// Number of mails received again with the same Message-ID.
    pub doubled_mails: usize,
}

/// Running users.
#[derive(Debug)]
pub struct People {
    admin: Broker,
    mailbox: Mailbox,
    pace: Pace,
    running: JoinHandle<Result<Vec<Person>>>,
}

/// Limits how many requests may start, so that on a fast machine the users do not finish before the last process is killed.
#[derive(Clone, Debug)]
struct Pace {
    allowed: Arc<Semaphore>,
    given: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

/// Acknowledged requests of one user.
#[derive(Debug, Default)]
struct Person {
    email: String,
    /// Traces of acknowledged sign-ins.
    sign_ins: BTreeSet<String>,
    sign_outs: usize,
    repeated: usize,
}

impl People {
    /// Creates users as the admin, and starts signing each in and out [`ROUNDS`] times.
    ///
    /// # Errors
    /// When a user can't be created.
    pub async fn start(admin: &Broker, mailbox: &Mailbox, users: usize) -> Result<Self> {
        let mut emails = Vec::new();
        for _ in 0..users {
            emails.push(create_user(admin).await?);
        }
        let pace =
            Pace { allowed: Arc::new(Semaphore::new(0)), given: Arc::default(), answered: Arc::default() };
        let running = tokio::spawn(run_all(admin.clone(), emails, pace.clone()));
        Ok(Self { admin: admin.clone(), mailbox: mailbox.clone(), pace, running })
    }

    /// Total number of sign-ins and sign-outs.
    #[must_use]
    pub fn total(users: usize) -> u64 {
        (users * ROUNDS * 2) as u64
    }

    /// Allows this many more requests, and waits until half of them are acknowledged. The other half run during the next kill.
    ///
    /// # Errors
    /// When it times out.
    pub async fn advance(&self, more: u64, within: Duration) -> Result<()> {
        let goal = self.pace.allow(more)? - more / 2;
        until(&format!("{goal} answers"), within, async || {
            let now = self.pace.answered.load(Ordering::Relaxed);
            ensure!(now >= goal || self.running.is_finished(), "{now} of {goal}");
            Ok(())
        })
        .await
    }

    /// Whether all users have finished.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.running.is_finished()
    }

    /// Waits until all users have finished, and for the record of each sign-in and the mail of each sign-out.
    ///
    /// # Errors
    /// When a request is not acknowledged in time, or a record or mail is missing.
    pub async fn finish(self) -> Result<Visits> {
        self.pace.allow(u64::from(u32::MAX))?;
        let people = self.running.await??;
        let mut visits = Visits::default();
        for person in &people {
            visits.sign_ins += person.sign_ins.len();
            visits.sign_outs += person.sign_outs;
            visits.repeated += person.repeated;
        }
        until("the record of every sign-in", DELIVERED_WITHIN, async || {
            let recorded = recorded(&self.admin).await?;
            let missing = people.iter().flat_map(|person| &person.sign_ins);
            let missing = missing.filter(|trace| !recorded.contains_key(*trace)).count();
            let duplicated = recorded.values().filter(|count| **count > 1).count();
            ensure!(missing + duplicated == 0, "{missing} missing, {duplicated} duplicated");
            Ok(())
        })
        .await?;
        visits.doubled_mails = until("the mail of every sign-out", MAILED_WITHIN, async || {
            let (mut missing, mut duplicated) = (0, 0);
            let mails = self.mailbox.logout_mails().await?;
            for person in &people {
                let (all, own) = mails
                    .get(&person.email)
                    .map_or((0, 0), |ids| (ids.len(), ids.iter().collect::<BTreeSet<_>>().len()));
                missing += person.sign_outs.saturating_sub(own);
                duplicated += all - own;
            }
            ensure!(missing == 0, "{missing} missing");
            Ok(duplicated)
        })
        .await?;
        Ok(visits)
    }
}

impl Pace {
    /// Returns the total number of allowed requests.
    fn allow(&self, more: u64) -> Result<u64> {
        self.allowed.add_permits(usize::try_from(more)?);
        Ok(self.given.fetch_add(more, Ordering::Relaxed) + more)
    }

    async fn begin(&self) -> Result<()> {
        self.allowed.acquire().await?.forget();
        Ok(())
    }

    fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

async fn create_user(admin: &Broker) -> Result<String> {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let user = json!({
        "email": email, "first_name": "Ann", "last_name": "Other", "password": PASSWORD, "role": "user",
    });
    let users = admin.at("/v1/users");
    let reply = admin.signed_in(|http| http.post(&users).json(&user)).await?;
    ensure!(reply.status == 201, "failed to create a user: {} {}", reply.status, reply.body);
    Ok(email)
}

async fn run_all(admin: Broker, emails: Vec<String>, pace: Pace) -> Result<Vec<Person>> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut visits = JoinSet::new();
    for email in emails {
        let broker = Broker::signing_in(admin.at(""), &email, PASSWORD)?;
        let (slots, pace) = (Arc::clone(&slots), pace.clone());
        visits.spawn(async move {
            let _slot = slots.acquire_owned().await?;
            visit(broker, email, &pace).await
        });
    }
    let mut people = Vec::new();
    while let Some(person) = visits.join_next().await {
        people.push(person??);
    }
    Ok(people)
}

async fn visit(broker: Broker, email: String, pace: &Pace) -> Result<Person> {
    let mut person = Person { email, ..Person::default() };
    for _ in 0..ROUNDS {
        pace.begin().await?;
        let reply = answer(&mut person.repeated, || broker.sign_in()).await?;
        person.sign_ins.insert(reply.trace_id()?);
        pace.answered();
        let token = reply.body["data"]["access_token"].as_str().context("no access token")?.to_owned();
        pace.begin().await?;
        let sign_out = || Reply::of(broker.post("/logout", &json!({})).bearer_auth(&token));
        answer(&mut person.repeated, sign_out).await?;
        person.sign_outs += 1;
        pace.answered();
    }
    Ok(person)
}

/// Repeats a request until the status is 202.
async fn answer<F: Future<Output = Result<Reply>>>(
    repeated: &mut usize,
    request: impl Fn() -> F,
) -> Result<Reply> {
    let deadline = Instant::now() + ANSWERED_WITHIN;
    loop {
        let refused = match request().await {
            Ok(reply) if reply.status == 202 => return Ok(reply),
            Ok(reply) if [429, 503].contains(&reply.status) => anyhow!("{}: {}", reply.status, reply.body),
            // Clients do not repeat after other statuses.
            Ok(reply) => return Err(anyhow!("status {}: {}", reply.status, reply.body)),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(refused.context(format!("not answered within {ANSWERED_WITHIN:?}")));
        }
        *repeated += 1;
        sleep(REPEAT_AFTER).await;
    }
}

/// Counts the records of sign-ins by trace.
async fn recorded(admin: &Broker) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for entry in admin.entries(&[("service", "authentication"), ("text", "logged in")]).await? {
        let trace = entry["trace_id"].as_str().context("the record has no trace")?;
        *counts.entry(trace.to_owned()).or_default() += 1;
    }
    Ok(counts)
}
