//! Tests of the adapter with a real FerretDB. They observe the commands that the driver sends.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use mongodb::IndexModel;
use mongodb::bson::{Bson, DateTime, oid::ObjectId};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::event::command::CommandEvent;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use weft_devstack::{FerretDb, StateDir};
use weft_runtime::config::{Fixed, Settings};

use super::lane::Limit;
use super::*;
use crate::entry::{Level, Place};
use crate::testing::entry;

/// A store with its own FerretDB, and records of the driver's commands.
struct Rig {
    store: MongoStore,
    sent: Arc<Mutex<Vec<Document>>>,
    /// Number of connections in use.
    busy: Arc<AtomicI64>,
    /// Cancelled before the driver sends `getMore`.
    get_more: CancellationToken,
    ferretdb: FerretDb,
    _state: StateDir,
}

impl Rig {
    async fn start(pool_size: u32) -> Self {
        let state = StateDir::temporary().unwrap();
        let ferretdb = FerretDb::start(&state.folder("mongodb").unwrap()).await.unwrap();
        let settings = Settings::new(Fixed::new([("MONGODB_URI", ferretdb.uri())]));
        let store = MongoStore::new(StoreConfig::from_settings(&settings).unwrap());
        let (sent, busy, get_more) = (Arc::default(), Arc::default(), CancellationToken::new());
        let mut options = durable(&store.config).await.unwrap();
        options.max_pool_size = Some(pool_size);
        options.command_event_handler = Some(record(&sent, &get_more));
        options.cmap_event_handler = Some(count(&busy));
        let database = Client::with_options(options).unwrap().database(&store.config.database);
        store.collection.set(database.collection(COLLECTION)).unwrap();
        Self { store, sent, busy, get_more, ferretdb, _state: state }
    }

    fn sent(&self, command: &str) -> Vec<Document> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter(|document| document.keys().next().unwrap() == command).cloned().collect()
    }

    async fn query(&self, query: Query) -> Result<Page, QueryError> {
        self.store.query(query, "", soon(10_000)).await
    }

    /// Waits until no operation is running and no connection is in use.
    async fn idle(&self) {
        let store = &self.store;
        let idle = || {
            store.inserts.available_permits() == INSERTS
                && store.searches.is_idle()
                && store.text_searches.is_idle()
                && self.busy.load(Ordering::SeqCst) == 0
        };
        until("all connections are returned", idle).await;
    }

    /// Reads all entries page by page. Returns their ids and the number of pages.
    async fn walk(&self, limit: usize) -> (Vec<Uuid>, usize) {
        let (mut ids, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = self.query(Query { limit, after, ..Query::default() }).await.unwrap();
            ids.extend(page.entries.iter().map(|entry| entry.id));
            pages += 1;
            after = page.next;
            if after.is_none() {
                return (ids, pages);
            }
            assert!(pages < 10_000, "paging does not end");
        }
    }
}

fn record(sent: &Arc<Mutex<Vec<Document>>>, get_more: &CancellationToken) -> EventHandler<CommandEvent> {
    let (sent, get_more) = (Arc::clone(sent), get_more.clone());
    EventHandler::callback(move |event| {
        if let CommandEvent::Started(event) = event {
            if event.command_name == "getMore" {
                get_more.cancel();
            }
            sent.lock().unwrap().push(event.command);
        }
    })
}

fn count(busy: &Arc<AtomicI64>) -> EventHandler<CmapEvent> {
    let busy = Arc::clone(busy);
    EventHandler::callback(move |event| {
        let change = match event {
            CmapEvent::ConnectionCheckedOut(_) => 1,
            CmapEvent::ConnectionCheckedIn(_) => -1,
            _ => 0,
        };
        busy.fetch_add(change, Ordering::SeqCst);
    })
}

fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("timed out waiting until {what}"));
}

#[tokio::test]
async fn a_search_sends_filter_sort_and_max_time() {
    let rig = Rig::start(4).await;
    let query = Query {
        service: Some("shop".into()),
        level: Some(Level::Error),
        from_ms: Some(5),
        to_ms: Some(9),
        limit: 50,
        after: Some(Place { time_ms: 7, id: "x".into() }),
        ..Query::default()
    };
    rig.store.query(query, "", soon(2_000)).await.unwrap();
    let [find]: [Document; 1] = rig.sent("find").try_into().unwrap();
    let [from, to, after] = [5, 9, 7].map(DateTime::from_millis);
    let expected = doc! {
        "time": { "$gte": from, "$lt": to, "$lte": after },
        "_id": { "$gte": "" },
        "service": "shop",
        "level": "ERROR",
        "$and": [{ "$or": [{ "time": { "$lt": after } }, { "time": after, "_id": { "$lt": "x" } }] }],
    };
    assert_eq!(find.get_document("filter").unwrap(), &expected);
    assert_eq!(find.get_document("sort").unwrap(), &doc! { "time": -1, "_id": -1 });
    assert_eq!(find.get_i64("limit").unwrap(), 51);
    let most_ms = find.get("maxTimeMS").and_then(|value| value.as_i64().or(value.as_i32().map(i64::from)));
    assert!(most_ms.is_some_and(|ms| (1..=1_950).contains(&ms)), "{find}");
}

#[tokio::test]
async fn a_dropped_search_kills_its_cursor() {
    let rig = Rig::start(4).await;
    rig.store.insert((1..=200).map(entry).collect()).await.unwrap();
    let within = Duration::from_secs(60);
    let limit = Limit { within, deadline: Instant::now() + within, gone: rig.get_more.clone() };
    let query = Query { limit: 150, ..Query::default() };
    let ended = search::run(&rig.store.collection().unwrap(), query, &limit).await;
    assert!(matches!(ended, Err(StoreError::TimedOut(_))), "{ended:?}");
    until("the cursor is killed", || !rig.sent("killCursors").is_empty()).await;
    assert_eq!(rig.sent("getMore").len(), 1);
}

#[tokio::test]
async fn searches_time_out_and_release_their_permits_when_the_store_hangs() {
    let rig = Rig::start(POOL_SIZE).await;
    let text = || Query { text: Some("x".into()), limit: 10, ..Query::default() };
    rig.query(text()).await.unwrap();
    rig.ferretdb.pause().unwrap();
    let searches = (0..40).map(|n| {
        let store = &rig.store;
        async move { store.query(text(), ["a", "b", "c"][n % 3], soon(400)).await }
    });
    for outcome in futures::future::join_all(searches).await {
        let late = matches!(outcome, Err(QueryError::Busy | QueryError::Store(StoreError::TimedOut(_))));
        assert!(late, "{outcome:?}");
    }
    rig.ferretdb.resume().unwrap();
    rig.idle().await;
    rig.query(text()).await.unwrap();
}

/// Fields that a filter compares for equality.
type Equal = BTreeSet<&'static str>;

#[test]
fn every_search_of_the_console_has_an_index() {
    let asked: [&[&'static str]; 8] = [
        &[],
        &["service"],
        &["level"],
        &["service", "level"],
        &["trace_id"],
        &["trace_id", "service"],
        &["trace_id", "level"],
        &["trace_id", "service", "level"],
    ];
    for fields in asked {
        let filter: Equal = fields.iter().copied().collect();
        // A trace is small, so its index suffices for any other filter.
        let needed = if filter.contains("trace_id") { Equal::from(["trace_id"]) } else { filter };
        let serves = |index: &&[(&'static str, i32)]| {
            let (equal, order) = index.split_at(index.len() - 2);
            order == [("time", -1), ("_id", -1)]
                && equal.iter().map(|(field, _)| *field).collect::<Equal>() == needed
        };
        assert!(schema::SEARCHES.iter().any(serves), "no index serves {fields:?}");
    }
}

#[tokio::test]
async fn creates_indexes_once_and_drops_those_of_earlier_versions() {
    let rig = Rig::start(4).await;
    let collection = rig.store.collection().unwrap();
    rig.store.insert(vec![entry(1)]).await.unwrap();
    let earlier = [doc! { "service": 1, "time": -1 }, doc! { "time": -1, "_id": -1 }, doc! { "trace_id": 1 }];
    collection.create_indexes(earlier.map(|keys| IndexModel::builder().keys(keys).build())).await.unwrap();
    rig.sent.lock().unwrap().clear();
    for _ in 0..2 {
        schema::index_searches(&collection).await.unwrap();
    }
    // One index already existed, and the second time all did.
    let [created]: [Document; 1] = rig.sent("createIndexes").try_into().unwrap();
    assert_eq!(created.get_array("indexes").unwrap().len(), schema::SEARCHES.len() - 1);
    let mut names = collection.list_index_names().await.unwrap();
    names.sort_unstable();
    let expected = [
        "_id_",
        "level_1_time_-1__id_-1",
        "service_1_level_1_time_-1__id_-1",
        "service_1_time_-1__id_-1",
        "time_-1__id_-1",
        "trace_id_1_time_-1__id_-1",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_conflicting_index_does_not_prevent_the_others() {
    let rig = Rig::start(4).await;
    let collection = rig.store.collection().unwrap();
    let named = mongodb::options::IndexOptions::builder().name("by_level".to_owned()).build();
    let keys = doc! { "level": 1, "time": -1, "_id": -1 };
    collection.create_index(IndexModel::builder().keys(keys).options(named).build()).await.unwrap();
    schema::index_searches(&collection).await.unwrap();
    let names = collection.list_index_names().await.unwrap();
    assert_eq!(names.len(), 1 + schema::SEARCHES.len(), "{names:?}");
    assert!(
        names.contains(&"by_level".to_owned()) && names.contains(&"trace_id_1_time_-1__id_-1".to_owned())
    );
}

/// A document like an entry, with the given id and time.
fn like_an_entry(id: impl Into<Bson>, time_ms: i64) -> Document {
    let id: Bson = id.into();
    let now = DateTime::from_millis(0);
    let time = DateTime::from_millis(time_ms);
    doc! {
        "_id": id, "name": "n", "data": "d", "service": "s", "level": "INFO", "time": time,
        "created_at": now, "updated_at": now,
    }
}

fn without(field: &str, mut document: Document) -> Document {
    document.remove(field);
    document
}

#[tokio::test]
async fn documents_that_are_not_entries_do_not_end_paging() {
    let rig = Rig::start(4).await;
    let entries: Vec<Entry> = (1..=6).map(|n| Entry { time_ms: 1_000 * n, ..entry(n as u128) }).collect();
    rig.store.insert(entries.clone()).await.unwrap();
    let upper_case = Uuid::from_u128(u128::MAX);
    let now = DateTime::from_millis(0);
    let mut foreign = vec![
        // A document of the original logger.
        doc! { "_id": ObjectId::new(), "name": "n", "data": "d", "created_at": now, "updated_at": now },
        like_an_entry(ObjectId::new(), 5_000),
        like_an_entry(17, 5_000),
        like_an_entry("", 5_000),
        like_an_entry("x".repeat(2_000), 5_000),
        like_an_entry("order-1", 4_000),
        like_an_entry(Uuid::from_u128(7).to_string(), weft_values::time::RANGE_MS.end() + 1),
        like_an_entry(upper_case.to_string().to_uppercase(), 4_500),
    ];
    for field in ["name", "data", "service", "level", "created_at"] {
        foreign.push(without(field, like_an_entry(Uuid::new_v4().to_string(), 3_500)));
    }
    // More documents with the same time than a page reads.
    foreign.extend((0..1_500).map(|n| without("name", like_an_entry(format!("{n:08}-0"), 2_000))));
    let collection = rig.store.collection().unwrap().clone_with_type::<Document>();
    collection.insert_many(foreign).await.unwrap();

    let expected: Vec<Uuid> = [6, 5].into_iter().map(Uuid::from_u128).chain([upper_case]).collect();
    let expected = [expected, (1..=4).rev().map(Uuid::from_u128).collect()].concat();
    for limit in [1, 3, 100] {
        let (ids, pages) = rig.walk(limit).await;
        assert_eq!(ids, expected, "by {limit}");
        assert!(pages <= expected.len() + 10, "{pages} pages by {limit}");
    }
}

#[tokio::test]
async fn repeats_are_recognised_in_time_in_a_large_collection() {
    let rig = Rig::start(POOL_SIZE).await;
    let group = |first: u128| (first..first + 500).map(entry).collect::<Vec<_>>();
    for n in 0..40 {
        rig.store.insert(group(n * 500)).await.unwrap();
    }
    let mut repeats = group(10_000);
    repeats[7].data = "other".into();
    let results = rig.store.insert(repeats).await.expect("within LOG_INSERT_TIMEOUT");
    for (n, result) in results.iter().enumerate() {
        let right = match n {
            7 => matches!(result, Inserted::Conflict),
            _ => matches!(result, Inserted::AlreadyThere),
        };
        assert!(right, "{n}: {result:?}");
    }
}

/// A seeded pseudo-random generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Makes calls and drops three of four at random times. Returns the ids of acknowledged entries.
async fn drop_calls(store: &MongoStore, mut random: Random) -> Vec<Uuid> {
    let mut acknowledged = Vec::new();
    for turn in 0..60 {
        let patience = match turn % 4 {
            0 => Duration::from_secs(60),
            _ => Duration::from_micros(random.below(12_000)),
        };
        if random.below(3) == 0 {
            let query = Query { limit: 1_000, ..Query::default() };
            let _ = timeout(patience, store.query(query, "", soon(5_000))).await;
            continue;
        }
        let entries: Vec<Entry> = (0..=random.below(3)).map(|_| entry(Uuid::new_v4().as_u128())).collect();
        let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
        if let Ok(Ok(outcomes)) = timeout(patience, store.insert(entries)).await {
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Inserted::Created)), "{outcomes:?}");
            acknowledged.extend(ids);
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_calls_lose_no_acknowledged_entry_and_leak_no_connection() {
    let seed = std::env::var("WEFT_SEED")
        .map_or_else(|_| Uuid::new_v4().as_u128() as u64, |text| text.parse().unwrap());
    println!("WEFT_SEED={seed}");
    let rig = Rig::start(2).await;
    let callers = (0..16).map(|n| drop_calls(&rig.store, Random(seed.wrapping_add(n))));
    let acknowledged = futures::future::join_all(callers).await.concat();
    assert!(!acknowledged.is_empty(), "no call was answered, so nothing was tested");
    rig.idle().await;
    rig.store.insert(vec![entry(1)]).await.unwrap();
    let (stored, _) = rig.walk(1_000).await;
    let stored: BTreeSet<Uuid> = stored.into_iter().collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged entries are lost", lost.len(), acknowledged.len());
}
