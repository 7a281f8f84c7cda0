//! Sessions and refresh tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::random::{self, Random};

/// A session of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub user_id: Uuid,
    pub created_at: Timestamp,
    /// When a refresh token of the session was last used.
    pub last_used_at: Timestamp,
    /// The absolute end.
    pub expires_at: Timestamp,
    pub client_address: String,
    pub user_agent: String,
}

/// Maximum lifetimes of sessions.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Without a refresh.
    pub idle: Duration,
    /// In total.
    pub absolute: Duration,
}

impl Lifetimes {
    /// Sessions that were last used at or before this time have ended.
    pub fn idle_since(&self, now: Timestamp) -> Timestamp {
        before(now, self.idle)
    }

    /// The absolute end of a session that begins now.
    pub fn end_of(&self, now: Timestamp) -> Timestamp {
        after(now, self.absolute)
    }
}

/// `time` plus `duration`, saturating.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// `time` minus `duration`, saturating.
pub fn before(time: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// The SHA-256 of a refresh token or reset token, which is stored in its place.
pub type RefreshHash = [u8; 32];

/// A new token of 256 bits in base64url, and its hash.
pub fn new_refresh_token(random: &dyn Random) -> (SecretString, RefreshHash) {
    token_of(&random::bytes(random))
}

/// A token of these bytes, and its hash.
pub fn token_of(bytes: &[u8; 32]) -> (SecretString, RefreshHash) {
    let text = URL_SAFE_NO_PAD.encode(bytes);
    let hash = Sha256::digest(text.as_bytes()).into();
    (text.into(), hash)
}

/// The hash of a token; `None` if the format is invalid.
pub fn refresh_hash(token: &str) -> Option<RefreshHash> {
    const LENGTH: usize = 43;
    let is_valid = token.len() == LENGTH && URL_SAFE_NO_PAD.decode(token).is_ok();
    is_valid.then(|| Sha256::digest(token.as_bytes()).into())
}

/// How long a superseded refresh token is still accepted, because replies and browser tabs may overtake each other.
const GRACE: Duration = Duration::from_secs(30);

/// What the store knows about a presented refresh token and its session.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// Whether the session was ended.
    pub ended: bool,
    /// When a token of the session was last used.
    pub last_used_at: Timestamp,
    /// The session's absolute end.
    pub expires_at: Timestamp,
    pub user_active: bool,
    pub uses: Uses,
}

/// First uses of a refresh token and of related tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// First use of this token.
    pub own: Option<Timestamp>,
    /// First use of this token or of a sibling, which is a token that was issued for the same parent.
    pub family: Option<Timestamp>,
    /// First use of a token that was issued for this one.
    pub successor: Option<Timestamp>,
}

/// The state of a presented refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// To be exchanged for the next token.
    Valid,
    /// The session has ended.
    Ended,
    /// A replay: another client has continued with this token or a sibling. Owner and thief can't be distinguished, so the session
    /// must end.
    Replay,
}

impl Presented {
    /// The state of the token at this time.
    pub fn state(&self, now: Timestamp, lifetimes: &Lifetimes) -> TokenState {
        let idle = self.last_used_at <= lifetimes.idle_since(now);
        if self.ended || self.expires_at <= now || idle || !self.user_active {
            TokenState::Ended
        } else if self.uses.acceptable(now) {
            TokenState::Valid
        } else {
            TokenState::Replay
        }
    }
}

impl Uses {
    /// A token is accepted:
    ///
    /// - while neither the token nor a sibling has been used (the usual refresh);
    /// - after its own use, while no token that was issued for it has been used (the reply may have been lost);
    /// - for [`GRACE`] after either of these ends (browser tabs share one cookie and may overtake each other).
    fn acceptable(&self, now: Timestamp) -> bool {
        let within_grace = |ended_at: Option<Timestamp>| ended_at.is_none_or(|at| now <= after(at, GRACE));
        within_grace(self.family) || (self.own.is_some() && within_grace(self.successor))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
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
        Presented { ended: false, last_used_at: at(0), expires_at, user_active: true, uses: Uses::default() }
    }

    #[test]
    fn a_session_ends_when_idle_and_at_its_absolute_end() {
        let state = |presented: Presented, now| presented.state(now, &LIFETIMES);
        assert_eq!(state(presented(), at(1_799)), TokenState::Valid);
        assert_eq!(state(presented(), at(1_800)), TokenState::Ended);
        let busy = |last| Presented { last_used_at: at(last), ..presented() };
        assert_eq!(state(busy(28_000), at(28_799)), TokenState::Valid);
        assert_eq!(state(busy(28_799), at(28_800)), TokenState::Ended);
    }

    #[test]
    fn rejects_tokens_of_ended_sessions_and_inactive_users() {
        for uses in [Uses::default(), Uses { own: Some(at(1)), family: Some(at(1)), successor: Some(at(2)) }]
        {
            let presented = Presented { uses, ..presented() };
            assert_eq!(Presented { ended: true, ..presented }.state(at(3), &LIFETIMES), TokenState::Ended);
            assert_eq!(
                Presented { user_active: false, ..presented }.state(at(3), &LIFETIMES),
                TokenState::Ended
            );
        }
    }

    #[test]
    fn accepts_a_token_for_30_seconds_after_it_was_superseded() {
        use TokenState::{Replay, Valid};
        // First uses of: the token, the token or a sibling, a token issued for it. Then the time and the expected result.
        for (own, family, successor, now, state) in [
            // Nothing was used.
            (None, None, None, 1_000, Valid),
            // It was used, but no token issued for it was: the reply was lost.
            (Some(100), Some(100), None, 101, Valid),
            (Some(100), Some(100), None, 1_700, Valid),
            // A token issued for it was used.
            (Some(100), Some(100), Some(200), 230, Valid),
            (Some(100), Some(100), Some(200), 231, Replay),
            // A sibling was used.
            (None, Some(100), None, 130, Valid),
            (None, Some(100), None, 131, Replay),
            // A sibling was used, then within the grace period the token itself: its reply may be lost too.
            (Some(120), Some(100), None, 1_000, Valid),
            (Some(120), Some(100), Some(121), 151, Valid),
            (Some(120), Some(100), Some(121), 152, Replay),
        ] {
            let uses = Uses { own: own.map(at), family: family.map(at), successor: successor.map(at) };
            let presented = Presented { last_used_at: at(now - 1), uses, ..presented() };
            assert_eq!(presented.state(at(now), &LIFETIMES), state, "{uses:?} at {now}");
        }
    }

    /// Model of a session's tokens in the store: parent and first use of each.
    struct Tokens {
        tokens: Vec<(Option<usize>, Option<Timestamp>)>,
        ended: bool,
    }

    impl Tokens {
        fn new() -> Self {
            Self { tokens: vec![(None, None)], ended: false }
        }

        /// The next token; `None` if the refresh ends the session.
        fn refresh(&mut self, token: usize, now: Timestamp) -> Option<usize> {
            let (parent, own) = self.tokens[token];
            let first = |of: &dyn Fn(usize, Option<usize>) -> bool| {
                let uses = self.tokens.iter().enumerate().filter(|(id, (parent, _))| of(*id, *parent));
                uses.filter_map(|(_, (_, used_at))| *used_at).min()
            };
            let uses = Uses {
                own,
                family: first(&|id, of| id == token || (of.is_some() && of == parent)),
                successor: first(&|_, of| of == Some(token)),
            };
            if self.ended || !uses.acceptable(now) {
                self.ended = true;
                return None;
            }
            self.tokens[token].1.get_or_insert(now);
            self.tokens.push((Some(token), None));
            Some(self.tokens.len() - 1)
        }
    }

    fn rng(seed: u64) -> rand::rngs::StdRng {
        rand::SeedableRng::seed_from_u64(seed)
    }

    #[test]
    fn never_signs_out_a_client_that_loses_replies() {
        for seed in 0..2_000 {
            let (mut random, mut session, mut held, mut now) = (rng(seed), Tokens::new(), 0, 0);
            for step in 0..50 {
                now += random.random_range(0..200);
                let next = session.refresh(held, at(now));
                let next = next.unwrap_or_else(|| panic!("seed {seed}: signed out at step {step}"));
                if random.random_bool(0.5) {
                    held = next;
                }
            }
        }
    }

    #[test]
    fn never_signs_out_tabs_that_share_a_cookie() {
        for seed in 0..2_000 {
            let (mut random, mut session, mut cookie, mut now) = (rng(seed), Tokens::new(), 0, 0);
            for round in 0..20 {
                now += random.random_range(1..1_000);
                let mut replies = Vec::new();
                for tab in 0..4 {
                    now += random.random_range(0..100);
                    let next = session.refresh(cookie, at(now));
                    replies.push(next.unwrap_or_else(|| panic!("seed {seed}: round {round}, tab {tab}")));
                }
                // The reply that arrives last sets the cookie.
                cookie = replies[random.random_range(0..replies.len())];
            }
        }
    }

    /// Two clients have the same token. Each continues with its own replies, never within the grace period of the other.
    #[test]
    fn detects_a_stolen_token_after_at_most_two_refreshes_each() {
        for seed in 0..2_000 {
            let (mut random, mut session, mut now) = (rng(seed), Tokens::new(), 0);
            let (mut held, mut times) = ([0, 0], [0, 0]);
            while times.iter().any(|times| *times < 2) {
                now += random.random_range(31..300);
                let who = usize::from(random.random_bool(0.5));
                times[who] += 1;
                match session.refresh(held[who], at(now)) {
                    Some(next) => held[who] = next,
                    None => break,
                }
            }
            assert!(session.ended, "seed {seed}: both are signed in after {times:?} refreshes");
        }
    }

    #[test]
    fn hashes_valid_tokens_and_rejects_other_text() {
        let (token, hash) = new_refresh_token(&FixedRandom(9));
        assert_eq!(refresh_hash(token.expose_secret()), Some(hash));
        for invalid in
            ["", "x", &"x".repeat(1 << 20), &"!".repeat(43), &format!("{}\n", token.expose_secret())]
        {
            assert_eq!(refresh_hash(invalid), None);
        }
    }
}
