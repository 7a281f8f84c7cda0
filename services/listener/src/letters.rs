//! Stores dead letters in the logger.

use std::time::Duration;

use jiff::Timestamp;
use tonic::{Code, Status, async_trait};
use weft_events::{DeadLetter, LetterStore, LetterStoreError};
use weft_mesh::Channel;
use weft_proto::weft::deadletter::MAX_CONTENT_BYTES;
use weft_proto::weft::deadletter::v1::{
    Content, Letter, StoreRequest, dead_letter_service_client::DeadLetterServiceClient,
};

/// Long, because a letter has up to 4 MiB and is answered after a majority write.
const STORE_WITHIN: Duration = Duration::from_secs(10);

/// A [`LetterStore`] that calls the logger.
pub(crate) struct Letters(DeadLetterServiceClient<Channel>);

impl Letters {
    pub(crate) fn new(logger: Channel) -> Self {
        Self(DeadLetterServiceClient::new(logger.with_timeout(STORE_WITHIN)))
    }
}

#[async_trait]
impl LetterStore for Letters {
    async fn store(&self, letter: DeadLetter) -> Result<(), LetterStoreError> {
        let bytes = letter.content_bytes();
        if bytes > MAX_CONTENT_BYTES {
            let reason =
                format!("properties and body have {bytes} bytes; the maximum is {MAX_CONTENT_BYTES}");
            return Err(LetterStoreError::Refused(reason));
        }
        self.0.clone().store(to_request(letter)).await.map(drop).map_err(|status| error(&status))
    }
}

fn to_request(letter: DeadLetter) -> StoreRequest {
    let DeadLetter {
        id,
        queue,
        event_id,
        kind,
        source,
        time,
        dead_at,
        reason,
        attempts,
        trace_id,
        properties,
        body,
    } = letter;
    let letter = Letter {
        id: id.to_string(),
        queue: queue.name().to_owned(),
        event_id: event_id.unwrap_or_default(),
        r#type: kind,
        source,
        time: time.map(to_proto),
        dead_at: Some(to_proto(dead_at)),
        reason: reason.unwrap_or_default(),
        attempts,
        trace_id: trace_id.unwrap_or_default(),
        size: body.len() as u64,
        replaying_since: None,
    };
    StoreRequest { letter: Some(letter), content: Some(Content { properties, body }) }
}

/// Protobuf requires `nanos` not to be negative, also before 1970, where jiff's seconds and nanoseconds both are.
fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}

/// `Refused` only when the status concerns this letter alone. After any other failure the letter is retried, after others.
fn error(status: &Status) -> LetterStoreError {
    let reason = format!("the logger answered {:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            LetterStoreError::Refused(reason)
        }
        _ => LetterStoreError::Unavailable(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_a_refusal_from_an_outage() {
        for code in [Code::InvalidArgument, Code::OutOfRange] {
            assert!(matches!(error(&Status::new(code, "x")), LetterStoreError::Refused(_)), "{code:?}");
        }
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Internal, Code::Unimplemented] {
            assert!(matches!(error(&Status::new(code, "x")), LetterStoreError::Unavailable(_)), "{code:?}");
        }
    }

    #[test]
    fn converts_a_time_before_1970() {
        let time = to_proto(Timestamp::from_millisecond(-1).unwrap());
        assert_eq!((time.seconds, time.nanos), (-1, 999_000_000));
    }
}
