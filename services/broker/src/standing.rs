//! Checks with authentication that the session and the role of a viewer or admin are still valid. An access token only says what was
//! valid when it was issued.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use weft_mesh::Caller;
use weft_mesh::caller::Role;
use weft_proto::weft::auth::v1::GetUserRequest;

use crate::reply::ApiError;
use crate::upstream::{self, AuthClient, on_behalf};
use crate::user;

/// How old an answer of authentication may be for a read.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// Upper bound on cached answers. Only answers about viewers and admins are cached.
const MAX_CACHED: usize = 1_024;

/// The last answer of authentication about each user's session.
#[derive(Debug, Default)]
pub(crate) struct Standings(Mutex<HashMap<(String, String), Standing>>);

#[derive(Debug, Clone, Copy)]
struct Standing {
    role: Role,
    asked_at: Instant,
}

/// What a request needs the role for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer up to [`FRESH_FOR`] old is enough.
    Read,
    /// Authentication is always asked.
    Change,
}

impl Standings {
    /// The caller's current role.
    ///
    /// # Errors
    /// 401 when the session has ended, 503 when authentication can't be reached in time.
    pub(crate) async fn role(
        &self,
        authentication: &AuthClient,
        caller: &Caller,
        purpose: Purpose,
    ) -> Result<Role, ApiError> {
        let key = (caller.user.clone(), caller.session.clone());
        let now = Instant::now();
        let known = self.all().get(&key).copied().filter(|known| known.is_fresh(now));
        if let Some(known) = known.filter(|_| purpose == Purpose::Read) {
            return Ok(known.role);
        }
        let call = on_behalf(caller, GetUserRequest {})?;
        let user = match authentication.clone().get_user(call).await {
            Ok(reply) => reply.into_inner().user,
            Err(status) => {
                if status.code() == Code::Unauthenticated {
                    self.all().remove(&key);
                }
                return Err(upstream::authentication(&status));
            }
        };
        let user = user.ok_or_else(|| upstream::invalid_reply("authentication", "user"))?;
        let role = user::Role::from(user.role()).into();
        // The age counts from before the call, because the answer may be that old.
        self.keep(key, Standing { role, asked_at: now });
        Ok(role)
    }

    fn keep(&self, key: (String, String), standing: Standing) {
        let mut all = self.all();
        if all.len() >= MAX_CACHED && !all.contains_key(&key) {
            all.retain(|_, known| known.is_fresh(standing.asked_at));
            if all.len() >= MAX_CACHED {
                all.clear();
            }
        }
        all.insert(key, standing);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(String, String), Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn is_fresh(self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked_at) <= FRESH_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: usize) -> (String, String) {
        (format!("user {user}"), "session".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_fresh_for_30_seconds() {
        let standing = Standing { role: Role::Admin, asked_at: Instant::now() };
        tokio::time::advance(FRESH_FOR).await;
        assert!(standing.is_fresh(Instant::now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!standing.is_fresh(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn cached_answers_are_bounded_and_old_ones_are_evicted_first() {
        let standings = Standings::default();
        let keep = |user| standings.keep(key(user), Standing { role: Role::Admin, asked_at: Instant::now() });
        (0..MAX_CACHED - 1).for_each(keep);
        tokio::time::advance(FRESH_FOR * 2).await;
        keep(MAX_CACHED);
        keep(MAX_CACHED + 1);
        assert_eq!(standings.all().len(), 2);
        (0..3 * MAX_CACHED).for_each(keep);
        assert!(standings.all().len() <= MAX_CACHED);
    }
}
