//! `weft-operator smoke` where there is no broker; what it does with one is in e2e/tests/dev.

use weft_operator::smoke::{Smoke, SmokeError};
use weft_runtime::config::{Fixed, Settings};

fn smoke(url: &str, within: &str) -> Result<Smoke, SmokeError> {
    Smoke::from_settings(&Settings::new(Fixed::new([
        ("SMOKE_BROKER_URL", url),
        ("SMOKE_EMAIL", "a@example.com"),
        ("SMOKE_PASSWORD", "hunter2"),
        ("SMOKE_WITHIN", within),
    ])))
}

#[test]
fn settings_that_are_missing_or_wrong_are_named() {
    for url in ["https://broker:8080", "broker:8080", "http://broker/path", "http://"] {
        assert!(smoke(url, "1s").unwrap_err().to_string().contains("SMOKE_BROKER_URL"), "{url}");
    }
    assert!(smoke("http://broker:8080", "5").unwrap_err().to_string().contains("SMOKE_WITHIN"));
    let error =
        Smoke::from_settings(&Settings::new(Fixed::new([("SMOKE_BROKER_URL", "http://b")]))).unwrap_err();
    assert!(error.to_string().contains("SMOKE_EMAIL"), "{error}");
    let shown = format!("{:?}", smoke("http://broker:8080", "1s").unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_broker_that_never_answers_is_waited_for_and_then_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let mut said = Vec::new();
    let error = smoke(&format!("http://{address}"), "600ms").unwrap().run(|line| said.push(line)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("to sign in") && error.contains(&address.to_string()), "{error}");
    assert_eq!(said, [] as [String; 0]);
}
