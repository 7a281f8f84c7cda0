//! Sessions and the refresh tokens that keep them going.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::random::{self, Random};

/// What a person has between signing in and out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// A UUID.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// When it began.
    pub created_at: Timestamp,
    /// When its refresh token was last used.
    pub last_used_at: Timestamp,
    /// When it ends, whatever happens.
    pub expires_at: Timestamp,
    /// Where the person signed in from.
    pub client_address: String,
    /// With what.
    pub user_agent: String,
}

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Without a refresh.
    pub idle: Duration,
    /// At all.
    pub absolute: Duration,
}

impl Lifetimes {
    /// Sessions last used before this have ended.
    pub fn idle_since(&self, now: Timestamp) -> Timestamp {
        before(now, self.idle)
    }

    /// When a session that begins now ends.
    pub fn end_of(&self, now: Timestamp) -> Timestamp {
        after(now, self.absolute)
    }
}

/// So long after; the end of time at most.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// So long before; the beginning of time at least.
pub fn before(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// What is kept of a refresh token: the token itself can't be had from it.
pub type RefreshHash = [u8; 32];

/// A new refresh token, 256 bits in base64url, and what is kept of it.
pub fn new_refresh_token(random: &dyn Random) -> (SecretString, RefreshHash) {
    let text = URL_SAFE_NO_PAD.encode(random::bytes::<32>(random));
    let hash = Sha256::digest(text.as_bytes()).into();
    (text.into(), hash)
}

/// What would be kept of this token; `None` when it can't be one of ours.
pub fn refresh_hash(token: &str) -> Option<RefreshHash> {
    const LENGTH: usize = 43;
    let ours = token.len() == LENGTH && URL_SAFE_NO_PAD.decode(token).is_ok();
    ours.then(|| Sha256::digest(token.as_bytes()).into())
}

/// A refresh token as the store has it, with its session and whether that is open.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// It was used before.
    pub used: bool,
    /// The session was ended.
    pub ended: bool,
    /// When the session's token was last used.
    pub last_used_at: Timestamp,
    /// When the session ends, whatever happens.
    pub expires_at: Timestamp,
    /// Its user may sign in.
    pub user_active: bool,
}

/// What a presented refresh token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// The next one.
    Next,
    /// Nothing: its session has ended.
    Over,
    /// It was used before: whoever has the other copy must not go on, and the two can't be told apart.
    Replay,
}

impl Presented {
    /// Judges it.
    pub fn worth(&self, now: Timestamp, lifetimes: &Lifetimes) -> Worth {
        let idle = self.last_used_at <= lifetimes.idle_since(now);
        if self.ended || self.expires_at <= now || idle || !self.user_active {
            Worth::Over
        } else if self.used {
            Worth::Replay
        } else {
            Worth::Next
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::random::FixedRandom;

    const LIFETIMES: Lifetimes =
        Lifetimes { idle: Duration::from_secs(1_800), absolute: Duration::from_secs(28_800) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    fn presented() -> Presented {
        let expires_at = LIFETIMES.end_of(at(0));
        Presented { used: false, ended: false, last_used_at: at(0), expires_at, user_active: true }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_at_its_absolute_end() {
        let worth = |presented: Presented, now| presented.worth(now, &LIFETIMES);
        assert_eq!(worth(presented(), at(1_799)), Worth::Next);
        assert_eq!(worth(presented(), at(1_800)), Worth::Over);
        let busy = |last| Presented { last_used_at: at(last), ..presented() };
        assert_eq!(worth(busy(28_000), at(28_799)), Worth::Next);
        assert_eq!(worth(busy(28_799), at(28_800)), Worth::Over);
    }

    #[test]
    fn a_used_token_of_an_open_session_is_a_replay() {
        let used = Presented { used: true, ..presented() };
        assert_eq!(used.worth(at(1), &LIFETIMES), Worth::Replay);
        assert_eq!(Presented { ended: true, ..used }.worth(at(1), &LIFETIMES), Worth::Over);
        assert_eq!(Presented { user_active: false, ..presented() }.worth(at(1), &LIFETIMES), Worth::Over);
    }

    #[test]
    fn a_token_is_known_again_and_rubbish_is_none() {
        let (token, hash) = new_refresh_token(&FixedRandom(9));
        assert_eq!(refresh_hash(token.expose_secret()), Some(hash));
        for rubbish in
            ["", "x", &"x".repeat(1 << 20), &"!".repeat(43), &format!("{}\n", token.expose_secret())]
        {
            assert_eq!(refresh_hash(rubbish), None);
        }
    }
}
