//! Repeatable random numbers.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Returns a generator seeded from `WEFT_SEED`, or randomly. Prints the seed.
#[must_use]
pub fn seeded(test: &str) -> StdRng {
    let given = std::env::var("WEFT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("{test}: WEFT_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
