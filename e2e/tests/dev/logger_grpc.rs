//! The logger's gRPC API, called directly.

use prost_types::Timestamp;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;
use weft_devstack::DevStack;
use weft_e2e::raw::Connection;
use weft_e2e::road;
use weft_proto::logs::log_service_client::LogServiceClient as OriginalClient;
use weft_proto::logs::{Log, LogRequest};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, QueryRequest, WriteManyRequest, WriteRequest};

use crate::helpers::{broker, shared};

const YEAR_10000: i64 = 253_402_300_800;

pub(crate) async fn connect(stack: &DevStack) -> Channel {
    let url = format!("http://{}", stack.logger.grpc_address());
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

pub(crate) fn entry(name: &str) -> Entry {
    Entry { id: Uuid::new_v4().to_string(), name: name.to_owned(), ..Entry::default() }
}

fn assert_names(what: &str, refused: &Status, field: &str) {
    assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
    assert!(refused.message().contains(field), "{what}: `{}` does not name {field}", refused.message());
}

fn invalid() -> Vec<(&'static str, &'static str, Entry)> {
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let good = || entry("invalid");
    vec![
        ("no name", "name", Entry { name: String::new(), ..good() }),
        ("a long name", "name", Entry { name: "x".repeat(257), ..good() }),
        ("no id", "id", Entry { id: String::new(), ..good() }),
        ("an invalid id", "id", Entry { id: "42".into(), ..good() }),
        ("the year 10000", "time", Entry { time: at(YEAR_10000, 0), ..good() }),
        ("before the year 1", "time", Entry { time: at(-62_135_596_801, 0), ..good() }),
        ("too many nanoseconds", "time", Entry { time: at(0, 1_000_000_000), ..good() }),
        ("negative nanoseconds", "time", Entry { time: at(0, -1), ..good() }),
        ("an unknown level", "level", Entry { level: 99, ..good() }),
        ("an invalid trace id", "trace_id", Entry { trace_id: "xyz".into(), ..good() }),
        (
            "65 attributes",
            "attributes",
            Entry { attributes: (0..65).map(|n| (n.to_string(), String::new())).collect(), ..good() },
        ),
    ]
}

#[tokio::test]
async fn refuses_an_invalid_entry_and_names_the_field() {
    let mut logger = LogServiceClient::new(connect(shared().await).await);
    for (what, field, entry) in invalid() {
        let refused = logger.write(WriteRequest { entry: Some(entry) }).await.expect_err(what);
        assert_names(what, &refused, field);
    }
    let refused = logger.write(WriteRequest { entry: None }).await.unwrap_err();
    assert_names("nothing", &refused, "entry");
}

#[tokio::test]
async fn write_many_refuses_all_entries_if_one_is_invalid() {
    let stack = shared().await;
    let mut logger = LogServiceClient::new(connect(stack).await);
    let name = road::unique("many");
    let wrong = Entry { name: String::new(), ..entry("x") };
    let entries = vec![entry(&name), wrong, entry(&name)];
    let refused = logger.write_many(WriteManyRequest { entries, traceparents: vec![] }).await.unwrap_err();
    assert_names("many", &refused, "name");
    assert!(refused.message().contains("[1]"), "which one? {}", refused.message());
    assert!(broker(stack).entries(&[("text", &name)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn write_log_accepts_calls_of_the_original() {
    let stack = shared().await;
    let mut original = OriginalClient::new(connect(stack).await);
    let name = road::unique("original");
    let log = |name: &str| LogRequest {
        log_entry: Some(Log { name: name.to_owned(), data: "from Go".to_owned() }),
    };
    let reply = original.write_log(log(&name)).await.unwrap();
    assert_eq!(reply.into_inner().result, "logged!");
    let entries = broker(stack).entries(&[("text", &name)]).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0]["data"], &entries[0]["level"]), (&"from Go".into(), &"INFO".into()));

    assert_names("no name", &original.write_log(log("")).await.unwrap_err(), "name");
    assert_names(
        "nothing",
        &original.write_log(LogRequest { log_entry: None }).await.unwrap_err(),
        "logEntry",
    );
}

#[tokio::test]
async fn invalid_grpc_does_not_disturb_others() {
    let stack = shared().await;
    let address = stack.logger.grpc_address().to_string();
    let mut logger = LogServiceClient::new(connect(stack).await);
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: logger\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut connection = Connection::open(&address).await.unwrap();
        connection.send(bytes).await.unwrap();
        connection.end().await.unwrap();
        connection.closed().await.unwrap();
        logger.query(QueryRequest { limit: 1, ..QueryRequest::default() }).await.unwrap();
    }
}
