use weft_values::time::RANGE_MS;

use super::*;

const NOW: i64 = 1_764_000_000_123;

fn received() -> Received {
    Received { now_ms: NOW, trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()) }
}

fn proto() -> pb::Entry {
    pb::Entry { id: Uuid::from_u128(9).to_string(), name: "sold".into(), ..pb::Entry::default() }
}

fn write(change: impl FnOnce(&mut pb::Entry)) -> Result<Entry, Invalid> {
    let mut entry = proto();
    change(&mut entry);
    single(pb::WriteRequest { entry: Some(entry) }, &received())
}

fn refused_field(change: impl FnOnce(&mut pb::Entry)) -> String {
    write(change).unwrap_err().field
}

#[test]
fn missing_fields_get_defaults() {
    let entry = write(|_| ()).unwrap();
    assert_eq!((entry.time_ms, entry.received_ms, entry.level), (NOW, NOW, Level::Info));
    assert_eq!((entry.service.as_str(), entry.data.as_str()), ("unknown", ""));
    assert_eq!(entry.trace_id, received().trace_id);
}

#[test]
fn names_the_invalid_field() {
    let nothing = single(pb::WriteRequest { entry: None }, &received()).unwrap_err();
    assert_eq!(nothing.to_string(), "entry: is missing");
    assert_eq!(refused_field(|e| e.id.clear()), "entry.id");
    assert_eq!(refused_field(|e| e.id = "7".into()), "entry.id");
    assert_eq!(refused_field(|e| e.id = Uuid::nil().to_string()), "entry.id");
    assert_eq!(refused_field(|e| e.name.clear()), "entry.name");
    assert_eq!(refused_field(|e| e.name = " \n\t".into()), "entry.name");
    assert_eq!(refused_field(|e| e.name = "n".repeat(257)), "entry.name");
    assert_eq!(refused_field(|e| e.data = "d".repeat((1 << 20) + 1)), "entry.data");
    assert_eq!(refused_field(|e| e.service = "s".repeat(129)), "entry.service");
    assert_eq!(refused_field(|e| e.level = 7), "entry.level");
    assert_eq!(refused_field(|e| e.level = -1), "entry.level");
}

#[test]
fn counts_characters_of_names_and_bytes_of_data() {
    assert!(write(|e| e.name = "ü".repeat(256)).is_ok());
    assert!(write(|e| e.data = "d".repeat(1 << 20)).is_ok());
}

#[test]
fn accepts_control_characters() {
    let text = "a\0b\u{1b}[2J\r\n\u{202e}";
    assert_eq!(write(|e| e.name = text.into()).unwrap().name, text);
}

#[test]
fn rejects_times_outside_the_years_1_to_9999() {
    let at = |seconds, nanos| write(|e| e.time = Some(Timestamp { seconds, nanos }));
    assert_eq!(at(-62_135_596_800, 0).unwrap().time_ms, *RANGE_MS.start());
    assert_eq!(at(253_402_300_799, 999_999_999).unwrap().time_ms, *RANGE_MS.end());
    assert_eq!(at(-1, 999_999_999).unwrap().time_ms, -1, "rounded down");
    for (seconds, nanos) in [
        (253_402_300_800, 0),
        (-62_135_596_801, 999_999_999),
        (0, -1),
        (0, 1_000_000_000),
        (i64::MAX, 0),
        (i64::MIN, 0),
    ] {
        assert_eq!(at(seconds, nanos).unwrap_err().field, "entry.time", "{seconds} {nanos}");
    }
}

#[test]
fn rejects_an_invalid_trace_id() {
    for invalid in
        ["0", "0AF7651916CD43DD8448EB211C80319C", &"0".repeat(32), &"g".repeat(32), &"a".repeat(33)]
    {
        assert_eq!(refused_field(|e| e.trace_id = invalid.into()), "entry.trace_id", "{invalid}");
    }
    assert_eq!(write(|e| e.trace_id = "a".repeat(32)).unwrap().trace_id, Some("a".repeat(32)));
}

#[test]
fn attributes_are_bounded_and_sorted() {
    let with = |pairs: &[(String, String)]| write(|e| e.attributes = pairs.iter().cloned().collect());
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let entry = with(&[pair("b", "2"), pair("a", "1")]).unwrap();
    assert_eq!(entry.attributes, [pair("a", "1"), pair("b", "2")]);
    let too_many: Vec<_> = (0..65).map(|n| pair(&n.to_string(), "")).collect();
    for invalid in
        [&too_many[..], &[pair("", "x")], &[pair(&"k".repeat(129), "")], &[pair("k", &"v".repeat(4097))]]
    {
        assert_eq!(with(invalid).unwrap_err().field, "entry.attributes");
    }
}

#[test]
fn rejects_many_entries_and_names_the_index() {
    let with =
        |entries, traceparents| super::many(pb::WriteManyRequest { entries, traceparents }, &received());
    let many = |entries| with(entries, Vec::new()).map(|(entries, _)| entries);
    let numbered = |n: u128| pb::Entry { id: Uuid::from_u128(n).to_string(), ..proto() };
    assert_eq!(many((1..=1_000).map(numbered).collect()).unwrap().len(), 1_000);
    assert_eq!(many((1..=1_001).map(numbered).collect()).unwrap_err().field, "entries");
    assert_eq!(many(Vec::new()).unwrap_err().field, "entries");
    let nameless = pb::Entry { name: String::new(), ..numbered(3) };
    assert_eq!(many(vec![numbered(1), numbered(2), nameless]).unwrap_err().field, "entries[2].name");
    let twice = many(vec![numbered(1), numbered(2), numbered(1)]).unwrap_err();
    assert_eq!(twice.to_string(), "entries[2].id: is the same as in entries[0]");
    let fewer = with(vec![numbered(1), numbered(2)], vec![String::new()]).unwrap_err();
    assert_eq!(fewer.field, "traceparents");
    assert!(with(vec![numbered(1)], vec![String::new()]).is_ok());
}

#[test]
fn accepts_an_entry_of_the_original() {
    let log = |name: &str| Some(weft_proto::logs::Log { name: name.into(), data: "d".into() });
    let entry = original(log("event"), Uuid::from_u128(4), &received()).unwrap();
    assert_eq!((entry.id, entry.level, entry.service.as_str()), (Uuid::from_u128(4), Level::Info, "unknown"));
    assert_eq!(original(log(""), Uuid::from_u128(4), &received()).unwrap_err().field, "logEntry.name");
    assert_eq!(original(None, Uuid::from_u128(4), &received()).unwrap_err().field, "logEntry");
}

#[test]
fn rejects_an_invalid_query() {
    let query = |request| query(request, NOW);
    let invalid_field = |request: pb::QueryRequest| query(request).unwrap_err().field;
    let moment = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let none = pb::QueryRequest::default;
    assert_eq!(query(none()).unwrap(), Query { limit: 100, ..Query::default() });
    assert_eq!(query(pb::QueryRequest { limit: 1_000, ..none() }).unwrap().limit, 1_000);
    assert_eq!(invalid_field(pb::QueryRequest { limit: 1_001, ..none() }), "limit");
    assert_eq!(invalid_field(pb::QueryRequest { cursor: "zzz".into(), ..none() }), "cursor");
    assert_eq!(invalid_field(pb::QueryRequest { text: "t".repeat(257), ..none() }), "text");
    assert_eq!(invalid_field(pb::QueryRequest { level: 9, ..none() }), "level");
    assert_eq!(invalid_field(pb::QueryRequest { trace_id: "x".into(), ..none() }), "trace_id");
    assert_eq!(invalid_field(pb::QueryRequest { to: moment(i64::MAX), ..none() }), "to");
    assert_eq!(invalid_field(pb::QueryRequest { from: moment(2), to: moment(1), ..none() }), "from");
}

/// The broker validates with `weft_values` only, so everything that crate accepts must be accepted here.
#[test]
fn accepts_everything_that_the_broker_accepts() {
    let mut texts: Vec<String> = (0..=0x24ff_u32).filter_map(char::from_u32).map(String::from).collect();
    texts.extend(["\u{200b}", "\u{feff}", "\u{fffe}", "\u{10ffff}", "a\0", " a "].map(str::to_owned));
    texts.extend([text::ENTRY_NAME, text::ENTRY_NAME + 1].map(|length| "\u{10ffff}".repeat(length)));
    let (mut accepted, mut refused) = (0, 0);
    for name in texts {
        let valid = text::entry_name(&name).is_ok();
        assert_eq!(write(|e| e.name = name.clone()).is_ok(), valid, "{name:?}");
        accepted += usize::from(valid);
        refused += usize::from(!valid);
    }
    assert!(accepted > 9_000 && refused > 80, "{accepted} {refused}");
    for time in ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z", "9999-12-30T22:00:00Z"] {
        let time = time::to_proto(time.parse().unwrap());
        assert!(
            write(|e| e.time = Some(time)).is_ok()
                && query(pb::QueryRequest { from: Some(time), ..pb::QueryRequest::default() }, NOW).is_ok()
        );
    }
    for key in ["x", "~", "0191d4b0-7d2a-7c3e-8f00-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
        let key = weft_values::key::Key::parse(key).unwrap();
        let scope = weft_values::key::Scope {
            caller: None,
            operation: weft_values::key::Operation::Log,
            key: key.as_str(),
            index: None,
        };
        assert!(write(|e| e.id = scope.id().to_string()).is_ok());
    }
}

#[test]
fn searches_for_a_text_in_the_last_24_hours_by_default() {
    const DAY_S: i64 = 86_400;
    let text = || pb::QueryRequest { text: "sold".into(), ..pb::QueryRequest::default() };
    let moment = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let range = |request| {
        let query = query(request, NOW).unwrap();
        (query.from_ms, query.to_ms, query.default_range)
    };
    let day_before_now = Some(NOW - DAY_S * 1_000);
    assert_eq!(range(text()), (day_before_now, None, true));
    assert_eq!(range(pb::QueryRequest { level: 5, ..text() }), (day_before_now, None, true));
    let to_ms = Some(3 * DAY_S * 1_000);
    let before = range(pb::QueryRequest { to: moment(3 * DAY_S), ..text() });
    assert_eq!(before, (Some(2 * DAY_S * 1_000), to_ms, true));
    let year_1 =
        range(pb::QueryRequest { to: moment(weft_values::time::RANGE_MS.start() / 1_000), ..text() });
    assert_eq!(year_1.0, Some(*weft_values::time::RANGE_MS.start()));
    for narrowed in [
        pb::QueryRequest { from: moment(5), ..text() },
        pb::QueryRequest { service: "shop".into(), ..text() },
        pb::QueryRequest { trace_id: "a".repeat(32), ..text() },
        pb::QueryRequest { service: "shop".into(), ..pb::QueryRequest::default() },
    ] {
        let from_ms = narrowed.from.map(|from| from.seconds * 1_000);
        assert_eq!(range(narrowed), (from_ms, None, false));
    }
}
