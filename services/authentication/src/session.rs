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

/// How long a refresh token is still accepted after it has been superseded: long enough for replies and tabs that overtake each
/// other.
const GRACE: Duration = Duration::from_secs(30);

/// A refresh token as the store has it, with its session and whether that is open.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// The session was ended.
    pub ended: bool,
    /// When the session's token was last used.
    pub last_used_at: Timestamp,
    /// When the session ends, whatever happens.
    pub expires_at: Timestamp,
    /// Its user may sign in.
    pub user_active: bool,
    /// Who has used which token.
    pub uses: Uses,
}

/// First uses of a refresh token and of those around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// First use of this token.
    pub own: Option<Timestamp>,
    /// First use of this token or of a sibling: one that was issued for the same token.
    pub family: Option<Timestamp>,
    /// First use of a token that was issued for this one.
    pub successor: Option<Timestamp>,
}

/// What a presented refresh token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// The next token.
    Next,
    /// Nothing: its session has ended.
    Over,
    /// A replay: somebody else has gone on with this token or a sibling. The owner and a thief can't be told apart, so the session
    /// ends.
    Replay,
}

impl Presented {
    /// Judges it.
    pub fn worth(&self, now: Timestamp, lifetimes: &Lifetimes) -> Worth {
        let idle = self.last_used_at <= lifetimes.idle_since(now);
        if self.ended || self.expires_at <= now || idle || !self.user_active {
            Worth::Over
        } else if self.uses.acceptable(now) {
            Worth::Next
        } else {
            Worth::Replay
        }
    }
}

impl Uses {
    /// A token is accepted
    ///
    /// - while neither it nor a sibling has been used: this is the usual refresh;
    /// - after its own use, while none of the tokens issued for it has been used: their replies may have been lost;
    /// - for [`GRACE`] after either of these ends: tabs of a browser share one cookie and may overtake each other.
    fn acceptable(&self, now: Timestamp) -> bool {
        let not_over = |ended_at: Option<Timestamp>| ended_at.is_none_or(|at| now <= after(at, GRACE));
        not_over(self.family) || (self.own.is_some() && not_over(self.successor))
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
    fn a_session_ends_when_it_is_idle_and_at_its_absolute_end() {
        let worth = |presented: Presented, now| presented.worth(now, &LIFETIMES);
        assert_eq!(worth(presented(), at(1_799)), Worth::Next);
        assert_eq!(worth(presented(), at(1_800)), Worth::Over);
        let busy = |last| Presented { last_used_at: at(last), ..presented() };
        assert_eq!(worth(busy(28_000), at(28_799)), Worth::Next);
        assert_eq!(worth(busy(28_799), at(28_800)), Worth::Over);
    }

    #[test]
    fn no_token_of_an_ended_session_or_an_inactive_user_is_worth_anything() {
        for uses in [Uses::default(), Uses { own: Some(at(1)), family: Some(at(1)), successor: Some(at(2)) }]
        {
            let presented = Presented { uses, ..presented() };
            assert_eq!(Presented { ended: true, ..presented }.worth(at(3), &LIFETIMES), Worth::Over);
            assert_eq!(Presented { user_active: false, ..presented }.worth(at(3), &LIFETIMES), Worth::Over);
        }
    }

    #[test]
    fn a_token_is_accepted_until_30_seconds_after_somebody_else_has_gone_on() {
        use Worth::{Next, Replay};
        // First uses of: the token, it or a sibling, a token issued for it. Then the moment, and the token's worth.
        for (own, family, successor, now, worth) in [
            // Nothing was used.
            (None, None, None, 1_000, Next),
            // It was used, and what was issued for it was not: the reply was lost.
            (Some(100), Some(100), None, 101, Next),
            (Some(100), Some(100), None, 1_700, Next),
            // A token issued for it was used.
            (Some(100), Some(100), Some(200), 230, Next),
            (Some(100), Some(100), Some(200), 231, Replay),
            // A sibling was used.
            (None, Some(100), None, 130, Next),
            (None, Some(100), None, 131, Replay),
            // A sibling was used, and then the token itself in time: its own reply may be lost too.
            (Some(120), Some(100), None, 1_000, Next),
            (Some(120), Some(100), Some(121), 151, Next),
            (Some(120), Some(100), Some(121), 152, Replay),
        ] {
            let uses = Uses { own: own.map(at), family: family.map(at), successor: successor.map(at) };
            let presented = Presented { last_used_at: at(now - 1), uses, ..presented() };
            assert_eq!(presented.worth(at(now), &LIFETIMES), worth, "{uses:?} at {now}");
        }
    }

    /// A session's tokens, as the store keeps them: each with the one that it was issued for and its first use.
    struct Tokens {
        tokens: Vec<(Option<usize>, Option<Timestamp>)>,
        ended: bool,
    }

    impl Tokens {
        fn new() -> Self {
            Self { tokens: vec![(None, None)], ended: false }
        }

        /// The next token, or nothing when this ends the session.
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
    fn a_client_that_loses_replies_is_never_signed_out() {
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
    fn tabs_that_refresh_at_once_with_one_cookie_never_sign_each_other_out() {
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
                // Whichever reply comes last.
                cookie = replies[random.random_range(0..replies.len())];
            }
        }
    }

    /// Two have the same token and each goes on with what it was given, never within half a minute of the other.
    #[test]
    fn a_thief_is_found_out_at_the_latest_when_the_second_of_two_refreshes_twice() {
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
            assert!(session.ended, "seed {seed}: both go on after {times:?} refreshes");
        }
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
