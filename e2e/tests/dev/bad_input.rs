//! Invalid requests over raw sockets, while a well-behaved client keeps working.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use weft_e2e::raw::{self, Answer, Connection};
use weft_e2e::{Broker, road, until};

use crate::helpers::{broker, shared};

const HANDLE: &str = "/handle";
const MIB: usize = 1 << 20;

fn good() -> Vec<u8> {
    br#"{"action":"log","log":{"name":"good","data":"x"}}"#.to_vec()
}

/// Checks a refusal in the envelope: message and trace id.
fn assert_refused(what: &str, answer: &Answer, status: u16, expected: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.body["error"], true, "{what}: {answer:?}");
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.contains(expected), "{what}: the message `{message}` has no `{expected}`");
    let trace_id = answer.body["trace_id"].as_str().unwrap_or_default();
    assert_eq!(trace_id.len(), 32, "{what}: {answer:?}");
    assert!(answer.head.contains(&format!("traceresponse: 00-{trace_id}-")), "{what}: {}", answer.head);
}

/// Name, expected status, expected part of the message, and body.
fn bodies() -> Vec<(&'static str, u16, &'static str, Vec<u8>)> {
    let log = |fields: &str| format!(r#"{{"action":"log","log":{fields}}}"#).into_bytes();
    let event = |fields: &str| format!(r#"{{"action":"event","event":{fields}}}"#).into_bytes();
    let long_name = format!(r#"{{"name":"{}"}}"#, "x".repeat(257));
    vec![
        ("empty", 400, "empty", vec![]),
        ("white space", 400, "empty", b" \r\n".to_vec()),
        ("cut", 400, "cut short", good()[..30].to_vec()),
        ("doubled", 400, "single JSON value", [good(), good()].concat()),
        ("1 MiB and a byte", 413, "1 MiB", vec![b' '; MIB + 1]),
        ("50,000 levels of arrays", 400, "", b"[".repeat(50_000)),
        (
            "50,000 levels in a field",
            400,
            "",
            [br#"{"action":"log","log":"#.as_slice(), &br#"{"a":"#.repeat(50_000)].concat(),
        ),
        (
            "50,000 levels in a field that nobody reads",
            400,
            "",
            [br#"{"action":"log","x":"#.as_slice(), &b"[".repeat(50_000)].concat(),
        ),
        ("no UTF-8", 400, "UTF-8", b"{\"action\":\"log\",\"log\":{\"name\":\"\xff\xfe\"}}".to_vec()),
        ("null", 400, "", b"null".to_vec()),
        ("a number", 400, "", b"42".to_vec()),
        ("no action", 400, "action", b"{}".to_vec()),
        ("an action of null", 400, "action", br#"{"action":null}"#.to_vec()),
        ("an action of a wrong type", 400, "action", br#"{"action":7}"#.to_vec()),
        ("an unknown action", 400, "unknown action", br#"{"action":"dance"}"#.to_vec()),
        ("an action twice", 400, "duplicate", br#"{"action":"log","action":"event"}"#.to_vec()),
        ("log without its object", 400, "log", br#"{"action":"log"}"#.to_vec()),
        ("log of null", 400, "log", log("null")),
        ("log of a wrong type", 400, "log", log(r#""text""#)),
        ("a name of a wrong type", 400, "log.name", log(r#"{"name":5,"data":"x"}"#)),
        ("a name of null", 400, "log.name", log(r#"{"name":null,"data":"x"}"#)),
        ("data of a wrong type", 400, "log.data", log(r#"{"name":"x","data":{"a":1}}"#)),
        ("an empty name", 400, "log.name", log(r#"{"name":"","data":"x"}"#)),
        ("a blank name", 400, "log.name", log(r#"{"name":" \t","data":"x"}"#)),
        ("no name", 400, "name", log(r#"{"data":"x"}"#)),
        ("a long name", 400, "log.name", log(&long_name)),
        ("half a surrogate", 400, "", log(r#"{"name":"\ud800","data":"x"}"#)),
        ("an event without its object", 400, "event", br#"{"action":"event"}"#.to_vec()),
        ("an event of an empty name", 400, "event.name", event(r#"{"name":"","data":"x"}"#)),
        ("an event of a wrong type", 400, "event.data", event(r#"{"name":"x","data":[1]}"#)),
        ("an unknown severity", 400, "event.severity", event(r#"{"name":"x","severity":"LOUD"}"#)),
    ]
}

/// Runs a well-behaved client for as long as `invalid` runs.
async fn beside_a_good_client<F: Future<Output = ()>>(broker: &Broker, invalid: F) {
    let (over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    let good_client = async {
        while !over.load(Ordering::Relaxed) {
            let reply = broker.log("beside", "x").await.expect("the well-behaved client got no response");
            assert_eq!(reply.status, 202, "the well-behaved client was disturbed: {}", reply.body);
            served.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let invalid = async {
        invalid.await;
        let before = served.load(Ordering::Relaxed);
        let goes_on = until("the well-behaved client to continue", Duration::from_secs(60), async || {
            anyhow::ensure!(served.load(Ordering::Relaxed) > before, "still {before} responses");
            Ok(())
        });
        goes_on.await.unwrap();
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(good_client, invalid);
}

#[tokio::test]
async fn refuses_invalid_bodies_in_the_envelope() {
    let broker = broker(shared().await);
    beside_a_good_client(&broker, async {
        for (what, status, expected, body) in bodies() {
            let answer = raw::exchange(broker.address(), &raw::post(HANDLE, &body)).await.expect(what);
            assert_refused(what, &answer, status, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn replies_413_after_reading_3_mib() {
    let broker = broker(shared().await);
    let mut connection = Connection::open(broker.address()).await.unwrap();
    connection.send(&raw::post(HANDLE, &vec![b'x'; 3 * MIB])).await.unwrap();
    assert_refused("3 MiB", &connection.answer().await.unwrap(), 413, "1 MiB");
    // The body was read completely, so the connection can be reused.
    connection.send(&raw::post(HANDLE, &good())).await.unwrap();
    assert_eq!(connection.answer().await.unwrap().status, 202);
}

#[tokio::test]
async fn limits_chunked_bodies() {
    let broker = broker(shared().await);
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let head = b"POST /handle HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let bytes = [head.as_slice(), &chunk.repeat(17), b"0\r\n\r\n"].concat();
    assert_refused("17 chunks", &raw::exchange(broker.address(), &bytes).await.unwrap(), 413, "1 MiB");
}

#[tokio::test]
async fn an_incomplete_body_writes_nothing() {
    let broker = broker(shared().await);
    let name = road::unique("half");
    let body = format!(r#"{{"action":"log","log":{{"name":"{name}","data":"x"}}}}"#);
    let mut request = raw::post(HANDLE, body.as_bytes());
    request.truncate(request.len() - 2);
    let mut connection = Connection::open(broker.address()).await.unwrap();
    connection.send(&request).await.unwrap();
    connection.end().await.unwrap();
    // The client has closed its side: a response may or may not arrive, but the connection must be closed.
    if let Ok(answer) = connection.answer().await {
        assert_refused("half a body", &answer, 400, "");
    }
    // A later write is stored, so an earlier one would be stored too.
    assert_eq!(broker.log("after", "x").await.unwrap().status, 202);
    assert!(broker.entries(&[("text", &name)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn invalid_http_does_not_disturb_others() {
    let broker = broker(shared().await);
    beside_a_good_client(&broker, async {
        for bytes in [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
            b"POST /handle HTTP/9.9\r\n\r\n",
            b"POST /handle HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
            b"POST /handle HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
            b"\0\0\0\0\r\n\r\n",
        ] {
            let mut connection = Connection::open(broker.address()).await.unwrap();
            connection.send(bytes).await.unwrap();
            connection.end().await.unwrap();
            if let Ok(answer) = connection.answer().await {
                assert_eq!(answer.status, 400, "{answer:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn answers_unknown_paths_and_methods_in_the_envelope() {
    let broker = broker(shared().await);
    for (request, status, expected) in [
        ("GET / HTTP/1.1\r\nhost: b\r\n\r\n", 405, "GET"),
        ("PUT /handle HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n", 405, "PUT"),
        ("BREW /handle HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n", 405, "BREW"),
        ("GET /nowhere HTTP/1.1\r\nhost: b\r\n\r\n", 404, "/nowhere"),
        ("GET /../etc/passwd HTTP/1.1\r\nhost: b\r\n\r\n", 404, ""),
    ] {
        let answer = raw::exchange(broker.address(), request.as_bytes()).await.unwrap();
        assert_refused(request, &answer, status, expected);
    }
}

#[tokio::test]
async fn problem_details_name_invalid_filters() {
    let broker = broker(shared().await);
    let token = broker.token().await.unwrap();
    for (query, expected) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("level=LOUD", "level"),
        ("from=yesterday", "from"),
        ("to=%2B10000-01-01T00:00:00Z", "to"),
        ("cursor=invalid", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("trace_id=xyz", "trace_id"),
        ("colour=red", "colour"),
        ("text=%ff%fe", "UTF-8"),
        ("limit=1&limit=2", "limit"),
    ] {
        let request =
            format!("GET /v1/logs?{query} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {token}\r\n\r\n");
        let answer = raw::exchange(broker.address(), request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{query}: {}", answer.head);
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(expected), "{query}: the detail is `{detail}`");
        assert_eq!(answer.body["trace_id"].as_str().map(str::len), Some(32), "{query}: {answer:?}");
    }
    let answer =
        raw::exchange(broker.address(), b"GET /v1/nothing HTTP/1.1\r\nhost: b\r\n\r\n").await.unwrap();
    assert_eq!((answer.status, answer.body["status"].as_u64()), (404, Some(404)), "{answer:?}");
}

#[tokio::test]
async fn refuses_invalid_idempotency_keys_and_stores_repeats_once() {
    let broker = broker(shared().await);
    let name = road::unique("key");
    let body = format!(r#"{{"action":"log","log":{{"name":"{name}","data":"x"}}}}"#);
    let with_key = |key: &str| {
        let head = format!("content-type: application/json\r\nidempotency-key: {key}\r\n");
        String::from_utf8(raw::post(HANDLE, body.as_bytes()))
            .unwrap()
            .replace("content-type: application/json\r\n", &head)
    };
    for key in ["", "\"\"", &"x".repeat(257)] {
        let answer = raw::exchange(broker.address(), with_key(key).as_bytes()).await.unwrap();
        assert_refused(key, &answer, 400, "Idempotency-Key");
    }
    for _ in 0..3 {
        let answer =
            raw::exchange(broker.address(), with_key(&format!("order of {name}")).as_bytes()).await.unwrap();
        assert_eq!(answer.status, 202);
    }
    assert_eq!(broker.entries(&[("text", &name)]).await.unwrap().len(), 1);
}
