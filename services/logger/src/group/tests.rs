use std::time::Duration;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::store::Cause;
use crate::testing::{FakeStore, entry, metrics, spans};

const LONG: Duration = Duration::from_secs(60);

fn start(store: &Arc<FakeStore>, config: GroupConfig) -> (Writer, JoinHandle<()>) {
    start_within(store, config, LONG)
}

fn start_within(store: &Arc<FakeStore>, config: GroupConfig, within: Duration) -> (Writer, JoinHandle<()>) {
    let store: Arc<dyn LogStore> = Arc::clone(store) as _;
    Writer::start(store, spans(), &metrics(), config, within)
}

fn one_at_a_time() -> GroupConfig {
    GroupConfig { in_flight: 1, linger: Duration::ZERO, ..GroupConfig::default() }
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn write(writer: &Writer, entries: Vec<Entry>) -> JoinHandle<Result<Vec<Written>, WriteError>> {
    let writer = writer.clone();
    tokio::spawn(async move { writer.write(entries).await })
}

#[tokio::test]
async fn calls_that_arrive_during_an_insert_share_the_next_one() {
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start(&store, one_at_a_time());
    let mut calls = vec![write(&writer, vec![entry(1)])];
    settle().await;
    for n in 2..=5 {
        calls.push(write(&writer, vec![entry(n)]));
        settle().await;
    }
    assert_eq!(store.groups(), [1], "the first call does not wait for others");
    store.gate.add_permits(2);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), [Written::Created]);
    }
    assert_eq!(store.groups(), [1, 4]);
    assert_eq!(store.ids(), (1..=5).map(|n| entry(n).id).collect::<Vec<_>>());
}

/// Starts an insert of sixteen calls, with one call waiting behind it.
async fn under_load(
    store: &Arc<FakeStore>,
    linger: Duration,
) -> (Writer, Vec<JoinHandle<Result<Vec<Written>, WriteError>>>) {
    let (writer, _task) = start(store, GroupConfig { linger, ..one_at_a_time() });
    let mut calls = vec![write(&writer, vec![entry(1)])];
    settle().await;
    calls.extend((2..=17).map(|n| write(&writer, vec![entry(n)])));
    settle().await;
    store.gate.add_permits(1);
    settle().await;
    calls.push(write(&writer, vec![entry(18)]));
    settle().await;
    assert_eq!(store.groups(), [1, 16]);
    (writer, calls)
}

#[tokio::test]
async fn lingers_under_load_for_callers_who_were_just_answered() {
    let store = Arc::new(FakeStore::gated());
    let (writer, mut calls) = under_load(&store, LONG).await;
    store.gate.add_permits(2);
    settle().await;
    assert_eq!(store.groups(), [1, 16], "the waiting call lingers");
    calls.extend((19..=30).map(|n| write(&writer, vec![entry(n)])));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), [Written::Created]);
    }
    assert_eq!(store.groups(), [1, 16, 13]);
}

#[tokio::test]
async fn lingers_no_longer_than_configured() {
    let store = Arc::new(FakeStore::gated());
    let (_writer, calls) = under_load(&store, Duration::from_millis(20)).await;
    store.gate.add_permits(2);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), [Written::Created]);
    }
    assert_eq!(store.groups(), [1, 16, 1]);
}

#[tokio::test]
async fn a_group_is_bounded_and_does_not_split_a_call() {
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start(&store, GroupConfig { max_entries: 4, ..one_at_a_time() });
    let first = write(&writer, vec![entry(1)]);
    settle().await;
    let many = |from: u128, count: u128| (from..from + count).map(entry).collect::<Vec<_>>();
    let calls = [write(&writer, many(10, 3)), write(&writer, many(20, 2)), write(&writer, many(30, 9))];
    settle().await;
    store.gate.add_permits(10);
    first.await.unwrap().unwrap();
    for (call, count) in calls.into_iter().zip([3, 2, 9]) {
        assert_eq!(call.await.unwrap().unwrap(), vec![Written::Created; count]);
    }
    assert_eq!(store.groups(), [1, 3, 2, 9]);
}

#[tokio::test]
async fn a_repeat_or_refused_entry_does_not_affect_other_calls() {
    let store = Arc::new(FakeStore::gated().refusing(entry(3).id));
    let (writer, _task) = start(&store, one_at_a_time());
    let before = write(&writer, vec![entry(1)]);
    settle().await;
    let calls = [
        write(&writer, vec![entry(1), entry(2)]),
        write(&writer, vec![entry(3)]),
        write(&writer, vec![entry(4)]),
    ];
    settle().await;
    store.gate.add_permits(2);
    before.await.unwrap().unwrap();
    let [repeat, refused, new] = calls.map(|call| async { call.await.unwrap() });
    assert_eq!(repeat.await.unwrap(), [Written::Repeated, Written::Created]);
    assert!(matches!(refused.await, Err(WriteError::Store(StoreError::Failed(_)))));
    assert_eq!(new.await.unwrap(), [Written::Created]);
}

#[tokio::test]
async fn a_conflict_does_not_affect_other_entries() {
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start(&store, one_at_a_time());
    let before = write(&writer, vec![entry(1)]);
    settle().await;
    let other = Entry { data: "other".into(), ..entry(1) };
    let later = Entry { time_ms: 5, ..entry(1) };
    let calls =
        [write(&writer, vec![other, entry(2)]), write(&writer, vec![later]), write(&writer, vec![entry(3)])];
    settle().await;
    store.gate.add_permits(2);
    before.await.unwrap().unwrap();
    let [mixed, repeat, new] = calls.map(|call| async { call.await.unwrap().unwrap() });
    assert_eq!(mixed.await, [Written::Conflict, Written::Created]);
    assert_eq!(repeat.await, [Written::Repeated]);
    assert_eq!(new.await, [Written::Created]);
    assert_eq!(store.groups(), [1, 4], "all in one insert");
}

#[tokio::test]
async fn a_failed_insert_does_not_affect_later_calls() {
    let store = Arc::new(FakeStore::default());
    let (writer, _task) = start(&store, one_at_a_time());
    *store.fail.lock().unwrap() = Some(StoreError::Unavailable(Cause::new("gone")));
    let outcome = writer.write(vec![entry(1)]).await;
    assert!(matches!(outcome, Err(WriteError::Store(StoreError::Unavailable(_)))));
    *store.fail.lock().unwrap() = None;
    assert_eq!(writer.write(vec![entry(1)]).await.unwrap(), [Written::Created]);
}

#[tokio::test]
async fn a_dropped_call_does_not_stop_its_insert() {
    let store = Arc::new(FakeStore::gated());
    let (writer, task) = start(&store, one_at_a_time());
    let call = write(&writer, vec![entry(1)]);
    settle().await;
    call.abort();
    settle().await;
    store.gate.add_permits(1);
    drop(writer);
    task.await.unwrap();
    assert_eq!(store.ids(), [entry(1).id]);
}

#[tokio::test]
async fn skips_a_call_dropped_while_waiting() {
    let store = Arc::new(FakeStore::gated());
    let (writer, task) = start(&store, one_at_a_time());
    let first = write(&writer, vec![entry(1)]);
    settle().await;
    let (gone, stays) = (write(&writer, vec![entry(2)]), write(&writer, vec![entry(3)]));
    settle().await;
    gone.abort();
    settle().await;
    store.gate.add_permits(2);
    first.await.unwrap().unwrap();
    stays.await.unwrap().unwrap();
    drop(writer);
    task.await.unwrap();
    assert_eq!(store.ids(), [entry(1).id, entry(3).id]);
}

#[tokio::test]
async fn bounds_waiting_writes_and_frees_their_room() {
    let store = Arc::new(FakeStore::gated());
    let large = |n| Entry { data: "x".repeat(6_000), ..entry(n) };
    let (writer, _task) = start(&store, GroupConfig { queue_bytes: 14_000, ..one_at_a_time() });
    let calls = [write(&writer, vec![large(1)]), write(&writer, vec![large(2)])];
    settle().await;
    assert!(matches!(writer.write(vec![large(3)]).await, Err(WriteError::Full)));
    store.gate.add_permits(10);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(writer.write(vec![large(3)]).await.unwrap(), [Written::Created]);
    assert_eq!(store.ids().len(), 3);
}

#[tokio::test]
async fn times_out_when_the_store_hangs() {
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start_within(&store, one_at_a_time(), Duration::from_millis(50));
    let (running, waiting) = (write(&writer, vec![entry(1)]), write(&writer, vec![entry(2)]));
    for call in [running, waiting] {
        assert!(matches!(call.await.unwrap(), Err(WriteError::Store(StoreError::TimedOut(_)))));
    }
}

#[tokio::test]
async fn writes_waiting_calls_before_it_ends() {
    let store = Arc::new(FakeStore::gated());
    let (writer, task) = start(&store, one_at_a_time());
    let calls: Vec<_> = (1..=9).map(|n| write(&writer, vec![entry(n)])).collect();
    settle().await;
    drop(writer);
    store.gate.add_permits(9);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    task.await.unwrap();
    assert_eq!(store.ids().len(), 9);
}

#[tokio::test]
async fn each_call_of_a_group_has_a_database_span_in_its_trace() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start(&store, one_at_a_time());
    let mut calls = vec![];
    let mut parents = vec![];
    for n in 1..=4 {
        let server = tracing::info_span!("server");
        parents.push(server.context().span().span_context().clone());
        let writer = writer.clone();
        calls.push(tokio::spawn(async move { writer.write(vec![entry(n)]).await }.instrument(server)));
        settle().await;
    }
    store.gate.add_permits(2);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let finished = exporter.get_finished_spans().unwrap();
    for (n, parent) in parents.iter().enumerate() {
        let own: Vec<_> = finished.iter().filter(|span| span.parent_span_id == parent.span_id()).collect();
        let [span] = own[..] else { panic!("{} spans for call {n}", own.len()) };
        assert_eq!(span.span_context.trace_id(), parent.trace_id());
        assert_eq!(span.name, "insert logs");
        assert_eq!(span.span_kind, opentelemetry::trace::SpanKind::Client);
        let attribute = |key: &str| {
            span.attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string())
        };
        assert_eq!(attribute("db.system.name").unwrap(), "mongodb");
        assert_eq!(attribute("db.operation.name").unwrap(), "insert");
        assert_eq!(attribute("db.collection.name").unwrap(), "logs");
        assert_eq!(attribute("db.namespace").unwrap(), "logs");
        assert_eq!(attribute("server.address").unwrap(), "db");
        let size = if n == 0 { None } else { Some("3".to_owned()) };
        assert_eq!(attribute("db.operation.batch.size"), size);
    }
}
