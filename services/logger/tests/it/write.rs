use std::collections::HashMap;

use anyhow::Result;
use prost_types::Timestamp;
use tonic::Code;
use uuid::Uuid;
use weft_devstack::ServiceOptions;
use weft_proto::logs::log_service_client::LogServiceClient as OriginalClient;
use weft_proto::logs::{Log, LogRequest};
use weft_proto::weft::log::v1::{Entry, Level, QueryRequest, WriteManyRequest};

use crate::helpers::{Rig, entry, ids, sorted, until, write};

#[tokio::test]
async fn an_entry_round_trips() -> Result<()> {
    let rig = Rig::start().await?;
    let written = Entry {
        id: Uuid::new_v4().to_string(),
        time: Some(Timestamp { seconds: -62_135_596_800, nanos: 5_000_000 }),
        service: "shop".to_owned(),
        level: Level::Fatal.into(),
        name: "a\0b \u{1b}[31m ü".to_owned(),
        data: "{\"$set\": 1}\r\n\u{10ffff}".to_owned(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        attributes: HashMap::from([
            ("$http.method\0".to_owned(), "GET".to_owned()),
            ("empty".to_owned(), String::new()),
        ]),
    };
    assert!(rig.client()?.write(write(written.clone())).await?.into_inner().created);
    assert_eq!(rig.all(QueryRequest::default()).await?, [written]);
    Ok(())
}

#[tokio::test]
async fn stores_a_repeat_with_the_same_content_once() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = Entry { attributes: [("k".to_owned(), "v".to_owned())].into(), ..entry("first") };
    assert!(client.write(write(first.clone())).await?.into_inner().created);
    let later = Some(Timestamp { seconds: 5, nanos: 0 });
    let repeat =
        Entry { id: first.id.to_uppercase(), time: later, trace_id: "a".repeat(32), ..first.clone() };
    let repeated = client.write(write(repeat)).await?.into_inner();
    assert!(!repeated.created && !repeated.conflict);
    assert_eq!(rig.all(QueryRequest::default()).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_repeat_with_other_content_is_a_conflict() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = entry("first");
    client.write(write(first.clone())).await?;
    let other = Entry { data: "other".to_owned(), ..first.clone() };
    let refused = client.write(write(other.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let entries = vec![entry("before"), other, entry("after"), first.clone()];
    // The same id twice in one call is invalid.
    let both = WriteManyRequest { entries: entries.clone(), traceparents: vec![] };
    assert_eq!(client.write_many(both).await.unwrap_err().code(), Code::InvalidArgument);
    let many = WriteManyRequest { entries: entries[..3].to_vec(), traceparents: vec![] };
    let results = client.write_many(many).await?.into_inner().results;
    let outcomes: Vec<_> = results.iter().map(|result| (result.created, result.conflict)).collect();
    assert_eq!(outcomes, [(true, false), (false, true), (true, false)]);
    let stored = rig.all(QueryRequest::default()).await?;
    let mut names: Vec<_> = stored.iter().map(|entry| (entry.name.as_str(), entry.data.as_str())).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&("first", first.data.as_str())), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn missing_fields_get_defaults() -> Result<()> {
    let rig = Rig::start().await?;
    let mut request = tonic::Request::new(write(entry("bare")));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    request.metadata_mut().insert("traceparent", format!("00-{trace}-00f067aa0ba902b7-01").parse()?);
    rig.client()?.write(request).await?;
    let [found] = &rig.all(QueryRequest::default()).await?[..] else { anyhow::bail!("expected one entry") };
    assert_eq!(
        (found.service.as_str(), found.level(), found.trace_id.as_str()),
        ("unknown", Level::Info, trace)
    );
    assert!(found.time.is_some_and(|time| time.seconds > 1_700_000_000));
    Ok(())
}

#[tokio::test]
async fn a_repeat_completes_a_partly_stored_call() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let entries: Vec<Entry> = (0..1_000).map(|n| entry(&format!("entry {n}"))).collect();
    client.write(write(entries[7].clone())).await?;
    let results = client
        .write_many(WriteManyRequest { entries: entries.clone(), traceparents: vec![] })
        .await?
        .into_inner()
        .results;
    let created: Vec<bool> = results.iter().map(|result| result.created).collect();
    assert_eq!(created, (0..1_000).map(|n| n != 7).collect::<Vec<_>>());
    let results = client
        .write_many(WriteManyRequest { entries: entries.clone(), traceparents: vec![] })
        .await?
        .into_inner()
        .results;
    assert!(results.iter().all(|result| !result.created));
    let stored = rig.all(QueryRequest { limit: 300, ..QueryRequest::default() }).await?;
    assert_eq!(sorted(ids(&stored)), sorted(ids(&entries)));
    Ok(())
}

#[tokio::test]
async fn two_hundred_writers_store_each_entry_once() -> Result<()> {
    let rig = Rig::start().await?;
    let client = rig.client()?;
    let tasks: Vec<_> = (0..200)
        .map(|writer| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let mut written = Vec::new();
                for n in 0..10 {
                    let entry = entry(&format!("{writer}/{n}"));
                    written.push(entry.id.clone());
                    let (one, two) = (write(entry.clone()), write(entry));
                    let mut twin = client.clone();
                    // The same entry twice at once, like a retry that overtakes the first call.
                    let (one, two) = tokio::try_join!(client.write(one), twin.write(two))?;
                    anyhow::ensure!(
                        one.into_inner().created != two.into_inner().created,
                        "expected exactly one `created`"
                    );
                }
                Ok(written)
            })
        })
        .collect();
    let mut written = Vec::new();
    for task in tasks {
        written.extend(task.await??);
    }
    let stored = rig.all(QueryRequest { limit: 1_000, ..QueryRequest::default() }).await?;
    assert_eq!(sorted(ids(&stored)), sorted(written));
    Ok(())
}

#[tokio::test]
async fn accepts_entries_of_the_originals_broker() -> Result<()> {
    let rig = Rig::start().await?;
    let mut original = OriginalClient::new(rig.channel()?);
    let log =
        |name: &str| LogRequest { log_entry: Some(Log { name: name.to_owned(), data: "d".to_owned() }) };
    assert_eq!(original.write_log(log("event")).await?.into_inner().result, "logged!");
    assert_eq!(original.write_log(log("event")).await?.into_inner().result, "logged!");
    let refused = original.write_log(log("")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("name"), "{refused}");
    assert_eq!(rig.all(QueryRequest::default()).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn deletes_expired_entries() -> Result<()> {
    let rig = Rig::with(ServiceOptions::default().env("LOG_RETENTION", "3s")).await?;
    // The entry's own time does not count.
    let old = Entry { time: Some(Timestamp { seconds: 0, nanos: 0 }), ..entry("of 1970") };
    rig.client()?.write(write(old)).await?;
    assert_eq!(rig.all(QueryRequest::default()).await?.len(), 1);
    until("the entry is deleted", async || {
        rig.all(QueryRequest::default()).await.is_ok_and(|all| all.is_empty())
    })
    .await
}

#[tokio::test]
async fn only_write_audit_stores_records_and_nothing_else() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let of = |service: &str| Entry {
        service: service.to_owned(),
        name: "dead letter discarded".to_owned(),
        ..entry("record")
    };
    for service in ["broker.audit", "authentication", "Broker.Audit ", "authentication\u{200b}"] {
        let refused = client.write(write(of(service))).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{service:?}: {refused}");
        let (entries, traceparents) = (vec![entry("before"), of(service)], Vec::new());
        let refused = client.write_many(WriteManyRequest { entries, traceparents }).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{service:?}: {refused}");
    }
    assert_eq!(client.write_audit(write(of("broker"))).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(rig.all(QueryRequest::default()).await?.is_empty());
    for service in ["broker.audit", "authentication"] {
        let record = write(of(service));
        assert!(client.write_audit(record.clone()).await?.into_inner().created);
        assert!(!client.write_audit(record).await?.into_inner().created, "a repeat is the same record");
    }
    assert_eq!(rig.all(QueryRequest::default()).await?.len(), 2);
    Ok(())
}
