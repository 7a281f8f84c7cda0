//! A page's end as a text that fits into a URL and means nothing to its holder.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use weft_values::time::RANGE_MS;

use crate::entry::Place;

const VERSION: u8 = 1;
const LENGTH: usize = 25;

/// The text that leads back to this place.
pub fn encode(place: &Place) -> String {
    let mut bytes = [VERSION; LENGTH];
    bytes[1..9].copy_from_slice(&place.time_ms.to_be_bytes());
    bytes[9..].copy_from_slice(place.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place that a text from [`encode`] leads to; `None` for any other text.
pub fn decode(text: &str) -> Option<Place> {
    let mut bytes = [0; LENGTH];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (time, id) = rest.split_first_chunk::<8>()?;
    let place = Place { time_ms: i64::from_be_bytes(*time), id: Uuid::from_slice(id).ok()? };
    (length == LENGTH && *version == VERSION && RANGE_MS.contains(&place.time_ms)).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place_and_fits_into_a_url() {
        for time_ms in [*RANGE_MS.start(), -1, 0, 1_764_000_000_123, *RANGE_MS.end()] {
            let place = Place { time_ms, id: Uuid::from_u128(u128::MAX - 7) };
            let text = encode(&place);
            assert_eq!(decode(&text), Some(place));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        }
    }

    #[test]
    fn a_broken_cursor_leads_nowhere() {
        let good = encode(&Place { time_ms: 5, id: Uuid::nil() });
        let outside = encode(&Place { time_ms: i64::MAX, id: Uuid::nil() });
        let longer = format!("{good}AAAA");
        for wrong in ["", "x", "ä", &good[1..], &good[..33], &longer, &outside, "%00", &format!("{good}=")] {
            assert_eq!(decode(wrong), None, "{wrong:?} was taken");
        }
    }
}
