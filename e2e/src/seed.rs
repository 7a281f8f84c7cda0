//! Chance that can be repeated.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// A generator from `WEFT_SEED`, or from a new seed; which one is printed.
#[must_use]
pub fn seeded(test: &str) -> StdRng {
    let given = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("{test}: WEFT_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
