//! SIGTERM while a request is in flight: the request is answered, and the process exits with 0.

use std::time::Duration;

use tonic::Code;
use weft_e2e::raw::Connection;
use weft_e2e::{road, until};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{QueryRequest, WriteRequest};

use crate::helpers::Own;
use crate::logger_grpc::{connect, entry};

const WITHIN: Duration = Duration::from_secs(60);

async fn refuses(address: &str) {
    until("new connections to be refused", WITHIN, async || {
        anyhow::ensure!(Connection::open(address).await.is_err(), "{address} still accepts");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_broker_answers_a_request_in_flight_after_sigterm() {
    let own = Own::start().await;
    let broker = own.broker();
    let name = road::unique("drained");
    let body = format!(r#"{{"action":"log","log":{{"name":"{name}","data":"x"}}}}"#);
    let head = format!(
        "POST /handle HTTP/1.1\r\nhost: broker\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = Connection::open(broker.address()).await.unwrap();
    connection.send(head.as_bytes()).await.unwrap();
    // The broker asks for the body, so its handler is running.
    assert_eq!(connection.answer().await.unwrap().status, 100);

    let (stopped, ()) = tokio::join!(own.stack.broker.stop(), async {
        refuses(broker.address()).await;
        connection.send(body.as_bytes()).await.unwrap();
        assert_eq!(connection.answer().await.unwrap().status, 202);
    });
    assert_eq!(stopped.unwrap(), "exit status: 0");

    own.stack.broker.start().await.unwrap();
    assert_eq!(broker.entries(&[("text", &name)]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_logger_answers_a_call_in_flight_after_sigterm() {
    let own = Own::start().await;
    let mut logger = LogServiceClient::new(connect(&own.stack).await);
    let mut second = logger.clone();
    let name = road::unique("drained");
    let write = WriteRequest { entry: Some(entry(&name)) };
    let grpc = own.stack.logger.grpc_address().to_string();

    own.stack.mongodb.pause().unwrap();
    let (written, stopped) = tokio::join!(logger.write(write), async {
        // Sent after the write on the same connection: when this call is refused, the logger has the write.
        let refused =
            second.query(QueryRequest { limit: 9_999, ..QueryRequest::default() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let (stopped, ()) = tokio::join!(own.stack.logger.stop(), async {
            refuses(&grpc).await;
            own.stack.mongodb.resume().unwrap();
        });
        stopped.unwrap()
    });
    assert!(written.unwrap().into_inner().created);
    assert_eq!(stopped, "exit status: 0");

    own.stack.logger.start().await.unwrap();
    assert_eq!(own.broker().entries(&[("text", &name)]).await.unwrap().len(), 1);
}
