//! What a watch tells, with the script's faults.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use super::Faults;

type Told = UnsyncBoxBody<Bytes, Infallible>;

/// The fake sends each event in a frame of its own.
pub(super) fn through(body: Told, faults: Faults) -> Told {
    let frames = BodyStream::new(body);
    let passed = stream::unfold((frames, faults), async |(mut frames, faults)| {
        loop {
            let Ok(frame) = frames.next().await?;
            match fate(&faults, &frame) {
                Fate::Lost => {}
                Fate::Told(delay) => {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    return Some((Ok(frame), (frames, faults)));
                }
            }
        }
    });
    StreamBody::new(passed).boxed_unsync()
}

enum Fate {
    Lost,
    Told(Duration),
}

fn fate(faults: &Faults, frame: &Frame<Bytes>) -> Fate {
    let mut script = faults.script();
    let number = script.events;
    script.events += 1;
    if script.lost_event == Some(number) {
        script.lost = frame.data_ref().map(described);
        return Fate::Lost;
    }
    let Some(seed) = script.shuffle else { return Fate::Told(Duration::ZERO) };
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
    Fate::Told(Duration::from_millis(random.random_range(0..2_000)))
}

fn described(data: &Bytes) -> String {
    let event: Value = serde_json::from_slice(data).unwrap_or_default();
    let (object, meta) = (&event["object"], &event["object"]["metadata"]);
    format!("{} {} {}", event["type"], object["kind"], meta["name"])
}
