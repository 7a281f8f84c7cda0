use std::{collections::HashMap, sync::OnceLock, time::Duration};

use opentelemetry::{
    Value,
    trace::{SpanKind, Status, TracerProvider},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};
use tokio::time::{Instant, sleep};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use weft_events::{ConsumerOptions, Outcome, Queue};

use crate::helpers::{Kept, Place, event, handler_fn, next, soon};

/// Spans of the whole test run; each test finds its own by message id.
fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
        exporter
    })
}

fn attributes(span: &SpanData) -> HashMap<String, Value> {
    span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.clone())).collect()
}

/// Waits for `count` spans about a message; returns them in the order in which they ended.
async fn spans_of(id: &str, count: usize) -> Vec<SpanData> {
    let deadline: Instant = soon();
    loop {
        let all = exporter().get_finished_spans().unwrap();
        let own = |span: &SpanData| {
            attributes(span).get("messaging.message.id").is_some_and(|value| value.as_str() == id)
        };
        let spans: Vec<_> = all.into_iter().filter(own).collect();
        if spans.len() == count {
            return spans;
        }
        assert!(Instant::now() < deadline, "{} spans, not {count}: {spans:#?}", spans.len());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_trace_contains_the_publication_and_every_attempt() {
    exporter();
    let place = Place::new().await;
    let (handler, mut seen) =
        handler_fn(|event| if event.attempts == 0 { Outcome::Retry("once".into()) } else { Outcome::Done });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.INFO");
    let request = tracing::info_span!("request");
    running.publisher.publish(&sent, soon()).instrument(request).await.unwrap();
    next(&mut seen).await;
    next(&mut seen).await;

    let spans = spans_of(&sent.id, 4).await;
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "send events:log.INFO",
            "send listener.log.retry.1s",
            "process events:log.INFO:listener.log",
            "process listener.log"
        ]
    );
    let [producer, retry, first, second] = &spans[..] else { panic!("expected four spans") };
    let trace = producer.span_context.trace_id();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace));

    assert_eq!(producer.span_kind, SpanKind::Producer);
    let sent_with = attributes(producer);
    for (name, value) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "send"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "events:log.INFO"),
        ("messaging.rabbitmq.destination.routing_key", "log.INFO"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(
            sent_with.get(name).map(|value| value.as_str().into_owned()).as_deref(),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(sent_with["messaging.message.body.size"], Value::I64(sent.data.len() as i64));
    assert!(matches!(sent_with["server.port"], Value::I64(_)));

    for attempt in [first, second] {
        assert_eq!(attempt.span_kind, SpanKind::Consumer);
        assert_eq!(
            attempt.parent_span_id,
            producer.span_context.span_id(),
            "every attempt is a child of the publication"
        );
        let links: Vec<_> = attempt.links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [producer.span_context.span_id()]);
        assert_eq!(attributes(attempt)["messaging.operation.type"].as_str(), "process");
    }
    assert_eq!(retry.parent_span_id, first.span_context.span_id());
    assert_eq!(first.status, Status::error("once"));
    assert_eq!(attributes(first)["error.type"].as_str(), "retry");
    assert_eq!(second.status, Status::Unset);
    running.end().await;
}

#[tokio::test]
async fn a_replay_joins_the_event_trace_and_links_to_its_request() {
    exporter();
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Rejected("no".into()));
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.INFO");
    let request = tracing::info_span!("request");
    running.publisher.publish(&sent, soon()).instrument(request).await.unwrap();
    next(&mut seen).await;
    let kept = Kept::new();
    let mover = place.move_letters(&kept);
    let letter = kept.until(1).await.remove(0);
    mover.abort();
    assert_eq!(letter.trace_id.as_ref().map(String::len), Some(32));
    let asking = tracing::info_span!("asking", messaging.message.id = sent.id);
    let replay = running.publisher.replay(Queue::Log, &letter.kind, &letter.properties, &letter.body, soon());
    replay.instrument(asking).await.unwrap();
    next(&mut seen).await;

    let spans = spans_of(&sent.id, 7).await;
    let of = |name: &str| -> Vec<_> { spans.iter().filter(|span| span.name == name).collect() };
    let (producer, replay, asking) =
        (of("send events:log.INFO")[0], of("send listener.log")[0], of("asking")[0]);
    let trace = producer.span_context.trace_id();
    assert_eq!(replay.span_kind, SpanKind::Producer);
    assert_eq!(
        (replay.span_context.trace_id(), replay.parent_span_id),
        (trace, producer.span_context.span_id())
    );
    let links: Vec<_> = replay.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [asking.span_context.span_id()]);
    assert_ne!(asking.span_context.trace_id(), trace);
    let again = of("process listener.log")[0];
    assert_eq!(
        (again.span_context.trace_id(), again.parent_span_id),
        (trace, producer.span_context.span_id())
    );
    running.end().await;
}

#[tokio::test]
async fn marks_the_span_of_a_failed_publication() {
    exporter();
    let place = Place::new().await;
    let lost = event("nobody.wants");
    place.publisher().publish(&lost, soon()).await.unwrap_err();
    let spans = spans_of(&lost.id, 1).await;
    assert!(
        matches!(&spans[0].status, Status::Error { description } if description.contains("no queue is bound"))
    );
    assert_eq!(attributes(&spans[0])["error.type"].as_str(), "unroutable");
}
