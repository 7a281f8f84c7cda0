//! The keys that access tokens are checked with: fetched from authentication, kept while it is away.

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

/// Between the beginnings of two fetches, whatever key ids clients make up.
const FLOOR: Duration = Duration::from_secs(1);
/// A set older than this is fetched again, in the background.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// A set older than this is fetched again before it is used, unless the last fetch has failed: a key that was revoked has to go.
const EXPIRES_AFTER: Duration = Duration::from_secs(30);

/// The keys as last fetched.
#[derive(Debug)]
pub(crate) struct Keys {
    authentication: AuthServiceClient<Channel>,
    fetched: RwLock<Option<Fetched>>,
    /// The last fetch has failed: nobody waits for the next one while there is a set.
    away: AtomicBool,
    /// The last fetch. Never locked during a fetch: requests that need its outcome wait for it together.
    last: Mutex<Option<Fetch>>,
}

#[derive(Debug, Clone)]
struct Fetched {
    set: Arc<KeySet>,
    /// When its fetch began.
    at: Instant,
}

/// What a set may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Fresh,
    /// It is used while it is fetched again.
    Stale,
    /// It is fetched again before it is used.
    Expired,
}

impl Freshness {
    fn of(age: Duration, away: bool) -> Self {
        if age > EXPIRES_AFTER && !away {
            Self::Expired
        } else if age > STALE_AFTER {
            Self::Stale
        } else {
            Self::Fresh
        }
    }
}

/// A fetch, under way or over.
#[derive(Debug)]
struct Fetch {
    began: Instant,
    task: AbortHandle,
    done: Shared<BoxFuture<'static, ()>>,
}

impl Keys {
    pub(crate) fn new(authentication: AuthServiceClient<Channel>) -> Arc<Self> {
        let (fetched, away, last) = (RwLock::default(), AtomicBool::default(), Mutex::default());
        Arc::new(Self { authentication, fetched, away, last })
    }

    /// The set, fetched anew when it does not have this key. Nothing while none has ever come.
    pub(crate) async fn with(self: &Arc<Self>, key_id: &str) -> Option<Arc<KeySet>> {
        self.where_it(|set| set.has(key_id)).await
    }

    /// The set, whichever keys it has.
    pub(crate) async fn any(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        self.where_it(|_| true).await
    }

    /// Fetches the set again, since it has just changed.
    pub(crate) async fn renew(self: &Arc<Self>) {
        // One that is under way may have begun before the change.
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.fetch().await;
    }

    async fn where_it(self: &Arc<Self>, suits: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        match self.fetched().filter(|fetched| suits(&fetched.set)) {
            Some(Fetched { set, at }) => {
                match Freshness::of(at.elapsed(), self.away.load(Ordering::Relaxed)) {
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

    /// The fetch that is under way, or else a new one unless the last began just now. It runs in a task of its own, so that it
    /// neither ends with the request that began it nor is begun again by the next.
    fn fetch(self: &Arc<Self>) -> Shared<BoxFuture<'static, ()>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Fetch { began, task, done }) = &*last
            && (!task.is_finished() || began.elapsed() < FLOOR)
        {
            return done.clone();
        }
        let fetching = tokio::spawn(Arc::clone(self).fetch_once().in_current_span());
        let task = fetching.abort_handle();
        let done = fetching.map(drop).boxed().shared();
        *last = Some(Fetch { began: Instant::now(), task, done: done.clone() });
        done
    }

    /// Fetches the set; a failure leaves what is there.
    async fn fetch_once(self: Arc<Self>) {
        let at = Instant::now();
        let set = self.ask().await;
        self.away.store(set.is_none(), Ordering::Relaxed);
        let Some(set) = set.map(Arc::new) else { return };
        let mut fetched = self.fetched.write().unwrap_or_else(PoisonError::into_inner);
        // A fetch that began earlier may end later.
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
        set.inspect_err(|error| tracing::error!(reason = chain(error), "authentication sent no key set")).ok()
    }

    fn fetched(&self) -> Option<Fetched> {
        self.fetched.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_half_a_minute_is_not_used_unless_authentication_is_away() {
        let of = |seconds, away| Freshness::of(Duration::from_secs(seconds), away);
        assert_eq!([of(0, false), of(10, false), of(10, true)], [Freshness::Fresh; 3]);
        assert_eq!([of(11, false), of(30, false), of(11, true), of(9_999, true)], [Freshness::Stale; 4]);
        assert_eq!([of(31, false), of(9_999, false)], [Freshness::Expired; 2]);
    }
}
