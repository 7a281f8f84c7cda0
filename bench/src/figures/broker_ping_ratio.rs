//! `GET /ping` of the broker against that of an axum server that does nothing else, in turn, on the same load.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, StatusCode};
use weft_devstack::{DevStack, our_binary};

use super::{Setup, authority};
use crate::bare::Bare;
use crate::figure::Measured;
use crate::load::{Load, closed_loop};

const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let bare = Bare::start(&our_binary("weft-bench-axum")?).await?;
    let stack = DevStack::start(setup.options()).await?;
    let of = |address: String| Load {
        address,
        method: Method::GET,
        path: "/ping",
        body: Bytes::new(),
        answer: StatusCode::OK,
    };
    let (ours, theirs) = (of(authority(&stack.broker_url())), of(bare.address().to_owned()));
    let (mut ratios, mut notes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let axum = closed_loop(&theirs, WARM_UP, MEASURED).await?;
        let broker = closed_loop(&ours, WARM_UP, MEASURED).await?;
        notes.push(format!("{broker:.0}/s of {axum:.0}/s"));
        ratios.push(broker / axum);
    }
    ratios.sort_by(f64::total_cmp);
    let value = *ratios.get(ROUNDS / 2).context("no rounds")?;
    Ok(Measured { value, notes: vec![format!("the median of {ROUNDS} rounds: {}", notes.join(", "))] })
}
