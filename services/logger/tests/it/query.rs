use anyhow::Result;
use prost_types::Timestamp;
use weft_proto::weft::log::v1::{Entry, Level, QueryRequest, WriteManyRequest};

use crate::helpers::{Rig, entry, ids, write};

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// `count` entries, newest first; three entries share a time.
fn series(count: i64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = (0..count)
        .map(|n| Entry {
            time: at(1_000 + n / 3),
            service: ["shop", "stock"][(n % 2) as usize].to_owned(),
            level: [Level::Info, Level::Warning, Level::Error][(n % 3) as usize].into(),
            trace_id: format!("{:032x}", 1 + n % 5),
            data: format!("number {n}."),
            ..entry(&format!("n{n}"))
        })
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.time.map(|time| time.seconds), entry.id.clone())));
    entries
}

async fn filled(entries: &[Entry]) -> Result<Rig> {
    let rig = Rig::start().await?;
    rig.client()?.write_many(WriteManyRequest { entries: entries.to_vec(), traceparents: vec![] }).await?;
    Ok(rig)
}

#[tokio::test]
async fn every_filter_returns_matching_entries() -> Result<()> {
    let entries = series(60);
    let rig = filled(&entries).await?;
    let none = || QueryRequest { from: at(0), ..QueryRequest::default() };
    let trace = format!("{:032x}", 2);
    type Wanted<'a> = Box<dyn Fn(&Entry) -> bool + 'a>;
    let seconds = |entry: &Entry| entry.time.map_or(0, |time| time.seconds);
    let cases: Vec<(QueryRequest, Wanted<'_>)> = vec![
        (none(), Box::new(|_| true)),
        (QueryRequest { service: "shop".into(), ..none() }, Box::new(|e| e.service == "shop")),
        (QueryRequest { service: "Shop".into(), ..none() }, Box::new(|_| false)),
        (QueryRequest { level: Level::Error.into(), ..none() }, Box::new(|e| e.level() == Level::Error)),
        (QueryRequest { trace_id: trace.clone(), ..none() }, Box::new(|e| e.trace_id == trace)),
        (QueryRequest { text: "number 1".into(), ..none() }, Box::new(|e| e.data.contains("number 1"))),
        (QueryRequest { text: "n4".into(), ..none() }, Box::new(|e| e.name.contains("n4"))),
        (QueryRequest { text: "N4".into(), ..none() }, Box::new(|_| false)),
        (
            QueryRequest { from: at(1_005), to: at(1_009), ..none() },
            Box::new(move |e| (1_005..1_009).contains(&seconds(e))),
        ),
        (
            QueryRequest {
                service: "stock".into(),
                level: Level::Info.into(),
                text: ".".into(),
                to: at(1_010),
                ..none()
            },
            Box::new(move |e| e.service == "stock" && e.level() == Level::Info && seconds(e) < 1_010),
        ),
    ];
    for (request, wanted) in cases {
        let expected: Vec<Entry> = entries.iter().filter(|entry| wanted(entry)).cloned().collect();
        for limit in [1_000, 7] {
            let found = rig.all(QueryRequest { limit, ..request.clone() }).await?;
            assert_eq!(ids(&found), ids(&expected), "{request:?} by {limit}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn pages_have_no_gap_or_overlap_while_entries_are_added() -> Result<()> {
    let entries = series(25);
    let rig = filled(&entries).await?;
    let mut client = rig.client()?;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            client.query(QueryRequest { limit: 4, cursor, ..QueryRequest::default() }).await?.into_inner();
        assert!(page.items.len() <= 4);
        found.extend(ids(&page.items));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cursor}");
        client.write(write(Entry { time: at(5_000), ..entry("newer than all") })).await?;
    }
    assert_eq!(found, ids(&entries));
    Ok(())
}

#[tokio::test]
async fn searches_for_special_characters_literally() -> Result<()> {
    let rig = Rig::start().await?;
    let odd = ["a.*b", "(", "[x]", "\\d", "a\0b", "ünï 😀", "^$|?+{}", "-#&~ \t\n", "/'\""];
    let entries: Vec<Entry> =
        odd.iter().map(|text| Entry { data: format!("before{text}after"), ..entry("odd") }).collect();
    let mut all = entries.clone();
    all.push(Entry { data: "aXXb before7after x".to_owned(), ..entry("plain") });
    rig.client()?.write_many(WriteManyRequest { entries: all, traceparents: vec![] }).await?;
    for (text, entry) in odd.iter().zip(&entries) {
        let found = rig.all(QueryRequest { text: (*text).to_owned(), ..QueryRequest::default() }).await?;
        assert_eq!(ids(&found), std::slice::from_ref(&entry.id), "{text:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_page_of_large_entries_fits_into_a_reply() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    for n in 0..5 {
        client.write(write(Entry { time: at(n), data: "x".repeat(1 << 20), ..entry("large") })).await?;
    }
    assert_eq!(rig.all(QueryRequest { limit: 1_000, ..QueryRequest::default() }).await?.len(), 5);
    Ok(())
}
