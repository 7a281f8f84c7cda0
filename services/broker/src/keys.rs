//! The keys that access tokens are checked with: fetched from authentication, kept while it is away.

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
/// A set older than this is fetched anew, in the background: a key that was taken back has to go.
const STALE_AFTER: Duration = Duration::from_secs(300);

/// The keys as last fetched.
#[derive(Debug)]
pub(crate) struct Keys {
    authentication: AuthServiceClient<Channel>,
    fetched: RwLock<Option<Fetched>>,
    /// The last fetch. Never locked during a fetch: requests that need its outcome wait for it together.
    last: Mutex<Option<Fetch>>,
}

#[derive(Debug, Clone)]
struct Fetched {
    set: Arc<KeySet>,
    at: Instant,
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
        Arc::new(Self { authentication, fetched: RwLock::default(), last: Mutex::default() })
    }

    /// The set, fetched anew when it does not have this key. Nothing while none has ever come.
    pub(crate) async fn with(self: &Arc<Self>, key_id: &str) -> Option<Arc<KeySet>> {
        self.where_it(|set| set.has(key_id)).await
    }

    /// The set, whichever keys it has.
    pub(crate) async fn any(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        self.where_it(|_| true).await
    }

    async fn where_it(self: &Arc<Self>, suits: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        match self.fetched().filter(|fetched| suits(&fetched.set)) {
            Some(Fetched { set, at }) => {
                if at.elapsed() > STALE_AFTER {
                    drop(self.fetch());
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
        let reply = match self.authentication.clone().get_signing_keys(GetSigningKeysRequest {}).await {
            Ok(reply) => reply.into_inner(),
            Err(status) => {
                let (code, reason) = (status.code(), status.message());
                return tracing::warn!(?code, reason, "failed to fetch the signing keys");
            }
        };
        match KeySet::parse(&reply.jwks) {
            Ok(set) => {
                let fetched = Fetched { set: Arc::new(set), at: Instant::now() };
                *self.fetched.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
            }
            Err(error) => tracing::error!(reason = chain(&error), "authentication sent no key set"),
        }
    }

    fn fetched(&self) -> Option<Fetched> {
        self.fetched.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
