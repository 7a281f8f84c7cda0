//! Password hashing on a bounded number of blocking threads, so that sign-ins do not starve other calls.
//!
//! New hashes are argon2id of the prepared password (m = 19 MiB, t = 2, p = 1: OWASP's minimum, about 20 ms of one core). bcrypt
//! hashes of the Go original are accepted. A sign-in replaces bcrypt hashes, argon2id hashes with other parameters, and hashes of
//! passwords that were not prepared.

use std::sync::Arc;
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

use weft_values::password::prepare;

use crate::metrics::Metrics;
use crate::random::{self, Random};

const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const BCRYPT: [&str; 3] = ["$2a$", "$2b$", "$2y$"];
/// bcrypt ignores all bytes after these.
const BCRYPT_BYTES: usize = 72;

/// Concurrency of password hashes.
#[derive(Debug, Clone, Copy)]
pub struct HashConfig {
    /// `AUTH_HASH_THREADS`, default: the number of cores.
    pub threads: usize,
    /// `AUTH_HASH_QUEUE`, default 32 for each thread: length of the queue.
    pub queue: usize,
}

/// Creates and verifies password hashes. Clones share the threads.
#[derive(Debug, Clone)]
pub struct Hasher {
    /// One permit for each hash that runs or waits.
    room: Arc<Semaphore>,
    /// One permit for each hash that runs.
    threads: Arc<Semaphore>,
    /// Hash of a random password, verified in place of an unknown user's.
    dummy: Arc<str>,
    random: Arc<dyn Random>,
    metrics: Metrics,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    Right {
        /// A hash of the current kind to store instead, when the stored one is of an older kind.
        renewed: Option<String>,
    },
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The queue is full.
    #[error("too many passwords are being processed; try again after the time in Retry-After")]
    Busy,
    #[error("failed to hash a password")]
    Hash(#[from] argon2::password_hash::Error),
    /// The parameters are invalid.
    #[error("failed to set up argon2id")]
    Parameters(#[from] argon2::Error),
    /// The thread panicked or was cancelled.
    #[error("the thread of a password hash ended early")]
    Thread(#[from] JoinError),
    /// The process is shutting down.
    #[error("failed to get a thread for a password hash")]
    Closed(#[from] AcquireError),
}

impl Hasher {
    /// Creates a hasher. Computes the dummy hash.
    ///
    /// # Errors
    /// When argon2id fails.
    pub fn new(config: HashConfig, random: Arc<dyn Random>, metrics: Metrics) -> Result<Self, HashError> {
        let unknown = uuid::Uuid::from_bytes(random::bytes(&*random)).to_string();
        let dummy = hash(&unknown, &random::bytes(&*random))?.into();
        Ok(Self {
            room: Arc::new(Semaphore::new(config.threads + config.queue)),
            threads: Arc::new(Semaphore::new(config.threads)),
            dummy,
            random,
            metrics,
        })
    }

    /// Verifies a password. Without a stored hash the result is wrong, after the time of a verification.
    ///
    /// # Errors
    /// When the queue is full.
    ///
    /// # Cancellation
    /// A future that is dropped while it waits gives up its place. A hash that has begun runs to its end.
    pub async fn verify(&self, password: &SecretString, stored: Option<&str>) -> Result<Verdict, HashError> {
        let (known, stored) = (stored.is_some(), stored.unwrap_or(&self.dummy).to_owned());
        let (password, salt) = (password.clone(), random::bytes::<16>(&*self.random));
        let verdict = self.run(move || verify(password.expose_secret(), &stored, &salt)).await??;
        Ok(if known { verdict } else { Verdict::Wrong })
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// When the queue is full.
    pub async fn hash(&self, password: &SecretString) -> Result<String, HashError> {
        let (password, salt) = (password.clone(), random::bytes::<16>(&*self.random));
        self.run(move || hash(prepared(password.expose_secret()).expose_secret(), &salt)).await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let place = Arc::clone(&self.room).try_acquire_owned().map_err(|_| HashError::Busy)?;
        let waiting = self.metrics.hash_waits();
        let thread = Arc::clone(&self.threads).acquire_owned().await?;
        drop(waiting);
        let metrics = self.metrics.clone();
        Ok(spawn_blocking(move || {
            let _held: [OwnedSemaphorePermit; 2] = [place, thread];
            let begun = Instant::now();
            let outcome = work();
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

fn hash(prepared: &str, salt: &[u8; 16]) -> Result<String, HashError> {
    let hash: PasswordHash = argon2id()?.hash_password_with_salt(prepared.as_bytes(), salt)?;
    Ok(hash.to_string())
}

/// The prepared password, which is wiped from memory when dropped.
fn prepared(password: &str) -> SecretString {
    prepare(password).into_owned().into()
}

/// Verifies the prepared password and, if that differs, the password as typed, which earlier versions hashed.
fn verify(password: &str, stored: &str, salt: &[u8; 16]) -> Result<Verdict, HashError> {
    let prepared = prepared(password);
    let matches_prepared = matches(prepared.expose_secret().as_bytes(), stored)?;
    // Hashed even if the first matched, so that the time does not reveal which one did.
    let matches_typed = password != prepared.expose_secret() && matches(password.as_bytes(), stored)?;
    if !matches_prepared && !matches_typed {
        return Ok(Verdict::Wrong);
    }
    let renew = !matches_prepared || !is_current(stored);
    let renewed = renew.then(|| hash(prepared.expose_secret(), salt)).transpose()?;
    Ok(Verdict::Right { renewed })
}

/// Whether a stored hash is a hash of exactly these bytes.
fn matches(password: &[u8], stored: &str) -> Result<bool, HashError> {
    if BCRYPT.iter().any(|kind| stored.starts_with(kind)) {
        // Hashed before the length is checked, so that the time reveals nothing.
        return match bcrypt::verify(password, stored) {
            Ok(right) => Ok(right && bcrypt_reads_all(password)),
            Err(error) => Ok(unreadable(&error)),
        };
    }
    match PasswordHash::new(stored) {
        // Compares in constant time.
        Ok(parsed) => Ok(argon2id()?.verify_password(password, &parsed).is_ok()),
        Err(error) => Ok(unreadable(&error)),
    }
}

/// Whether bcrypt distinguishes this password from all others. bcrypt ignores bytes after the 72nd, and repeats a shorter password
/// with a NUL between: it can't tell `a` from `a\0a`.
fn bcrypt_reads_all(password: &[u8]) -> bool {
    password.len() <= BCRYPT_BYTES && !password.contains(&0)
}

fn unreadable(error: &dyn std::fmt::Display) -> bool {
    tracing::error!(%error, "invalid password hash in the store; its user can't sign in");
    false
}

fn is_current(stored: &str) -> bool {
    stored.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::FixedRandom;

    /// bcrypt hash of `verysecret`, from the Go original.
    const ORIGINAL: &str = "$2a$12$1zGLuYDDNvATh4RA4avbKuheAMpb1svexSzrQm7up.bnpwQHs0jNe";

    fn hasher(threads: usize, queue: usize) -> Hasher {
        let metrics = Metrics::register(&weft_runtime::metrics::Metrics::default());
        Hasher::new(HashConfig { threads, queue }, Arc::new(FixedRandom(7)), metrics).unwrap()
    }

    #[tokio::test]
    async fn verifies_only_the_hashed_password() {
        let hasher = hasher(1, 8);
        let hash = hasher.hash(&"correct horse".into()).await.unwrap();
        assert!(is_current(&hash), "{hash}");
        let verdict = hasher.verify(&"correct horse".into(), Some(&hash)).await.unwrap();
        assert_eq!(verdict, Verdict::Right { renewed: None });
        assert_eq!(hasher.verify(&"Correct horse".into(), Some(&hash)).await.unwrap(), Verdict::Wrong);
        assert_eq!(hasher.verify(&"correct horse".into(), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn accepts_and_renews_bcrypt_hashes() {
        let hasher = hasher(1, 8);
        let verdict = hasher.verify(&"verysecret".into(), Some(ORIGINAL)).await.unwrap();
        let Verdict::Right { renewed: Some(renewed) } = verdict else { panic!("{verdict:?}") };
        assert!(is_current(&renewed), "{renewed}");
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

    /// A hash of the password as typed, as created by earlier versions.
    fn hash_of_bytes(password: &str) -> String {
        let params = argon2id().unwrap();
        let hash: PasswordHash = params.hash_password_with_salt(password.as_bytes(), &[1; 16]).unwrap();
        assert!(is_current(&hash.to_string()), "{hash}");
        hash.to_string()
    }

    #[tokio::test]
    async fn every_unicode_form_of_a_password_matches_its_hash() {
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
    async fn a_hash_of_the_typed_bytes_matches_only_them_and_is_renewed() {
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
    async fn the_bcrypt_limit_applies_to_each_form_of_a_password() {
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
    async fn renews_weaker_argon2id_hashes_and_rejects_invalid_ones() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let weak: PasswordHash = weak.hash_password_with_salt(b"secret", &[1; 16]).unwrap();
        let hasher = hasher(1, 8);
        let verdict = hasher.verify(&"secret".into(), Some(&weak.to_string())).await.unwrap();
        assert!(matches!(verdict, Verdict::Right { renewed: Some(_) }), "{verdict:?}");
        for invalid in ["", "plain", "$2a$12$short", "$argon2id$v=19$m=1"] {
            assert_eq!(
                hasher.verify(&"secret".into(), Some(invalid)).await.unwrap(),
                Verdict::Wrong,
                "{invalid}"
            );
        }
    }

    #[tokio::test]
    async fn refuses_a_hash_when_the_queue_is_full() {
        let hasher = hasher(1, 1);
        let password = "x".into();
        let (a, b, c) = tokio::join!(hasher.hash(&password), hasher.hash(&password), hasher.hash(&password));
        let busy = [a, b, c].iter().filter(|hash| matches!(hash, Err(HashError::Busy))).count();
        assert_eq!(busy, 1);
    }
}
