//! A client and a server on loopback, connected as Weft's services are.

mod helpers;

use std::time::Duration;

use helpers::{Behaviour, Pair, spans_of};
use opentelemetry::trace::SpanKind;
use tonic::Code;
use tracing::Instrument as _;
use weft_mesh::Deadline;

#[tokio::test(flavor = "multi_thread")]
async fn continues_the_trace_on_the_server() {
    let pair = Pair::start(Behaviour::Answer).await;
    let root = tracing::info_span!(target: "weft_test", "root");
    let reply = pair.client().write(helpers::request()).instrument(root.clone()).await.unwrap();
    let trace = weft_runtime::trace::span_context(&root).unwrap().trace_id();
    assert!(reply.metadata().get("traceresponse").unwrap().to_str().unwrap().contains(&trace.to_string()));
    drop(reply);

    let spans = spans_of(trace, 2).await;
    let client = spans.iter().find(|span| span.span_kind == SpanKind::Client).unwrap();
    let server = spans.iter().find(|span| span.span_kind == SpanKind::Server).unwrap();
    assert_eq!(server.parent_span_id, client.span_context.span_id());
    for span in [client, server] {
        assert_eq!(span.name, "weft.log.v1.LogService/Write");
        assert_eq!(helpers::attribute(span, "rpc.system.name"), "grpc");
        assert_eq!(helpers::attribute(span, "rpc.method"), "weft.log.v1.LogService/Write");
        assert_eq!(helpers::attribute(span, "rpc.response.status_code"), "OK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_call_is_an_error_only_on_the_client() {
    let pair = Pair::start(Behaviour::Refuse).await;
    let root = tracing::info_span!(target: "weft_test", "root");
    let status = pair.client().write(helpers::request()).instrument(root.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let spans = spans_of(weft_runtime::trace::span_context(&root).unwrap().trace_id(), 2).await;
    for span in spans {
        assert_eq!(helpers::attribute(&span, "rpc.response.status_code"), "INVALID_ARGUMENT", "{span:?}");
        let is_error = matches!(span.status, opentelemetry::trace::Status::Error { .. });
        assert_eq!(is_error, span.span_kind == SpanKind::Client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn propagates_the_deadline_and_ends_the_call_on_both_sides() {
    let pair = Pair::start(Behaviour::Hang).await;
    let call = async { pair.client().write(helpers::request()).await };
    // Long enough to reach the handler on a busy machine.
    let within = Duration::from_secs(3);
    let status = Deadline::within(within).scope(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let left = pair.deadline_seen().await.expect("the server saw no deadline");
    assert!(left <= within, "the server saw {left:?}");
    pair.handler_dropped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_unavailable_and_reconnects() {
    let mut pair = Pair::start(Behaviour::Answer).await;
    pair.client().write(helpers::request()).await.unwrap();
    pair.stop_server().await;
    let status = pair.client().write(helpers::request()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("logger can't be reached at 127.0.0.1:"), "{}", status.message());
    pair.start_server(Behaviour::Answer).await;
    pair.client().write(helpers::request()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ignores_the_failed_connection_attempt_of_an_earlier_call() {
    let (mut pair, listener) = Pair::silent().await;
    let call = async { pair.client().write(helpers::request()).await };
    let status = Deadline::within(Duration::from_millis(100)).scope(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // Longer than the timeout of an attempt: it has failed while no call waited for it.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    pair.serve(listener, Behaviour::Answer);
    pair.client().write(helpers::request()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_only_its_own_call() {
    let pair = Pair::start(Behaviour::Panic).await;
    for _ in 0..3 {
        let status = pair.client().write(helpers::request()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(
            !status.message().contains("on purpose"),
            "the panic message was sent to the client: {}",
            status.message()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finishes_calls_in_flight_on_shutdown() {
    let mut pair = Pair::start(Behaviour::AnswerWhenTold).await;
    let mut client = pair.client();
    let call = tokio::spawn(async move { client.write(helpers::request()).await });
    pair.handler_entered().await;
    pair.request_shutdown();
    pair.tell_handlers(1);
    call.await.unwrap().unwrap();
    pair.stop_server().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aborts_calls_after_the_drain_timeout() {
    let mut pair = Pair::start(Behaviour::Hang).await;
    let mut client = pair.client();
    let call = tokio::spawn(async move { client.write(helpers::request()).await });
    pair.handler_entered().await;
    pair.cut();
    pair.stop_server().await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_do_not_fail_others_on_the_connection() {
    let pair = Pair::start(Behaviour::AnswerWhenTold).await;
    let mut client = pair.client();
    let kept = tokio::spawn(async move { client.write(helpers::request()).await });
    pair.handler_entered().await;
    for round in 0..20 {
        let cancelled: Vec<_> = (0..200)
            .map(|_| {
                let mut client = pair.client();
                let within = Duration::from_micros(200 * round);
                tokio::spawn(
                    async move { tokio::time::timeout(within, client.write(helpers::request())).await },
                )
            })
            .collect();
        for call in cancelled {
            // Cancelled, or answered instead of the first call: both are fine.
            let _ = call.await.unwrap();
        }
    }
    while !kept.is_finished() {
        pair.tell_handlers(1);
        tokio::task::yield_now().await;
    }
    kept.await.unwrap().unwrap();
}

#[tokio::test]
async fn replies_to_cancelled_calls_do_not_close_the_connection() {
    const CALLS: usize = 100;
    let pair = Pair::start(Behaviour::AnswerWhenTold).await;
    // Together more than h2 tolerates by default.
    for _ in 0..20 {
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            let mut client = pair.client();
            calls.push(tokio::spawn(async move { client.write(helpers::request()).await }));
            pair.handler_entered().await;
        }
        let kept = calls.swap_remove(0);
        // With one thread the server answers before it reads that the callers have gone.
        pair.tell_handlers(CALLS);
        for call in calls {
            call.abort();
        }
        kept.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_a_call_that_a_draining_server_has_not_processed() {
    Pair::draining().await;
}
