use secrecy::{ExposeSecret as _, SecretString};

use super::{AccountError, Accounts, Tokens};
use crate::outbox::Letter;
use crate::session::{Session, new_refresh_token, refresh_hash};
use crate::store::Rotated;
use crate::user::User;

impl Accounts {
    /// Exchanges a refresh token for a new access token and the next refresh token.
    ///
    /// # Errors
    /// [`AccountError::NotSignedIn`] when the token is unknown, its session has ended, or it is a replay, which ends the session.
    pub async fn refresh(&self, token: &SecretString) -> Result<(User, Tokens), AccountError> {
        let outcome = self.try_refresh(token).await;
        self.metrics.refresh(match &outcome {
            Ok(_) => "refreshed",
            Err(AccountError::NotSignedIn) => "refused",
            Err(AccountError::Store(error)) => error.kind(),
            Err(_) => "failed",
        });
        outcome
    }

    async fn try_refresh(&self, token: &SecretString) -> Result<(User, Tokens), AccountError> {
        let presented = refresh_hash(token.expose_secret()).ok_or(AccountError::NotSignedIn)?;
        // Checked first, so that the token is not used up without a result.
        if self.keys.signer().is_none() {
            return Err(AccountError::NotReady);
        }
        let (next, next_hash) = new_refresh_token(&*self.random);
        let accounts = self.clone();
        let on_replay = move |user: &User, sessions: &[Session]| accounts.replay_entries(user, sessions);
        match self.store.rotate(&presented, &next_hash, &self.open_at(), Box::new(on_replay)).await? {
            Rotated::Next(next_session) => {
                let (user, session) = *next_session;
                let tokens = self.grant(&user, session, next)?;
                Ok((user, tokens))
            }
            Rotated::Refused => Err(AccountError::NotSignedIn),
            Rotated::Replay => {
                self.report_replay();
                Err(AccountError::NotSignedIn)
            }
        }
    }

    /// Reports a replay that has ended its session.
    pub(super) fn report_replay(&self) {
        self.metrics.refresh("replay");
        tracing::warn!("a superseded refresh token was presented; its session was ended");
        self.wake.all();
    }

    pub(super) fn replay_entries(&self, user: &User, sessions: &[Session]) -> Vec<Letter> {
        let entry = |session: &Session| {
            self.warning(user, session.id, "was signed out: a superseded refresh token was presented")
        };
        sessions.iter().map(entry).collect()
    }
}
