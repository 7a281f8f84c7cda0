//! Randomness as an argument, so that tests can choose it.

use std::fmt::Debug;
use std::sync::Arc;

use rand::Rng as _;

/// A cryptographically secure source of bytes.
pub trait Random: Send + Sync + Debug {
    /// Fills with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` random bytes.
pub fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// The thread's generator: ChaCha, seeded and reseeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

pub fn system() -> Arc<dyn Random> {
    Arc::new(SystemRandom)
}

/// Repeats one byte, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedRandom(pub(crate) u8);

#[cfg(test)]
impl Random for FixedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}
