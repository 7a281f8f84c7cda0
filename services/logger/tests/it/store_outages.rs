use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tonic::Code;
use weft_proto::weft::log::v1::{Entry, QueryRequest};

use crate::helpers::{Client, Rig, entry, ids, sorted, until, write};

/// Upper bound for a call; far above the logger's timeouts for its store.
const BOUND: Duration = Duration::from_secs(60);

/// Writes until `stop` is set. Collects the acknowledged ids.
async fn write_on(
    mut client: Client,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let entry = entry("during a kill");
        let begun = Instant::now();
        match client.write(write(entry.clone())).await {
            Ok(_) => acknowledged.lock().expect("no writer panics").push(entry.id),
            Err(status) => anyhow::ensure!(status.code() == Code::Unavailable, "{status}"),
        }
        anyhow::ensure!(begun.elapsed() < BOUND, "an answer took {:?}", begun.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn acknowledged_entries_survive_kills_of_the_store() -> Result<()> {
    let rig = Rig::start().await?;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let writers: Vec<_> = (0..16)
        .map(|_| Ok(tokio::spawn(write_on(rig.client()?, stop.clone(), acknowledged.clone()))))
        .collect::<Result<_>>()?;
    let count = || acknowledged.lock().expect("no writer panics").len();
    for _ in 0..3 {
        let before = count();
        until("writes are acknowledged", async || count() > before + 100).await?;
        rig.store.kill().await?;
        rig.store.start().await?;
    }
    let before = count();
    until("writes are acknowledged again", async || count() > before + 100).await?;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await??;
    }
    let stored = sorted(ids(&rig.all(QueryRequest { limit: 1_000, ..QueryRequest::default() }).await?));
    for id in acknowledged.lock().expect("no writer panics").iter() {
        assert!(stored.binary_search(id).is_ok(), "{id} was acknowledged but is lost");
    }
    assert!(stored.windows(2).all(|pair| pair[0] != pair[1]), "an entry is stored twice");
    Ok(())
}

#[tokio::test]
async fn calls_time_out_while_the_store_hangs_and_lose_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    client.write(write(entry("before"))).await?;
    rig.store.pause()?;
    let late = entry("while it hangs");
    let begun = Instant::now();
    let refused = client.write(write(late.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());

    let mut hasty = tonic::Request::new(write(entry("in a hurry")));
    hasty.set_timeout(Duration::from_millis(300));
    let begun = Instant::now();
    let refused = client.write(hasty).await.unwrap_err();
    assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Cancelled), "{refused}");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());

    rig.store.resume()?;
    until("the same entry is accepted", async || client.clone().write(write(late.clone())).await.is_ok())
        .await?;
    let stored = rig.all(QueryRequest::default()).await?;
    assert_eq!(stored.iter().filter(|entry| entry.id == late.id).count(), 1);
    Ok(())
}

#[tokio::test]
async fn answers_unavailable_without_a_store_and_recovers() -> Result<()> {
    let rig = Rig::without_store().await?;
    let mut client = rig.client()?;
    until("the port is open", async || {
        matches!(client.clone().query(QueryRequest::default()).await, Err(status) if status.message().contains("store"))
    })
    .await?;
    let begun = Instant::now();
    let refused = client.write(write(entry("too early"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("the store can't be reached"), "{refused}");
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    rig.store.start().await?;
    rig.logger.await_ready().await?;
    assert!(client.write(write(entry("now"))).await?.into_inner().created);
    Ok(())
}

#[tokio::test]
async fn a_graceful_stop_answers_accepted_calls() -> Result<()> {
    let rig = Rig::start().await?;
    let client = rig.client()?;
    client.clone().write(write(entry("connects"))).await?;
    rig.store.pause()?;
    let entries: Vec<Entry> = (0..20).map(|n| entry(&n.to_string())).collect();
    let calls: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (mut client, request) = (client.clone(), write(entry.clone()));
            tokio::spawn(async move { client.write(request).await })
        })
        .collect();
    until("the calls have arrived", async || {
        rig.admin("/metrics").await.is_ok_and(|(_, text)| text.contains("log_writes_taken_total 21"))
    })
    .await?;
    let stop = rig.logger.stop();
    let (ended, resumed) = tokio::join!(stop, async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.store.resume()
    });
    resumed?;
    assert!(ended?.contains("exit status: 0"));
    for call in calls {
        assert!(call.await?.context("a call was aborted")?.into_inner().created);
    }
    Ok(())
}
