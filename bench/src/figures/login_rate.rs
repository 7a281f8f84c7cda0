//! Sign-ins each second against the rate at which this machine can hash passwords and do nothing else.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use argon2::Argon2;
use serde_json::json;
use weft_devstack::DevStack;

use super::{Setup, complaints, load};
use crate::cpu::CpuWatch;
use crate::figure::Measured;
use crate::load::closed_loop_of;

/// Enough that a hash always waits for its turn.
const CONNECTIONS: usize = 8;
const HASHING: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let before = hashes_per_second()?;
    let cpu = CpuWatch::start(&stack);
    let rate = closed_loop_of(&load(&stack, sign_in(&stack)), CONNECTIONS, WARM_UP, MEASURED).await?;
    let used = cpu.note();
    // Of before and after the greater, in case something else ran beside one of them.
    let possible = before.max(hashes_per_second()?);
    let mut notes = vec![format!("{rate:.1} sign-ins/s where {possible:.1} hashes/s are possible"), used];
    notes.extend(complaints(&stack));
    Ok(Measured { value: rate / possible, notes })
}

/// The body that signs the first user in.
pub(super) fn sign_in(stack: &DevStack) -> String {
    let (email, password) = stack.admin();
    json!({"action": "auth", "auth": {"email": email, "password": password}}).to_string()
}

/// argon2id on every core, with the crate's defaults, which are what authentication uses.
fn hashes_per_second() -> Result<f64> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads: Vec<_> = (0..cores).map(|_| thread::spawn(hash_for_a_while)).collect();
    let mut total = 0.0;
    for thread in threads {
        total += thread.join().map_err(|_| anyhow!("a hashing thread panicked"))??;
    }
    Ok(total)
}

fn hash_for_a_while() -> Result<f64> {
    let (argon2, started) = (Argon2::default(), Instant::now());
    let (mut count, mut out) = (0_u32, [0; 32]);
    while started.elapsed() < HASHING {
        let hashed = argon2.hash_password_into(b"tulips in a blue vase", b"sixteen bytes...", &mut out);
        hashed.map_err(|error| anyhow!("{error}")).context("argon2id failed")?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
