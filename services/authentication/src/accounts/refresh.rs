use secrecy::{ExposeSecret as _, SecretString};

use super::{AccountError, Accounts, Tokens};
use crate::outbox::Letter;
use crate::session::{Session, new_refresh_token, refresh_hash};
use crate::store::Rotated;
use crate::user::User;

impl Accounts {
    /// A new access token and the next refresh token.
    ///
    /// # Errors
    /// [`AccountError::NotSignedIn`] when the token is none, or its session has ended, as it has when a token is
    /// presented for the second time.
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
        // Else the token would be used up and nothing given for it.
        if self.keys.signer().is_none() {
            return Err(AccountError::NotReady);
        }
        let (next, next_hash) = new_refresh_token(&*self.random);
        let on_replay = |user: &User, sessions: &[Session]| self.replayed(user, sessions);
        match self.store.rotate(&presented, &next_hash, &self.open_at(), &on_replay).await? {
            Rotated::Next(next_session) => {
                let (user, session) = *next_session;
                let tokens = self.grant(&user, session, next)?;
                Ok((user, tokens))
            }
            Rotated::Refused => Err(AccountError::NotSignedIn),
            Rotated::Replay => {
                self.metrics.refresh("replay");
                tracing::warn!("a refresh token was presented twice: its session was ended");
                self.wake.all();
                Err(AccountError::NotSignedIn)
            }
        }
    }

    fn replayed(&self, user: &User, sessions: &[Session]) -> Vec<Letter> {
        let entry = |session: &Session| {
            self.warning(user, session.id, "was signed out: a refresh token was presented twice")
        };
        sessions.iter().map(entry).collect()
    }
}
