//! Fuzzes the JSON of `POST /handle`.

use axum::http::StatusCode;
use serde_json::Value;

use super::handle::Payload;
use crate::body;

#[path = "../../../../fuzz/driver.rs"]
mod driver;

#[test]
fn fuzz_the_body_of_handle() {
    let examples: Vec<Vec<u8>> = [
        r#"{"action":"log","log":{"name":"n","data":"d"}}"#,
        r#"{"action":"event","event":{"name":"n","data":"d","severity":"ERROR"}}"#,
        r#"{"action":"auth","auth":{"email":"ann@example.com","password":"tulips"}}"#,
        r#"{"action":"mail","mail":{"from":"a@example.com","to":"b@example.com","subject":"s","message":"m"}}"#,
        r#" {"action":"log","log":{"name":"\ud83c\udf37\u0000","data":"ü"},"more":[1,-0.5e3,null,true,{"a":[]}]} "#,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([b"[".repeat(50_000), br#"{"action":"log","log":"#.repeat(200)])
    .collect();
    let words: [&[u8]; 10] =
        [b"null", b"\"", b"{", b"}", b"[", b"\\ud800", b"\xff", b"1e999", b"\"action\"", b"\"log\""];
    driver::run("the body of POST /handle", &examples, &words, parsed_or_rejected);
}

/// Checks that a body is either parsed correctly or rejected with 400 and a message.
fn parsed_or_rejected(input: &[u8]) {
    match body::parse::<Payload>(input) {
        Ok(payload) => {
            // `Value` fails on numbers that the payload does not read. Where both parse, they must see the same action.
            if let Ok(value) = serde_json::from_slice::<Value>(input) {
                assert_eq!(value["action"], payload.action.as_str());
            }
        }
        Err(error) => {
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
            assert!(!error.message.is_empty());
        }
    }
}
