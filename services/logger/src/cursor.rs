//! Opaque cursors: the end of a page, as URL-safe text.
//!
//! Version 1 holds a UUID. Version 2 holds any other id: a page may end at a document that is not an entry.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use weft_values::time::RANGE_MS;

use crate::entry::Place;

/// Maximum length of an id in a cursor. A page never ends at a document with a longer id.
pub const ID_BYTES: usize = 512;

const OF_UUID: u8 = 1;
const OF_TEXT: u8 = 2;

/// Encodes a place.
pub fn encode(place: &Place) -> String {
    let uuid = Uuid::try_parse(&place.id).ok().filter(|uuid| uuid.to_string() == place.id);
    let (version, id) = match &uuid {
        Some(uuid) => (OF_UUID, &uuid.as_bytes()[..]),
        None => (OF_TEXT, place.id.as_bytes()),
    };
    let bytes = [&[version], &place.time_ms.to_be_bytes()[..], id].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a cursor; `None` if it is not from [`encode`].
pub fn decode(text: &str) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (time, id) = rest.split_first_chunk::<8>()?;
    let id = match *version {
        OF_UUID => Uuid::from_slice(id).ok()?.to_string(),
        OF_TEXT if id.len() <= ID_BYTES => str::from_utf8(id).ok()?.to_owned(),
        _ => return None,
    };
    let time_ms = i64::from_be_bytes(*time);
    RANGE_MS.contains(&time_ms).then_some(Place { time_ms, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(time_ms: i64, id: impl ToString) -> Place {
        Place { time_ms, id: id.to_string() }
    }

    #[test]
    fn a_cursor_is_url_safe_and_decodes_to_its_place() {
        let uuid = Uuid::from_u128(u128::MAX - 7);
        for time_ms in [*RANGE_MS.start(), -1, 0, 1_764_000_000_123, *RANGE_MS.end()] {
            for id in [uuid.to_string(), uuid.to_string().to_uppercase(), String::new(), "ü".repeat(256)] {
                let text = encode(&place(time_ms, &id));
                assert_eq!(decode(&text), Some(place(time_ms, &id)));
                assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            }
        }
    }

    #[test]
    fn rejects_an_invalid_cursor() {
        let good = encode(&place(5, Uuid::nil()));
        let outside = encode(&place(i64::MAX, Uuid::nil()));
        let too_long = encode(&place(5, "x".repeat(ID_BYTES + 1)));
        let longer = format!("{good}AAAA");
        for invalid in
            ["", "x", "ä", &good[1..], &good[..33], &longer, &outside, &too_long, "%00", &format!("{good}=")]
        {
            assert_eq!(decode(invalid), None, "accepted {invalid:?}");
        }
    }
}
