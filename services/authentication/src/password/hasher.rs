//! Hashing on threads of its own, so that sign-ins starve nothing else.
//!
//! New hashes are argon2id (m = 19 MiB, t = 2, p = 1: OWASP's least, about 20 ms of one core), of the prepared password. bcrypt, as
//! the original keeps it, is accepted; a sign-in replaces it, every argon2id of other parameters, and every hash of a password that was
//! not prepared.

use std::sync::Arc;
use std::time::Instant;

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

use weft_values::password::prepare;

use super::memory::{Memory, Spare};
use crate::config::HashConfig;
use crate::metrics::Metrics;
use crate::random::{self, Random};

const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const BCRYPT: [&str; 3] = ["$2a$", "$2b$", "$2y$"];
/// bcrypt reads no further.
const BCRYPT_BYTES: usize = 72;

/// Checks and makes hashes. Clones share the threads.
#[derive(Debug, Clone)]
pub struct Hasher {
    /// A permit for each hash at work or waiting.
    room: Arc<Semaphore>,
    /// A permit for each hash at work.
    threads: Arc<Semaphore>,
    /// How many may be at work or wait where nobody waits.
    quiet: usize,
    spare: Spare,
    dummy: Arc<str>,
    random: Arc<dyn Random>,
    metrics: Metrics,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is another password.
    Wrong,
    /// It is the password.
    Right {
        /// The same password's hash as it is kept today, when the stored one is of an older kind.
        renewed: Option<String>,
    },
}

/// Why nothing was hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Enough others wait already.
    #[error("too many passwords wait to be checked")]
    Busy,
    /// The hash could not be made.
    #[error("failed to hash a password")]
    Hash(#[from] argon2::password_hash::Error),
    /// The parameters are none.
    #[error("failed to prepare argon2id")]
    Parameters(#[from] argon2::Error),
    /// The thread ended early.
    #[error("failed to finish a hash")]
    Thread(#[from] JoinError),
    /// The process is ending.
    #[error("failed to get a thread for a hash")]
    Closed(#[from] AcquireError),
}

impl Hasher {
    /// A hasher with so many threads. Makes one hash, that of nobody's password.
    ///
    /// # Errors
    /// When argon2id can't be used here.
    pub fn new(config: HashConfig, random: Arc<dyn Random>, metrics: Metrics) -> Result<Self, HashError> {
        let nobody = uuid::Uuid::from_bytes(random::bytes(&*random)).to_string();
        let dummy = hash(&nobody, &random::bytes(&*random), &mut Memory::new())?.into();
        Ok(Self {
            room: Arc::new(Semaphore::new(config.threads + config.queue)),
            threads: Arc::new(Semaphore::new(config.threads)),
            quiet: config.queue,
            spare: Spare::default(),
            dummy,
            random,
            metrics,
        })
    }

    /// Checks a password. Without a stored hash it takes the time of a check all the same, and is wrong.
    ///
    /// # Errors
    /// When too many wait.
    ///
    /// # Cancellation
    /// Dropped while it waits, it gives up its place; dropped while the thread works, the thread ends its hash.
    pub async fn verify(&self, password: &SecretString, stored: Option<&str>) -> Result<Verdict, HashError> {
        let (known, stored) = (stored.is_some(), stored.unwrap_or(&self.dummy).to_owned());
        let (password, salt) = (password.clone(), random::bytes::<16>(&*self.random));
        let right = move |memory: &mut _| verify(password.expose_secret(), &stored, &salt, memory);
        let verdict = self.run(right).await??;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn hash(&self, password: &SecretString) -> Result<String, HashError> {
        let (password, salt) = (password.clone(), random::bytes::<16>(&*self.random));
        self.run(move |memory: &mut _| {
            hash(prepared(password.expose_secret()).expose_secret(), &salt, memory)
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| HashError::Busy)?;
        let waiting = self.metrics.hash_waits();
        let thread = Arc::clone(&self.threads).acquire_owned().await?;
        drop(waiting);
        let (metrics, spare, room, quiet) =
            (self.metrics.clone(), self.spare.clone(), Arc::clone(&self.room), self.quiet);
        Ok(spawn_blocking(move || {
            let _held: [OwnedSemaphorePermit; 2] = [place, thread];
            let begun = Instant::now();
            let mut memory = spare.take();
            let outcome = work(&mut memory);
            if room.available_permits() < quiet {
                spare.keep(memory);
            } else {
                spare.free();
            }
            metrics.hashed(begun.elapsed());
            outcome
        })
        .await?)
    }
}

fn argon2id() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The bytes of a password's hash by today's parameters.
fn digest(password: &[u8], salt: &[u8], memory: &mut Memory) -> Result<Output, HashError> {
    let argon2 = argon2id()?;
    // Whatever an earlier hash left in it is overwritten before it is read.
    memory.resize(argon2.params().block_count(), Block::default());
    let mut digest = [0; Params::DEFAULT_OUTPUT_LEN];
    argon2.hash_password_into_with_memory(password, salt, &mut digest, memory)?;
    Ok(Output::new(&digest).map_err(argon2::password_hash::Error::from)?)
}

fn hash(prepared: &str, salt: &[u8; 16], memory: &mut Memory) -> Result<String, HashError> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2id()?.params().try_into()?,
        salt: Some(Salt::new(salt).map_err(argon2::password_hash::Error::from)?),
        hash: Some(digest(prepared.as_bytes(), salt, memory)?),
    };
    Ok(hash.to_string())
}

/// The prepared form, which is wiped from memory when it is dropped.
fn prepared(password: &str) -> SecretString {
    prepare(password).into_owned().into()
}

/// Checks the prepared password, and the password as it was typed where that differs: hashes of earlier versions are of those bytes.
fn verify(password: &str, stored: &str, salt: &[u8; 16], memory: &mut Memory) -> Result<Verdict, HashError> {
    let prepared = prepared(password);
    let of_prepared = matches(prepared.expose_secret().as_bytes(), stored, memory)?;
    // Hashed whether or not the first matched, so that the time does not tell which did.
    let of_typed = password != prepared.expose_secret() && matches(password.as_bytes(), stored, memory)?;
    if !of_prepared && !of_typed {
        return Ok(Verdict::Wrong);
    }
    let renew = !of_prepared || !is_todays(stored);
    let renewed = renew.then(|| hash(prepared.expose_secret(), salt, memory)).transpose()?;
    Ok(Verdict::Right { renewed })
}

/// Whether a stored hash is of exactly these bytes.
fn matches(password: &[u8], stored: &str, memory: &mut Memory) -> Result<bool, HashError> {
    if BCRYPT.iter().any(|kind| stored.starts_with(kind)) {
        // Hashed in any case, so that the time tells nothing.
        return match bcrypt::verify(password, stored) {
            Ok(right) => Ok(right && bcrypt_reads_all(password)),
            Err(error) => Ok(unreadable(&error)),
        };
    }
    let parsed = match PasswordHash::new(stored) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(unreadable(&error)),
    };
    if !is_todays(stored) {
        return Ok(argon2id()?.verify_password(password, &parsed).is_ok());
    }
    let (Some(salt), Some(expected)) = (&parsed.salt, &parsed.hash) else {
        return Ok(unreadable(&"it has no salt or no hash"));
    };
    // Its comparison takes the same time wherever they differ.
    Ok(*expected == digest(password, salt, memory)?)
}

/// Whether a bcrypt hash is of this password alone. bcrypt ignores what follows 72 bytes, and repeats a shorter password with a NUL
/// between: it can't tell `a` from `a\0a`.
fn bcrypt_reads_all(password: &[u8]) -> bool {
    password.len() <= BCRYPT_BYTES && !password.contains(&0)
}

fn unreadable(error: &dyn std::fmt::Display) -> bool {
    tracing::error!(%error, "a stored password hash can't be read: its user can't sign in");
    false
}

fn is_todays(stored: &str) -> bool {
    stored.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher as _;

    use super::*;
    use crate::random::FixedRandom;

    /// `verysecret`, as the original keeps it.
    const ORIGINAL: &str = "$2a$12$1zGLuYDDNvATh4RA4avbKuheAMpb1svexSzrQm7up.bnpwQHs0jNe";

    fn hasher(threads: usize, queue: usize) -> Hasher {
        let metrics = Metrics::register(&weft_runtime::metrics::Metrics::default());
        Hasher::new(HashConfig { threads, queue }, Arc::new(FixedRandom(7)), metrics).unwrap()
    }

    #[tokio::test]
    async fn what_was_hashed_is_right_and_all_else_wrong() {
        let hasher = hasher(1, 8);
        let hash = hasher.hash(&"correct horse".into()).await.unwrap();
        assert!(is_todays(&hash), "{hash}");
        let verdict = hasher.verify(&"correct horse".into(), Some(&hash)).await.unwrap();
        assert_eq!(verdict, Verdict::Right { renewed: None });
        assert_eq!(hasher.verify(&"Correct horse".into(), Some(&hash)).await.unwrap(), Verdict::Wrong);
        assert_eq!(hasher.verify(&"correct horse".into(), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn the_originals_bcrypt_is_right_and_renewed() {
        let hasher = hasher(1, 8);
        let verdict = hasher.verify(&"verysecret".into(), Some(ORIGINAL)).await.unwrap();
        let Verdict::Right { renewed: Some(renewed) } = verdict else { panic!("{verdict:?}") };
        assert!(is_todays(&renewed), "{renewed}");
        assert_eq!(hasher.verify(&"another".into(), Some(ORIGINAL)).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn more_than_72_bytes_never_match_a_bcrypt_hash() {
        let hasher = hasher(1, 8);
        for stored in ["x".repeat(72), "ü".repeat(36), "short".to_owned()] {
            let hash = bcrypt::hash(&stored, 4).unwrap();
            let verify = async |password: String| hasher.verify(&password.into(), Some(&hash)).await.unwrap();
            assert!(matches!(verify(stored.clone()).await, Verdict::Right { .. }), "{stored}");
            for other in [format!("{stored}y"), format!("{stored} and more"), format!("{stored}\0{stored}")] {
                assert_eq!(verify(other.clone()).await, Verdict::Wrong, "{other:?} for {stored}");
            }
        }
    }

    /// A hash of the bytes as they were typed, as earlier versions made it.
    fn hash_of_bytes(password: &str) -> String {
        let params = argon2id().unwrap();
        let hash: PasswordHash = params.hash_password_with_salt(password.as_bytes(), &[1; 16]).unwrap();
        assert!(is_todays(&hash.to_string()), "{hash}");
        hash.to_string()
    }

    #[tokio::test]
    async fn every_spelling_of_a_password_matches_its_hash() {
        let hasher = hasher(1, 8);
        let spellings = ["Ångström \u{fc}ber alles", "A\u{30a}ngstro\u{308}m\u{a0}u\u{308}ber\u{3000}alles"];
        for set in spellings {
            let hash = hasher.hash(&set.into()).await.unwrap();
            for typed in spellings {
                let verdict = hasher.verify(&typed.into(), Some(&hash)).await.unwrap();
                assert_eq!(verdict, Verdict::Right { renewed: None }, "{typed:?} for {set:?}");
            }
            assert_eq!(
                hasher.verify(&"Angstrom uber alles".into(), Some(&hash)).await.unwrap(),
                Verdict::Wrong
            );
        }
    }

    #[tokio::test]
    async fn a_hash_of_the_typed_bytes_matches_them_alone_and_is_renewed() {
        let hasher = hasher(1, 8);
        let (decomposed, composed) = ("Zoe\u{308}\u{a0}likes tulips", "Zo\u{eb} likes tulips");
        for old in [hash_of_bytes(decomposed), bcrypt::hash(decomposed, 4).unwrap()] {
            assert_eq!(hasher.verify(&composed.into(), Some(&old)).await.unwrap(), Verdict::Wrong);
            let verdict = hasher.verify(&decomposed.into(), Some(&old)).await.unwrap();
            let Verdict::Right { renewed: Some(renewed) } = verdict else { panic!("{verdict:?}") };
            for typed in [decomposed, composed] {
                let verdict = hasher.verify(&typed.into(), Some(&renewed)).await.unwrap();
                assert_eq!(verdict, Verdict::Right { renewed: None }, "{typed:?}");
            }
        }
    }

    #[tokio::test]
    async fn bcrypt_s_limit_holds_for_each_form_of_a_password_by_itself() {
        let hasher = hasher(1, 8);
        // 75 bytes as typed, 50 prepared.
        let typed = "u\u{308}".repeat(25);
        let prepared = prepare(&typed).into_owned();
        let of_typed = bcrypt::hash(&typed, 4).unwrap();
        assert_eq!(hasher.verify(&typed.clone().into(), Some(&of_typed)).await.unwrap(), Verdict::Wrong);
        let of_prepared = bcrypt::hash(&prepared, 4).unwrap();
        let verdict = hasher.verify(&typed.into(), Some(&of_prepared)).await.unwrap();
        assert!(matches!(verdict, Verdict::Right { renewed: Some(_) }), "{verdict:?}");
    }

    #[tokio::test]
    async fn a_weaker_argon2id_is_renewed_and_rubbish_is_wrong() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let weak: PasswordHash = weak.hash_password_with_salt(b"secret", &[1; 16]).unwrap();
        let hasher = hasher(1, 8);
        let verdict = hasher.verify(&"secret".into(), Some(&weak.to_string())).await.unwrap();
        assert!(matches!(verdict, Verdict::Right { renewed: Some(_) }), "{verdict:?}");
        for rubbish in ["", "plain", "$2a$12$short", "$argon2id$v=19$m=1"] {
            assert_eq!(
                hasher.verify(&"secret".into(), Some(rubbish)).await.unwrap(),
                Verdict::Wrong,
                "{rubbish}"
            );
        }
    }

    #[test]
    fn memory_that_was_used_gives_the_same_hash() {
        let (mut used, salt) = (Memory::new(), [3; 16]);
        let first = hash("first", &salt, &mut used).unwrap();
        let second = hash("second", &salt, &mut used).unwrap();
        assert_eq!(second, hash("second", &salt, &mut Memory::new()).unwrap());
        let argon2 = argon2id().unwrap();
        for (password, hash) in [(&b"first"[..], first), (b"second", second)] {
            let parsed = PasswordHash::new(&hash).unwrap();
            assert_eq!(argon2.verify_password(password, &parsed), Ok(()), "{hash} is not the crate's own");
        }
    }

    #[tokio::test]
    async fn memory_is_kept_only_while_somebody_waits() {
        let hasher = hasher(1, 8);
        let password = "x".into();
        let (a, b) = tokio::join!(hasher.hash(&password), hasher.hash(&password));
        assert_ne!(a.unwrap(), "", "{b:?}");
        assert!(hasher.spare.take().is_empty(), "19 MiB are kept for nobody");
    }

    #[tokio::test]
    async fn past_the_queue_nobody_waits() {
        let hasher = hasher(1, 1);
        let password = "x".into();
        let (a, b, c) = tokio::join!(hasher.hash(&password), hasher.hash(&password), hasher.hash(&password));
        let busy = [a, b, c].iter().filter(|hash| matches!(hash, Err(HashError::Busy))).count();
        assert_eq!(busy, 1);
    }
}
