//! Times, and their protobuf form.

use std::ops::RangeInclusive;

use prost_types::Timestamp;

use crate::Invalid;

/// Valid times in milliseconds since 1970: years 1 to 9999.
pub const RANGE_MS: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Converts a time to protobuf. Before 1970 protobuf's nanoseconds still count forward, whereas jiff's are negative.
#[must_use]
pub fn to_proto(time: jiff::Timestamp) -> Timestamp {
    let nanos = time.as_nanosecond();
    Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}

/// Whole milliseconds since 1970, rounded down.
///
/// # Errors
/// When the time is outside [`RANGE_MS`], or its nanoseconds are outside 0 to 999,999,999.
pub fn to_ms(time: &Timestamp) -> Result<i64, Invalid> {
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Invalid("the nanoseconds are out of range; expected 0 to 999999999"));
    }
    let ms = time.seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(i64::from(time.nanos / 1_000_000)));
    ms.filter(|ms| RANGE_MS.contains(ms))
        .ok_or(Invalid("the time is out of range; expected a time in the years 1 to 9999"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_every_time_in_range_to_a_valid_protobuf_time() {
        for text in [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.5Z",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01T00:00:00Z",
            "2026-01-02T03:04:05.678Z",
            "9999-12-30T22:00:00.999999999Z",
        ] {
            let time: jiff::Timestamp = text.parse().unwrap();
            let proto = to_proto(time);
            assert_eq!(
                to_ms(&proto),
                Ok(time.as_nanosecond().div_euclid(1_000_000).try_into().unwrap()),
                "{text}"
            );
            assert_eq!(jiff::Timestamp::new(proto.seconds, proto.nanos).unwrap(), time);
        }
        let half = to_proto("1969-12-31T23:59:59.5Z".parse().unwrap());
        assert_eq!((half.seconds, half.nanos), (-1, 500_000_000));
    }

    #[test]
    fn rejects_times_outside_the_years_1_to_9999() {
        let at = |seconds, nanos| to_ms(&Timestamp { seconds, nanos });
        assert_eq!(at(-62_135_596_800, 0), Ok(*RANGE_MS.start()));
        assert_eq!(at(253_402_300_799, 999_999_999), Ok(*RANGE_MS.end()));
        assert_eq!(at(-1, 999_999_999), Ok(-1), "rounded down");
        for (seconds, nanos) in [
            (253_402_300_800, 0),
            (-62_135_596_801, 999_999_999),
            (0, -1),
            (0, 1_000_000_000),
            (i64::MAX, 0),
            (i64::MIN, 0),
        ] {
            assert!(at(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }
}
