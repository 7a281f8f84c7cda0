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

/// Runs every task until each waits for something.
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
async fn what_arrives_during_an_insert_shares_the_next_one_in_order() {
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start(&store, one_at_a_time());
    let mut calls = vec![write(&writer, vec![entry(1)])];
    settle().await;
    for n in 2..=5 {
        calls.push(write(&writer, vec![entry(n)]));
        settle().await;
    }
    assert_eq!(store.groups(), [1], "the first does not wait for company");
    store.gate.add_permits(2);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), [Written::Created]);
    }
    assert_eq!(store.groups(), [1, 4]);
    assert_eq!(store.ids(), (1..=5).map(|n| entry(n).id).collect::<Vec<_>>());
}

/// A group of sixteen calls in the store, and one call that waits behind it.
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
async fn under_load_callers_who_were_just_answered_share_the_group_of_those_who_wait() {
    let store = Arc::new(FakeStore::gated());
    let (writer, mut calls) = under_load(&store, LONG).await;
    store.gate.add_permits(2);
    settle().await;
    assert_eq!(store.groups(), [1, 16], "the call that waited goes with the others");
    calls.extend((19..=30).map(|n| write(&writer, vec![entry(n)])));
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), [Written::Created]);
    }
    assert_eq!(store.groups(), [1, 16, 13]);
}

#[tokio::test]
async fn callers_who_do_not_come_back_are_waited_for_a_moment_only() {
    let store = Arc::new(FakeStore::gated());
    let (_writer, calls) = under_load(&store, Duration::from_millis(20)).await;
    store.gate.add_permits(2);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), [Written::Created]);
    }
    assert_eq!(store.groups(), [1, 16, 1]);
}

#[tokio::test]
async fn a_group_is_bounded_and_keeps_a_calls_entries_together() {
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
async fn a_repeat_is_told_from_a_new_entry_and_a_refused_one_harms_no_other() {
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
async fn a_conflict_harms_no_other_entry_of_its_group_or_call() {
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
    assert_eq!(store.groups(), [1, 4], "all of them in one insert");
}

#[tokio::test]
async fn an_insert_that_fails_fails_its_calls_and_no_later_one() {
    let store = Arc::new(FakeStore::default());
    let (writer, _task) = start(&store, one_at_a_time());
    *store.fail.lock().unwrap() = Some(StoreError::Unavailable(Cause::new("gone")));
    let outcome = writer.write(vec![entry(1)]).await;
    assert!(matches!(outcome, Err(WriteError::Store(StoreError::Unavailable(_)))));
    *store.fail.lock().unwrap() = None;
    assert_eq!(writer.write(vec![entry(1)]).await.unwrap(), [Written::Created]);
}

#[tokio::test]
async fn a_caller_who_leaves_during_the_insert_does_not_stop_it() {
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
async fn a_caller_who_leaves_while_waiting_is_left_out() {
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
async fn what_waits_is_bounded_and_room_comes_back() {
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
async fn a_store_that_hangs_gets_an_answer_within_bounds() {
    let store = Arc::new(FakeStore::gated());
    let (writer, _task) = start_within(&store, one_at_a_time(), Duration::from_millis(50));
    let (running, waiting) = (write(&writer, vec![entry(1)]), write(&writer, vec![entry(2)]));
    for call in [running, waiting] {
        assert!(matches!(call.await.unwrap(), Err(WriteError::Store(StoreError::TimedOut(_)))));
    }
}

#[tokio::test]
async fn what_waits_is_written_before_the_end() {
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
async fn each_call_of_a_group_has_its_own_database_span_in_its_own_trace() {
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
