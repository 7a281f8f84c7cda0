//! Public keys that access tokens are verified with: fetched from authentication, and kept while authentication is unavailable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Instrument as _;
use weft_mesh::Channel;
use weft_proto::weft::auth::v1::GetSigningKeysRequest;
use weft_proto::weft::auth::v1::auth_service_client::AuthServiceClient;
use weft_runtime::telemetry::chain;

use crate::token::KeySet;

/// Shortest time between the starts of two fetches, so that clients can't cause more of them with made-up key ids.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// A key set older than this is fetched again in the background.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// A key set older than this is fetched again before it is used, so that revoked keys are no longer accepted. If the last fetch failed,
/// the old set is used.
const EXPIRES_AFTER: Duration = Duration::from_secs(30);

/// The last fetched key set.
#[derive(Debug)]
pub(crate) struct Keys {
    authentication: AuthServiceClient<Channel>,
    fetched: RwLock<Option<Fetched>>,
    /// The last fetch failed: requests use the old set without waiting for the next fetch.
    unavailable: AtomicBool,
    /// The last fetch. The lock is not held during a fetch: requests that need the outcome wait for it together.
    last: Mutex<Option<Fetch>>,
}

#[derive(Debug, Clone)]
struct Fetched {
    set: Arc<KeySet>,
    /// When the fetch started.
    at: Instant,
}

/// Whether a set may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// Used while it is fetched again.
    Stale,
    /// Fetched again before it is used.
    Expired,
}

impl Freshness {
    fn of(age: Duration, unavailable: bool) -> Self {
        if age > EXPIRES_AFTER && !unavailable {
            Self::Expired
        } else if age > STALE_AFTER {
            Self::Stale
        } else {
            Self::Fresh
        }
    }
}

/// A fetch, running or finished.
#[derive(Debug)]
struct Fetch {
    started: Instant,
    task: AbortHandle,
    done: Shared<BoxFuture<'static, ()>>,
}

impl Keys {
    pub(crate) fn new(authentication: AuthServiceClient<Channel>) -> Arc<Self> {
        let (fetched, unavailable, last) = (RwLock::default(), AtomicBool::default(), Mutex::default());
        Arc::new(Self { authentication, fetched, unavailable, last })
    }

    /// The key set; fetched again if it does not have this key. `None` if no set was ever fetched.
    pub(crate) async fn with(self: &Arc<Self>, key_id: &str) -> Option<Arc<KeySet>> {
        self.usable(|set| set.has(key_id)).await
    }

    /// The key set, whichever keys it has.
    pub(crate) async fn any(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        self.usable(|_| true).await
    }

    /// Fetches the key set again because it has just changed.
    pub(crate) async fn renew(self: &Arc<Self>) {
        // A running fetch may have started before the change.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.fetch().await;
    }

    async fn usable(self: &Arc<Self>, accepts: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        match self.fetched().filter(|fetched| accepts(&fetched.set)) {
            Some(Fetched { set, at }) => {
                match Freshness::of(at.elapsed(), self.unavailable.load(Ordering::Relaxed)) {
                    Freshness::Fresh => {}
                    Freshness::Stale => drop(self.fetch()),
                    Freshness::Expired => {
                        self.fetch().await;
                        return self.fetched().map(|fetched| fetched.set);
                    }
                }
                Some(set)
            }
            None => {
                self.fetch().await;
                self.fetched().map(|fetched| fetched.set)
            }
        }
    }

    /// Returns the running fetch, or starts a new one unless the last one started just now. A fetch runs in its own task, so it does
    /// not end with the request that started it, and the next request can wait for it.
    fn fetch(self: &Arc<Self>) -> Shared<BoxFuture<'static, ()>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Fetch { started, task, done }) = &*last
            && (!task.is_finished() || started.elapsed() < MIN_FETCH_INTERVAL)
        {
            return done.clone();
        }
        let fetching = tokio::spawn(Arc::clone(self).fetch_once().in_current_span());
        let task = fetching.abort_handle();
        let done = fetching.map(drop).boxed().shared();
        *last = Some(Fetch { started: Instant::now(), task, done: done.clone() });
        done
    }

    /// Fetches the key set; on failure the old set stays.
    async fn fetch_once(self: Arc<Self>) {
        let at = Instant::now();
        let set = self.ask().await;
        self.unavailable.store(set.is_none(), Ordering::Relaxed);
        let Some(set) = set.map(Arc::new) else { return };
        let mut fetched = self.fetched.write().unwrap_or_else(PoisonError::into_inner);
        // A fetch that started earlier may end later.
        if fetched.as_ref().is_none_or(|known| known.at <= at) {
            *fetched = Some(Fetched { set, at });
        }
    }

    async fn ask(&self) -> Option<KeySet> {
        let reply = match self.authentication.clone().get_signing_keys(GetSigningKeysRequest {}).await {
            Ok(reply) => reply.into_inner(),
            Err(status) => {
                let (code, reason) = (status.code(), status.message());
                tracing::warn!(?code, reason, "failed to fetch the signing keys");
                return None;
            }
        };
        let set = KeySet::parse(&reply.jwks);
        set.inspect_err(|error| {
            tracing::error!(reason = chain(error), "authentication sent an invalid key set")
        })
        .ok()
    }

    fn fetched(&self) -> Option<Fetched> {
        self.fetched.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_expires_after_30_seconds_unless_authentication_is_unavailable() {
        let of = |seconds, unavailable| Freshness::of(Duration::from_secs(seconds), unavailable);
        assert_eq!([of(0, false), of(10, false), of(10, true)], [Freshness::Fresh; 3]);
        assert_eq!([of(11, false), of(30, false), of(11, true), of(9_999, true)], [Freshness::Stale; 4]);
        assert_eq!([of(31, false), of(9_999, false)], [Freshness::Expired; 2]);
    }
}
