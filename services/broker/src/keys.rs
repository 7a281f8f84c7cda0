//! The keys that access tokens are checked with: fetched from authentication, kept while it is away.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use weft_mesh::Channel;
use weft_proto::weft::auth::v1::GetSigningKeysRequest;
use weft_proto::weft::auth::v1::auth_service_client::AuthServiceClient;
use weft_runtime::telemetry::chain;

use crate::token::KeySet;

/// Between two fetches, whatever key ids clients make up.
const FLOOR: Duration = Duration::from_secs(1);
/// A set older than this is fetched anew, in the background: a key that was taken back has to go.
const STALE_AFTER: Duration = Duration::from_secs(300);

/// The keys as last fetched.
#[derive(Debug)]
pub(crate) struct Keys {
    authentication: AuthServiceClient<Channel>,
    fetched: RwLock<Option<Fetched>>,
    /// When the last fetch began; held during one, so that there is one at a time.
    attempt: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone)]
struct Fetched {
    set: Arc<KeySet>,
    at: Instant,
}

impl Keys {
    pub(crate) fn new(authentication: AuthServiceClient<Channel>) -> Arc<Self> {
        Arc::new(Self { authentication, fetched: RwLock::default(), attempt: Mutex::default() })
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
                    tokio::spawn(Arc::clone(self).fetch_apart());
                }
                Some(set)
            }
            None => {
                self.fetch().await;
                self.fetched().map(|fetched| fetched.set)
            }
        }
    }

    async fn fetch_apart(self: Arc<Self>) {
        self.fetch().await;
    }

    /// Fetches the set, unless that was just done; a failure leaves what is there.
    async fn fetch(&self) {
        let mut attempt = self.attempt.lock().await;
        if attempt.is_some_and(|at| at.elapsed() < FLOOR) {
            return;
        }
        *attempt = Some(Instant::now());
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
