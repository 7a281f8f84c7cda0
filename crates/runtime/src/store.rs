//! A store that a service owns: why it did not do what it was asked, and what is told of it at `/readyz` and `/status`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::health::{Condition, Health};
use crate::status::{StatusBoard, StoreStatus};
use crate::telemetry::chain;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A pod waits for this before it becomes ready, so it is short.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Refused credentials stay refused until someone changes them, and each attempt costs the store a hash and a log line. Jitter
/// can double a pause.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_LONGEST: Duration = Duration::from_secs(15);
/// The pause does not grow after this many.
const REFUSALS_COUNTED: usize = 8;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or can't take this kind of call now.
    #[error("the store can't be reached")]
    Unavailable(#[source] Cause),
    /// It did not answer in time.
    #[error("the store did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It does not know our credentials, or they have not the rights. The setting that has them comes first.
    #[error("the store refuses the credentials in {0}")]
    Unauthorized(&'static str, #[source] Cause),
    /// It refused what it was asked.
    #[error("the store failed")]
    Failed(#[source] Cause),
}

impl StoreError {
    /// A name of the kind, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed_out",
            Self::Unauthorized(..) => "unauthorized",
            Self::Failed(_) => "failed",
        }
    }
}

/// What lies behind an error, shared by all calls that it met.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// A cause from any error or text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Tells how one store stands, each time that its owner has looked at it.
#[derive(Debug, Clone)]
pub struct StoreWatch {
    name: &'static str,
    ready: Condition,
    status: StatusBoard,
    /// The kind of the last failure, none after a success; logged when it changes.
    last: Option<Option<&'static str>>,
    /// How often in a row the store has refused the credentials.
    refusals: usize,
}

/// Pauses that grow to half a minute, for a store that refuses the credentials.
pub fn pauses_while_refused() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(REFUSED_FIRST)
        .with_max_delay(REFUSED_LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}

impl StoreWatch {
    /// Of the store of this name. The process is not ready before the first look has found it well.
    pub fn new(name: &'static str, health: &Health, status: StatusBoard) -> Self {
        let ready = health.condition(name);
        Self { name, ready, status, last: None, refusals: 0 }
    }

    /// Its schema is being changed, which may take its time.
    pub fn migrating(&self, version: &str, message: &str) {
        self.ready.missing(message);
        self.answers(false, version, Some(message));
    }

    /// It can be used while its schema is still being changed. Returns when to look again.
    pub fn usable(&mut self, version: &str, message: &str) -> Duration {
        if self.last.replace(None) != Some(None) {
            tracing::info!(
                store = self.name,
                version,
                reason = message,
                "the store is ready, but not migrated"
            );
        }
        self.refusals = 0;
        self.ready.fulfilled();
        self.answers(false, version, Some(message));
        LOOK_EVERY
    }

    /// A look found it well, of this version. Returns when to look again.
    pub fn well(&mut self, version: &str) -> Duration {
        if self.last.replace(None) != Some(None) {
            tracing::info!(store = self.name, version, "the store is ready");
        }
        self.refusals = 0;
        self.ready.fulfilled();
        self.answers(true, version, None);
        LOOK_EVERY
    }

    /// The store answers, and accepts the credentials.
    fn answers(&self, migrated: bool, version: &str, message: Option<&str>) {
        let (version, message) = (Some(version.to_owned()), message.map(str::to_owned));
        let status = StoreStatus { reachable: true, authenticated: true, migrated, version, message };
        self.status.set(self.name, status);
    }

    /// A look failed: for the store's own error, where there is one behind it. Returns when to look again.
    pub fn failed(
        &mut self,
        error: &(dyn Error + 'static),
        of_store: Option<&StoreError>,
        migrated: bool,
    ) -> Duration {
        let message = chain(error);
        let kind = of_store.map_or("other", StoreError::kind);
        if self.last.replace(Some(kind)) != Some(Some(kind)) {
            tracing::warn!(store = self.name, error = message, "the store is not ready");
        }
        self.ready.missing(message.clone());
        let (reachable, authenticated) = match of_store {
            None | Some(StoreError::Failed(_)) => (true, true),
            Some(StoreError::Unauthorized(..)) => (true, false),
            Some(StoreError::Unavailable(_) | StoreError::TimedOut(_)) => (false, false),
        };
        self.status.update(self.name, |status| {
            let version = status.version.take();
            *status = StoreStatus { reachable, authenticated, migrated, version, message: Some(message) };
        });
        if matches!(of_store, Some(StoreError::Unauthorized(..))) {
            let pause = pauses_while_refused().nth(self.refusals.min(REFUSALS_COUNTED));
            self.refusals += 1;
            return pause.unwrap_or(REFUSED_LONGEST);
        }
        self.refusals = 0;
        LOOK_AGAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_look_finds_is_told_and_the_version_is_kept() {
        let (health, board) = (Health::default(), StatusBoard::default());
        let mut watch = StoreWatch::new("mongodb", &health, board.clone());
        assert!(!health.is_ready());
        watch.migrating("7.0", "indexes are being made");
        assert!(health.missing()[0].contains("indexes are being made"));
        assert_eq!(watch.usable("7.0", "an index is still being built"), LOOK_EVERY);
        assert!(health.is_ready());
        let status = board.all()["mongodb"].clone();
        assert_eq!(
            (status.migrated, status.message.as_deref()),
            (false, Some("an index is still being built"))
        );
        assert_eq!(watch.well("7.0"), LOOK_EVERY);
        assert!(health.is_ready());
        assert!(board.all()["mongodb"].migrated);

        let away = StoreError::Unavailable(Cause::new("connection refused"));
        assert_eq!(watch.failed(&away, Some(&away), true), LOOK_AGAIN);
        assert_eq!(health.missing(), ["mongodb: the store can't be reached: connection refused"]);
        let status = board.all()["mongodb"].clone();
        assert_eq!((status.reachable, status.version.as_deref()), (false, Some("7.0")));

        let refused = StoreError::Unauthorized("MONGODB_URI", Cause::new("no"));
        watch.failed(&refused, Some(&refused), true);
        let status = board.all()["mongodb"].clone();
        assert_eq!((status.reachable, status.authenticated), (true, false));
        assert!(status.message.unwrap().contains("MONGODB_URI"));
    }

    #[test]
    fn a_store_that_refuses_the_credentials_is_asked_less_and_less_often() {
        let mut watch = StoreWatch::new("postgres", &Health::default(), StatusBoard::default());
        let refused = StoreError::Unauthorized("DATABASE_URL", Cause::new("no"));
        let pauses: Vec<_> = (0..20).map(|_| watch.failed(&refused, Some(&refused), false)).collect();
        let bounds = [1, 2, 4, 8].map(Duration::from_secs);
        for (pause, shortest) in pauses.iter().zip(bounds) {
            assert!((shortest..=shortest * 2).contains(pause), "{pauses:?}");
        }
        let settled = REFUSED_LONGEST..=REFUSED_LONGEST * 2;
        assert!(pauses.iter().skip(4).all(|pause| settled.contains(pause)), "{pauses:?}");

        let away = StoreError::Unavailable(Cause::new("connection refused"));
        assert_eq!(watch.failed(&away, Some(&away), false), LOOK_AGAIN);
        assert!(
            watch.failed(&refused, Some(&refused), false) <= REFUSED_FIRST * 2,
            "a new refusal starts again"
        );
    }

    #[test]
    fn a_line_is_logged_when_the_reason_changes_and_not_for_each_attempt() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut watch = StoreWatch::new("postgres", &Health::default(), StatusBoard::default());
            let refused = StoreError::Unauthorized("DATABASE_URL", Cause::new("no"));
            let away = StoreError::Unavailable(Cause::new("connection refused"));
            for error in [&refused, &refused, &refused, &away, &away, &refused] {
                watch.failed(error, Some(error), false);
            }
            watch.well("15.0");
            watch.well("15.0");
        });
        let lines = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let kinds: Vec<_> = lines
            .lines()
            .map(|line| {
                ["refuses the credentials", "can't be reached", "is ready"].map(|part| line.contains(part))
            })
            .collect();
        let (refused, away, well) = ([true, false, false], [false, true, false], [false, false, true]);
        assert_eq!(kinds, [refused, away, refused, well], "{lines}");
    }

    #[derive(Debug, Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_the_stores_fault_leaves_it_reachable() {
        let board = StatusBoard::default();
        let mut watch = StoreWatch::new("postgres", &Health::default(), board.clone());
        watch.failed(&fmt::Error, None, false);
        let status = board.all()["postgres"].clone();
        assert_eq!((status.reachable, status.authenticated, status.migrated), (true, true, false));
    }
}
