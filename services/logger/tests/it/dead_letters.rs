use anyhow::{Context as _, Result};
use futures::future::join_all;
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;
use weft_devstack::ServiceOptions;
use weft_proto::weft::deadletter::MAX_CONTENT_BYTES;
use weft_proto::weft::deadletter::MAX_MESSAGE_BYTES;
use weft_proto::weft::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use weft_proto::weft::deadletter::v1::{
    Content, Filter, GetRequest, Letter, ListRequest, ReleaseRequest, RemoveRequest, ReplayRequest,
    ReplayResponse, StoreRequest,
};

use crate::helpers::{Rig, until};

type Letters = DeadLetterServiceClient<Channel>;

fn letters(rig: &Rig) -> Result<Letters> {
    Ok(DeadLetterServiceClient::new(rig.channel()?).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn letter(n: i64, body: &[u8]) -> StoreRequest {
    let letter = Letter {
        id: Uuid::from_u128(1_000 + n.unsigned_abs() as u128).to_string(),
        queue: ["listener.log", "listener.mail"][(n % 2) as usize].into(),
        event_id: format!("event {n}"),
        r#type: ["log.INFO", "log.ERROR", "mail.send"][(n % 3) as usize].into(),
        source: "test".into(),
        time: at(n),
        // Three letters share a time.
        dead_at: at(1_000 + n / 3),
        reason: format!("failed 5 times; last error: number {n}."),
        attempts: 5,
        trace_id: format!("{:032x}", 1 + n),
        size: body.len() as u64,
        replaying_since: None,
    };
    let content = Content { properties: b"\x00\xff properties".to_vec(), body: body.to_vec() };
    StoreRequest { letter: Some(letter), content: Some(content) }
}

pub(crate) async fn store_one(rig: &Rig, body: &[u8]) -> Result<()> {
    letters(rig)?.store(letter(1, body)).await?;
    Ok(())
}

pub(crate) async fn content_of_one(rig: &Rig) -> Result<Vec<u8>> {
    let id = letter(1, b"").letter.context("no letter")?.id;
    let found = letters(rig)?.get(GetRequest { id }).await?.into_inner();
    Ok(found.content.context("no content")?.body)
}

/// Reads all matching letters, page by page.
async fn all(rig: &Rig, filter: Filter, limit: u32) -> Result<Vec<Letter>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let request = ListRequest { filter: Some(filter.clone()), limit, cursor };
        let page = letters(rig)?.list(request).await?.into_inner();
        assert!(page.items.len() <= limit as usize);
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_empty() {
            return Ok(all);
        }
    }
}

#[tokio::test]
async fn stores_a_letter_once_and_returns_it_unchanged() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = letters(&rig)?;
    let every_byte: Vec<u8> = (0..=255).cycle().take(MAX_CONTENT_BYTES - 13).collect();
    for (n, body) in [&b""[..], b"\xff\x00", &every_byte].into_iter().enumerate() {
        let sent = letter(n.try_into()?, body);
        for created in [true, false] {
            assert_eq!(client.store(sent.clone()).await?.into_inner().created, created);
        }
        let id = sent.letter.as_ref().context("no letter")?.id.clone();
        let found = client.get(GetRequest { id }).await?.into_inner();
        assert_eq!((found.letter, found.content), (sent.letter, sent.content));
    }
    assert_eq!(all(&rig, Filter::default(), 10).await?.len(), 3);
    let missing = client.get(GetRequest { id: Uuid::nil().to_string() }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    Ok(())
}

#[tokio::test]
async fn lists_matching_letters_oldest_first() -> Result<()> {
    let rig = Rig::start().await?;
    let mut sent = Vec::new();
    for n in 0..30 {
        let request = letter(n, b"{}");
        letters(&rig)?.store(request.clone()).await?;
        sent.extend(request.letter);
    }
    let none = Filter::default;
    type Wanted = fn(&Letter) -> bool;
    let cases: [(Filter, Wanted); 6] = [
        (none(), |_| true),
        (Filter { queue: "listener.mail".into(), ..none() }, |l| l.queue == "listener.mail"),
        (Filter { r#type: "mail.send".into(), ..none() }, |l| l.r#type == "mail.send"),
        (Filter { reason: "number 1".into(), ..none() }, |l| l.reason.contains("number 1")),
        (Filter { reason: "number 1.*".into(), ..none() }, |_| false),
        (Filter { queue: "listener.log".into(), from: at(1_002), to: at(1_006), ..none() }, |l| {
            l.queue == "listener.log" && (1_002..1_006).contains(&l.dead_at.unwrap().seconds)
        }),
    ];
    for (filter, wanted) in cases {
        let expected: Vec<Letter> = sent.iter().filter(|letter| wanted(letter)).cloned().collect();
        for limit in [4, 1_000] {
            assert_eq!(all(&rig, filter.clone(), limit).await?, expected, "{filter:?} by {limit}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_list_of_132_large_letters_is_small() -> Result<()> {
    use prost::Message as _;
    let rig = Rig::start().await?;
    let body = vec![b'x'; 1_000_000];
    for n in 0..132 {
        letters(&rig)?.store(letter(n, &body)).await?;
    }
    let begun = std::time::Instant::now();
    let page =
        letters(&rig)?.list(ListRequest { limit: 1_000, ..ListRequest::default() }).await?.into_inner();
    println!("listing 132 letters of 1 MB took {:?}, {} bytes", begun.elapsed(), page.encoded_len());
    assert_eq!(page.items.len(), 132);
    assert!(page.items.iter().all(|letter| letter.size == 1_000_000));
    assert!(page.encoded_len() < 64 * 1024, "the list has {} bytes", page.encoded_len());
    Ok(())
}

#[tokio::test]
async fn one_of_many_parallel_replays_gets_the_letter() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = letters(&rig)?;
    for n in 0..20 {
        let sent = letter(n, b"body");
        client.store(sent.clone()).await?;
        let id = sent.letter.context("no letter")?.id;
        let replay = async |mut client: Letters| client.replay(ReplayRequest { id: id.clone() }).await;
        let replays = join_all((0..20).map(|_| replay(client.clone()))).await;
        let (started, refused): (Vec<_>, Vec<_>) = replays.into_iter().partition(Result::is_ok);
        assert_eq!(started.len(), 1, "letter {n}");
        for status in refused.into_iter().filter_map(Result::err) {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        }
        let ReplayResponse { letter, content } =
            started.into_iter().flatten().next().context("none")?.into_inner();
        assert_eq!(content, sent.content);
        assert!(letter.context("no letter")?.replaying_since.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn a_replay_marks_a_letter_until_it_is_released_or_removed() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = letters(&rig)?;
    let sent = letter(1, b"body");
    client.store(sent.clone()).await?;
    let id = sent.letter.context("no letter")?.id;
    for _ in 0..3 {
        client.replay(ReplayRequest { id: id.clone() }).await?;
        assert!(all(&rig, Filter::default(), 10).await?[0].replaying_since.is_some());
        let second = client.replay(ReplayRequest { id: id.clone() }).await.unwrap_err();
        assert_eq!(second.code(), Code::FailedPrecondition, "{second}");
        client.release(ReleaseRequest { id: id.clone() }).await?;
        assert_eq!(all(&rig, Filter::default(), 10).await?[0].replaying_since, None);
    }
    for removed in [1, 0] {
        let answer = client.remove(RemoveRequest { ids: vec![id.clone()] }).await?.into_inner();
        assert_eq!(answer.removed, removed);
        client.release(ReleaseRequest { id: id.clone() }).await?;
    }
    let gone = client.replay(ReplayRequest { id }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    Ok(())
}

#[tokio::test]
async fn an_interrupted_replay_ends_after_a_minute() -> Result<()> {
    use mongodb::bson::{DateTime, Document, doc};
    let rig = Rig::start().await?;
    let mut client = letters(&rig)?;
    let sent = letter(1, b"body");
    client.store(sent.clone()).await?;
    let id = sent.letter.context("no letter")?.id;
    // A logger stopped after it inserted this and before it marked the letter.
    let began = weft_runtime::clock::system().now().as_millisecond() - 61_000;
    let began = DateTime::from_millis(began);
    let database = mongodb::Client::with_uri_str(rig.store.uri()).await?.database("logs");
    let replays = database.collection::<Document>("dead_letter_replays");
    replays.insert_one(doc! { "_id": format!("{id}/0"), "letter": &id, "since": began }).await?;
    let refused = client.replay(ReplayRequest { id: id.clone() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    client.replay(ReplayRequest { id: id.clone() }).await?;
    client.remove(RemoveRequest { ids: vec![id] }).await?;
    assert_eq!(replays.count_documents(doc! {}).await?, 0);
    Ok(())
}

#[tokio::test]
async fn rejects_an_invalid_letter_and_names_the_field() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = letters(&rig)?;
    let with = |change: fn(&mut Letter)| {
        let mut request = letter(1, b"");
        change(request.letter.as_mut().unwrap());
        request
    };
    for (request, field) in [
        (StoreRequest { letter: None, ..letter(1, b"") }, "letter"),
        (StoreRequest { content: None, ..letter(1, b"") }, "content"),
        (letter(1, &vec![0; MAX_CONTENT_BYTES]), "content"),
        (with(|letter| letter.id = "7".into()), "letter.id"),
        (with(|letter| letter.queue = String::new()), "letter.queue"),
        (with(|letter| letter.reason = "x".repeat(1_025)), "letter.reason"),
        (with(|letter| letter.trace_id = "x".into()), "letter.trace_id"),
    ] {
        let refused = client.store(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(field), "{refused}");
    }
    // The times come from the message and may be invalid; they are dropped.
    client.store(with(|letter| letter.time = at(i64::MAX))).await?;
    assert_eq!(all(&rig, Filter::default(), 10).await?[0].time, None);
    for request in [
        ListRequest { limit: 1_001, ..ListRequest::default() },
        ListRequest { cursor: "x".into(), ..ListRequest::default() },
        ListRequest {
            filter: Some(Filter { from: at(i64::MAX), ..Filter::default() }),
            ..ListRequest::default()
        },
    ] {
        assert_eq!(client.list(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    Ok(())
}

#[tokio::test]
async fn counts_letters_and_deletes_them_only_with_an_age_limit() -> Result<()> {
    let metrics = async |rig: &Rig| rig.admin("/metrics").await.map(|(_, text)| text).unwrap_or_default();
    let rig = Rig::start().await?;
    for n in 0..5 {
        letters(&rig)?.store(letter(n, b"")).await?;
    }
    until("both queues are counted", async || {
        let text = metrics(&rig).await;
        let oldest = text
            .lines()
            .find_map(|line| line.strip_prefix("dead_letters_oldest_seconds{queue=\"listener.log\"} "));
        text.contains("dead_letters_stored{queue=\"listener.log\"} 3")
            && text.contains("dead_letters_stored{queue=\"listener.mail\"} 2")
            && oldest.is_some_and(|age| age.parse::<f64>().unwrap() > 1e9)
    })
    .await?;

    let options = ServiceOptions::default().env("LOGGER_DEAD_LETTERS_MAX_AGE", "1h");
    let rig = Rig::with(options).await?;
    for n in 0..5 {
        letters(&rig)?.store(letter(n, b"")).await?;
    }
    let mut young = letter(7, b"");
    let now = weft_runtime::clock::system().now().as_second();
    young.letter.as_mut().context("no letter")?.dead_at = at(now);
    letters(&rig)?.store(young).await?;
    until("old letters are deleted", async || metrics(&rig).await.contains("dead_letters_expired_total 5"))
        .await?;
    assert_eq!(all(&rig, Filter::default(), 10).await?.len(), 1);
    assert!(rig.logger.log_tail().contains("LOGGER_DEAD_LETTERS_MAX_AGE"));
    Ok(())
}
