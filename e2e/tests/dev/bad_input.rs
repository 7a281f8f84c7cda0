//! What no client should send, on real sockets, while a good client goes on beside it.

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

/// A refusal in the envelope: what is wrong, and the trace.
fn assert_refused(what: &str, answer: &Answer, status: u16, said: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.body["error"], true, "{what}: {answer:?}");
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.contains(said), "{what}: the message is `{message}`, without `{said}`");
    let trace_id = answer.body["trace_id"].as_str().unwrap_or_default();
    assert_eq!(trace_id.len(), 32, "{what}: {answer:?}");
    assert!(answer.head.contains(&format!("traceresponse: 00-{trace_id}-")), "{what}: {}", answer.head);
}

/// Status, a part of the message, and the body that earns them.
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

/// A client that does everything right, for as long as `rubbish` goes on.
async fn beside_a_good_client<F: Future<Output = ()>>(broker: &Broker, rubbish: F) {
    let (over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    let good_client = async {
        while !over.load(Ordering::Relaxed) {
            let reply = broker.log("beside", "x").await.expect("a good client got no answer");
            assert_eq!(reply.status, 202, "a good client was disturbed: {}", reply.body);
            served.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let rubbish = async {
        rubbish.await;
        let before = served.load(Ordering::Relaxed);
        let goes_on = until("the good client to go on", Duration::from_secs(60), async || {
            anyhow::ensure!(served.load(Ordering::Relaxed) > before, "it was served {before} times");
            Ok(())
        });
        goes_on.await.unwrap();
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(good_client, rubbish);
}

#[tokio::test]
async fn every_bad_body_is_refused_in_the_envelope_and_disturbs_nobody() {
    let broker = broker(shared().await);
    beside_a_good_client(&broker, async {
        for (what, status, said, body) in bodies() {
            let answer = raw::exchange(broker.address(), &raw::post(HANDLE, &body)).await.expect(what);
            assert_refused(what, &answer, status, said);
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_writes_3_mib_before_it_reads_gets_the_413() {
    let broker = broker(shared().await);
    let mut connection = Connection::open(broker.address()).await.unwrap();
    connection.send(&raw::post(HANDLE, &vec![b'x'; 3 * MIB])).await.unwrap();
    assert_refused("3 MiB", &connection.answer().await.unwrap(), 413, "1 MiB");
    // All of it was read, so the connection still serves.
    connection.send(&raw::post(HANDLE, &good())).await.unwrap();
    assert_eq!(connection.answer().await.unwrap().status, 202);
}

#[tokio::test]
async fn a_body_in_chunks_has_the_same_limit() {
    let broker = broker(shared().await);
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let head = b"POST /handle HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let bytes = [head.as_slice(), &chunk.repeat(17), b"0\r\n\r\n"].concat();
    assert_refused("17 chunks", &raw::exchange(broker.address(), &bytes).await.unwrap(), 413, "1 MiB");
}

#[tokio::test]
async fn a_body_that_ends_before_its_length_writes_nothing() {
    let broker = broker(shared().await);
    let name = road::unique("half");
    let body = format!(r#"{{"action":"log","log":{{"name":"{name}","data":"x"}}}}"#);
    let mut request = raw::post(HANDLE, body.as_bytes());
    request.truncate(request.len() - 2);
    let mut connection = Connection::open(broker.address()).await.unwrap();
    connection.send(&request).await.unwrap();
    connection.end().await.unwrap();
    // The client is gone: an answer may or may not reach it, but the connection ends.
    if let Ok(answer) = connection.answer().await {
        assert_refused("half a body", &answer, 400, "");
    }
    // A later write is stored, so an earlier one would be there by now.
    assert_eq!(broker.log("after", "x").await.unwrap().status, 202);
    assert!(broker.entries(&[("text", &name)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn rubbish_in_place_of_http_disturbs_nobody() {
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
async fn unknown_paths_and_methods_are_answered_in_the_envelope() {
    let broker = broker(shared().await);
    for (request, status, said) in [
        ("GET / HTTP/1.1\r\nhost: b\r\n\r\n", 405, "GET"),
        ("PUT /handle HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n", 405, "PUT"),
        ("BREW /handle HTTP/1.1\r\nhost: b\r\ncontent-length: 0\r\n\r\n", 405, "BREW"),
        ("GET /nowhere HTTP/1.1\r\nhost: b\r\n\r\n", 404, "/nowhere"),
        ("GET /../etc/passwd HTTP/1.1\r\nhost: b\r\n\r\n", 404, ""),
    ] {
        let answer = raw::exchange(broker.address(), request.as_bytes()).await.unwrap();
        assert_refused(request, &answer, status, said);
    }
}

#[tokio::test]
async fn wrong_filters_are_answered_as_problem_details_that_name_them() {
    let broker = broker(shared().await);
    let token = broker.token().await.unwrap();
    for (query, said) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("level=LOUD", "level"),
        ("from=yesterday", "from"),
        ("to=%2B10000-01-01T00:00:00Z", "to"),
        ("cursor=rubbish", "cursor"),
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
        assert!(detail.contains(said), "{query}: the detail is `{detail}`");
        assert_eq!(answer.body["trace_id"].as_str().map(str::len), Some(32), "{query}: {answer:?}");
    }
    let answer =
        raw::exchange(broker.address(), b"GET /v1/nothing HTTP/1.1\r\nhost: b\r\n\r\n").await.unwrap();
    assert_eq!((answer.status, answer.body["status"].as_u64()), (404, Some(404)), "{answer:?}");
}

#[tokio::test]
async fn a_wrong_idempotency_key_is_refused_and_a_repeated_one_stores_once() {
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
