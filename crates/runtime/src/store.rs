//! Errors of a store that a service owns, and how its state is reported at `/readyz` and `/status`.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use crate::health::{Condition, Health};
use crate::status::{StatusBoard, StoreStatus};
use crate::telemetry::chain;

const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after a failed check. Short, because it delays the readiness of the pod.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Pauses while the store refuses the credentials: only a change of credentials helps, and each attempt costs the store a
/// password hash and a log line. Jitter can double a pause.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_LONGEST: Duration = Duration::from_secs(15);
/// Number of refusals after which the pause no longer grows.
const REFUSALS_COUNTED: usize = 8;

/// Why a call to a store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached, or can't serve this kind of call now.
    #[error("the store can't be reached")]
    Unavailable(#[source] Cause),
    /// The store did not answer in time.
    #[error("the store did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The store refuses the credentials, or they lack rights. The first field is the setting that holds the credentials.
    #[error("the store refuses the credentials in {0}")]
    Unauthorized(&'static str, #[source] Cause),
    /// The store rejected the call.
    #[error("the store failed")]
    Failed(#[source] Cause),
}

impl StoreError {
    /// Name of the variant, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed_out",
            Self::Unauthorized(..) => "unauthorized",
            Self::Failed(_) => "failed",
        }
    }
}

/// The underlying error, shared by all calls that failed with it.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Wraps an error or a text.
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

/// Reports the state of one store after each check.
#[derive(Debug, Clone)]
pub struct StoreWatch {
    name: &'static str,
    ready: Condition,
    status: StatusBoard,
    /// Result of the last check: kind of the failure, or `None` after a success. A change is logged.
    last: Option<Option<&'static str>>,
    /// Number of consecutive refusals of the credentials.
    refusals: usize,
}

/// Pauses between attempts while a store refuses the credentials; they grow up to 30 s.
pub fn pauses_while_refused() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(REFUSED_FIRST)
        .with_max_delay(REFUSED_LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}

impl StoreWatch {
    /// Watches the store of this name. The process is not ready until the first check has succeeded.
    pub fn new(name: &'static str, health: &Health, status: StatusBoard) -> Self {
        let ready = health.condition(name);
        Self { name, ready, status, last: None, refusals: 0 }
    }

    /// Reports that the schema is being migrated; the process is not ready.
    pub fn migrating(&self, version: &str, message: &str) {
        self.ready.missing(message);
        self.answers(false, version, Some(message));
    }

    /// Reports that the store can be used while its schema is still being migrated. Returns the time until the next check.
    pub fn usable(&mut self, version: &str, message: &str) -> Duration {
        if self.last.replace(None) != Some(None) {
            tracing::info!(
                store = self.name,
                version,
                reason = message,
                "the store is ready, migration pending"
            );
        }
        self.refusals = 0;
        self.ready.fulfilled();
        self.answers(false, version, Some(message));
        CHECK_INTERVAL
    }

    /// Reports a successful check. Returns the time until the next check.
    pub fn well(&mut self, version: &str) -> Duration {
        if self.last.replace(None) != Some(None) {
            tracing::info!(store = self.name, version, "the store is ready");
        }
        self.refusals = 0;
        self.ready.fulfilled();
        self.answers(true, version, None);
        CHECK_INTERVAL
    }

    /// The store answers, and accepts the credentials.
    fn answers(&self, migrated: bool, version: &str, message: Option<&str>) {
        let (version, message) = (Some(version.to_owned()), message.map(str::to_owned));
        let status = StoreStatus { reachable: true, authenticated: true, migrated, version, message };
        self.status.set(self.name, status);
    }

    /// Reports a failed check. `of_store` is the store's error, if that is the cause. Returns the time until the next check.
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
        RETRY_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_each_check_and_keeps_the_version() {
        let (health, board) = (Health::default(), StatusBoard::default());
        let mut watch = StoreWatch::new("mongodb", &health, board.clone());
        assert!(!health.is_ready());
        watch.migrating("7.0", "indexes are being made");
        assert!(health.missing()[0].contains("indexes are being made"));
        assert_eq!(watch.usable("7.0", "an index is still being built"), CHECK_INTERVAL);
        assert!(health.is_ready());
        let status = board.all()["mongodb"].clone();
        assert_eq!(
            (status.migrated, status.message.as_deref()),
            (false, Some("an index is still being built"))
        );
        assert_eq!(watch.well("7.0"), CHECK_INTERVAL);
        assert!(health.is_ready());
        assert!(board.all()["mongodb"].migrated);

        let away = StoreError::Unavailable(Cause::new("connection refused"));
        assert_eq!(watch.failed(&away, Some(&away), true), RETRY_INTERVAL);
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
    fn checks_less_often_while_the_credentials_are_refused() {
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
        assert_eq!(watch.failed(&away, Some(&away), false), RETRY_INTERVAL);
        assert!(
            watch.failed(&refused, Some(&refused), false) <= REFUSED_FIRST * 2,
            "a new refusal starts again"
        );
    }

    #[test]
    fn logs_once_for_each_change_of_the_reason() {
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
    fn stays_reachable_when_the_store_is_not_the_cause() {
        let board = StatusBoard::default();
        let mut watch = StoreWatch::new("postgres", &Health::default(), board.clone());
        watch.failed(&fmt::Error, None, false);
        let status = board.all()["postgres"].clone();
        assert_eq!((status.reachable, status.authenticated, status.migrated), (true, true, false));
    }
}
