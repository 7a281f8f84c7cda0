use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weft_mesh::Caller;

use super::{AccountError, Accounts, ids};
use crate::outbox::Letter;
use crate::session::{Session, TokenState, refresh_hash};
use crate::store::{Compose, Which};
use crate::user::{Account, User};

/// Template of the sign-out mail.
const TEMPLATE: &str = "logout";

/// A request to sign out.
#[derive(Debug)]
pub struct SignOut {
    /// Names the session when the call has no valid access token.
    pub refresh_token: Option<SecretString>,
    /// Whether to end all of the caller's sessions.
    pub everywhere: bool,
}

impl Accounts {
    /// Ends the caller's session or that of the refresh token, or with `everywhere` all of the caller's sessions. Returns how many
    /// were open. If any was, the user gets a mail, unless the hourly limit is reached. No effect on ended sessions.
    ///
    /// # Errors
    /// [`AccountError::NotSignedIn`] when there is neither a caller nor a known refresh token. `everywhere` requires a caller
    /// with an open session; a refresh token is not enough.
    pub async fn sign_out(&self, caller: Option<&Caller>, sign_out: &SignOut) -> Result<usize, AccountError> {
        let which = if sign_out.everywhere {
            let (Account { user, .. }, _) = self.signed_in(caller).await?;
            Which::All { user_id: user.id }
        } else {
            match ids(caller) {
                Some((user_id, session_id)) => Which::One { user_id, session_id },
                None => return self.sign_out_by_token(sign_out.refresh_token.as_ref()).await,
            }
        };
        let ended =
            self.store.end_sessions(which, &self.open_at(), self.on_sign_out(sign_out.everywhere)).await?;
        self.wake.all();
        Ok(ended.len())
    }

    async fn sign_out_by_token(&self, token: Option<&SecretString>) -> Result<usize, AccountError> {
        let hash = token.and_then(|token| refresh_hash(token.expose_secret()));
        let hash = hash.ok_or(AccountError::NotSignedIn)?;
        let accounts = self.clone();
        let on_replay = move |user: &User, sessions: &[Session]| accounts.replay_entries(user, sessions);
        let (on_end, on_replay) = (self.on_sign_out(false), Box::new(on_replay));
        match self.store.end_by_token(&hash, &self.open_at(), on_end, on_replay).await? {
            None => return Err(AccountError::NotSignedIn),
            Some(TokenState::Ended) => return Ok(0),
            Some(TokenState::Valid) => self.wake.all(),
            Some(TokenState::Replay) => self.report_replay(),
        }
        Ok(1)
    }

    fn on_sign_out(&self, everywhere: bool) -> Compose {
        let accounts = self.clone();
        Box::new(move |user, ended| accounts.sign_out_letters(user, ended, everywhere))
    }

    fn sign_out_letters(&self, user: &User, ended: &[Session], everywhere: bool) -> Vec<Letter> {
        let what = if everywhere { "logged out everywhere" } else { "logged out" };
        let first = ended.first();
        let address = first.map(|session| session.client_address.clone()).unwrap_or_default();
        let time = self.now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let values = BTreeMap::from([
            ("email".to_owned(), user.email.clone()),
            ("first_name".to_owned(), user.first_name.clone()),
            ("time".to_owned(), time),
            ("address".to_owned(), address),
            // Templates treat an empty string as false.
            ("everywhere".to_owned(), if everywhere { "true" } else { "" }.to_owned()),
        ]);
        let entry = self.entry(user, first.map(|session| session.id), what);
        [Some(entry), self.mail(user, TEMPLATE, values)].into_iter().flatten().collect()
    }

    /// The caller's open sessions, newest first, and the id of the session of this call.
    ///
    /// # Errors
    /// When the caller is not signed in.
    pub async fn sessions(&self, caller: Option<&Caller>) -> Result<(Vec<Session>, Uuid), AccountError> {
        let (Account { user, .. }, current) = self.signed_in(caller).await?;
        Ok((self.store.open_sessions(user.id, &self.open_at()).await?, current))
    }

    /// Ends one of the caller's sessions. Idempotent.
    ///
    /// # Errors
    /// When the caller is not signed in, or never had this session.
    pub async fn revoke_session(
        &self,
        caller: Option<&Caller>,
        session_id: Uuid,
    ) -> Result<(), AccountError> {
        let (Account { user, .. }, _) = self.signed_in(caller).await?;
        let accounts = self.clone();
        let letters = move |user: &User, ended: &[Session]| {
            ended.iter().map(|session| accounts.entry(user, Some(session.id), "ended a session")).collect()
        };
        let which = Which::One { user_id: user.id, session_id };
        let ended = self.store.end_sessions(which, &self.open_at(), Box::new(letters)).await?;
        if ended.is_empty() && !self.store.has_session(user.id, session_id).await? {
            return Err(AccountError::NotFound("session"));
        }
        self.wake.all();
        Ok(())
    }
}
