use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use prost_types::Timestamp;
use tonic::Code;
use tonic::body::Body;
use tower::ServiceExt as _;
use weft_proto::weft::log::v1::{Entry, QueryRequest, WriteManyRequest, WriteRequest};

use crate::helpers::{Rig, entry, write};

#[tokio::test]
async fn rejects_invalid_requests_and_stores_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let year_10000 = Some(Timestamp { seconds: 253_402_300_800, nanos: 0 });
    let wrong = [
        (WriteRequest { entry: None }, "entry"),
        (write(Entry { name: String::new(), ..entry("x") }), "entry.name"),
        (write(Entry { id: String::new(), ..entry("x") }), "entry.id"),
        (write(Entry { time: year_10000, ..entry("x") }), "entry.time"),
        (write(Entry { time: Some(Timestamp { seconds: 0, nanos: -5 }), ..entry("x") }), "entry.time"),
        (write(Entry { level: 77, ..entry("x") }), "entry.level"),
    ];
    for (request, field) in wrong {
        let refused = client.write(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused}");
    }
    let entries = vec![entry("good"), Entry { name: String::new(), ..entry("x") }];
    let refused = client.write_many(WriteManyRequest { entries, traceparents: vec![] }).await.unwrap_err();
    assert!(refused.message().starts_with("entries[1].name: "), "{refused}");
    assert!(rig.all(QueryRequest::default()).await?.is_empty());
    let refused =
        client.query(QueryRequest { cursor: "../../etc".to_owned(), ..QueryRequest::default() }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn invalid_messages_do_not_affect_other_calls() -> Result<()> {
    let rig = Rig::start().await?;
    // A truncated message; invalid protobuf; text that is not UTF-8; a length of 4 GiB.
    let bodies: [&'static [u8]; 4] = [
        b"\0\0\0\0\x09\x0a",
        b"\0\0\0\0\x03\xff\xff\xff",
        b"\0\0\0\0\x06\x0a\x04\x2a\x02\xc3\x28",
        b"\0\xff\xff\xff\xff\x0a",
    ];
    for bytes in bodies {
        let request = http::Request::post("/weft.log.v1.LogService/Write")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(Bytes::from_static(bytes)).map_err(|never| match never {})))?;
        let answer = rig.channel()?.oneshot(request).await?;
        let code = answer.headers().get("grpc-status").cloned();
        let code = match code {
            Some(code) => Some(code),
            None => {
                answer.into_body().collect().await?.trailers().and_then(|map| map.get("grpc-status").cloned())
            }
        };
        assert!(code.as_ref().is_some_and(|code| code != "0"), "{bytes:?} was answered with {code:?}");
    }
    let huge = write(Entry { data: "x".repeat(5 << 20), ..entry("huge") });
    assert!(rig.client()?.write(huge).await.is_err());
    assert!(rig.client()?.write(write(entry("fine"))).await?.into_inner().created);
    assert_eq!(rig.all(QueryRequest::default()).await?.len(), 1);
    Ok(())
}
