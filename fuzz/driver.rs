//! Calls a target with changed examples for a bounded time. See README.md beside it.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

const SECONDS: u64 = 10;
/// One call that takes longer is a defect too, on a busy machine as well.
const CALL_WITHIN: Duration = Duration::from_secs(5);
const MAX_INPUT_BYTES: usize = 256 * 1024;
const MAX_SHOWN_BYTES: usize = 4096;

/// Runs the examples, then changes of them until the time is up. `words` are pieces of the format to put in.
pub(crate) fn run(name: &str, examples: &[Vec<u8>], words: &[&[u8]], target: impl Fn(&[u8])) {
    let seed = number("WEFT_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let time = Duration::from_secs(number("WEFT_FUZZ_SECONDS").unwrap_or(SECONDS));
    println!("fuzzing {name} for {} s: WEFT_FUZZ_SEED={seed}", time.as_secs());
    for (case, example) in examples.iter().enumerate() {
        call(&target, example, &format!("{name}, example {case}"));
    }
    let (start, mut case) = (Instant::now(), 0);
    while start.elapsed() < time {
        let mut random = Random(seed ^ case);
        let input = random.changed(examples, words);
        call(&target, &input, &format!("{name}, WEFT_FUZZ_SEED={seed}, case {case}"));
        case += 1;
    }
    println!("fuzzed {name}: {case} cases");
    assert!(case > 100, "only {case} cases: the target is too slow to find anything");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} wants a number")))
}

fn call(target: &impl Fn(&[u8]), input: &[u8], what: &str) {
    let start = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
    if let Err(panic) = ended {
        let shown = &input[..input.len().min(MAX_SHOWN_BYTES)];
        println!("{what}: {} bytes: b\"{}\"", input.len(), shown.escape_ascii());
        resume_unwind(panic);
    }
    assert!(start.elapsed() < CALL_WITHIN, "{what}: {} bytes took {:?}", input.len(), start.elapsed());
}

/// SplitMix64: the same cases everywhere for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound; 0 when that is 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap()
    }

    fn changed(&mut self, examples: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
        let example = self.below(examples.len());
        let mut input = examples.get(example).cloned().unwrap_or_default();
        for _ in 0..=self.below(8) {
            self.change(&mut input, examples, words);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, examples: &[Vec<u8>], words: &[&[u8]]) {
        const EDGES: [u8; 8] = [0, 1, 0x20, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
        let (at, other) = (self.below(input.len() + 1), self.below(input.len() + 1));
        let piece = at.min(other)..at.max(other).min(at.min(other) + 1 + self.below(64));
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = EDGES[self.below(EDGES.len())],
            // A length in two or four bytes, changed by a little.
            2 if at < input.len() => input[at] = input[at].wrapping_add(1 + self.below(16) as u8),
            3 if at < input.len() => input[at] = input[at].wrapping_sub(1 + self.below(16) as u8),
            4 => drop(input.drain(piece)),
            5 => {
                let times = 1 << self.below(12);
                let repeated = input[piece].repeat(1 + self.below(times));
                input.splice(at..at, repeated);
            }
            6 => input.truncate(at),
            7 => {
                let other = examples.get(self.below(examples.len())).cloned().unwrap_or_default();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = words.get(self.below(words.len())).map(|word| word.to_vec()).unwrap_or_default();
                let over = if self.below(2) == 0 { at..at } else { at..(at + word.len()).min(input.len()) };
                input.splice(over, word);
            }
        }
        input.truncate(MAX_INPUT_BYTES);
    }
}
