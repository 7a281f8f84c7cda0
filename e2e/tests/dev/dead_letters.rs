//! Dead letters: moved from the queue into the store, listed and discarded by an admin.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use weft_e2e::{Reply, until};

use crate::helpers::{broker, shared};

const LETTERS: u64 = 132;
/// No other test publishes this type.
const LIST: &str = "/v1/dead-letters?type=log.TRACE&queue=listener.log";

/// Resident memory of a process.
fn resident_mib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

#[tokio::test]
async fn lists_and_discards_132_mb_of_dead_letters_in_bounded_memory() {
    let stack = shared().await;
    let broker = broker(stack);
    // Invalid data: an array with a number and a text of a million characters.
    let publish = format!(
        "X = rabbit_misc:r(<<\"/\">>, exchange, <<\"events\">>), [rabbit_basic:publish(X, <<\"log.TRACE\">>, \
         [{{delivery_mode, 2}}], iolist_to_binary([$[, integer_to_list(N), $,, $\", binary:copy(<<\"x\">>, 1000000), \
         $\", $]])) || N <- lists:seq(1, {LETTERS})], ok."
    );
    stack.rabbitmq.ctl(&["eval", &publish]).unwrap();
    let list = async || -> anyhow::Result<Reply> {
        broker.signed_in(|http| http.get(broker.at(&format!("{LIST}&limit=1000")))).await
    };
    until("every dead letter to be stored", Duration::from_secs(120), async || {
        let stored = list().await?.body["items"].as_array().map_or(0, Vec::len);
        ensure!(stored as u64 == LETTERS, "{stored} letters");
        Ok(())
    })
    .await
    .unwrap();

    let pid = stack.broker.pid().unwrap();
    let before = resident_mib(pid).unwrap();
    for _ in 0..20 {
        let listed = list().await.unwrap();
        assert_eq!(listed.status, 200);
        let text = listed.body.to_string();
        assert!(text.len() < 200_000 && !text.contains("xxxx"), "the list has {} bytes", text.len());
    }
    let after = resident_mib(pid).unwrap();
    println!("the broker's memory before and after 20 lists: {before} MiB, {after} MiB");
    assert!(after < before + 32, "20 lists took {before} MiB to {after} MiB");

    let one = list().await.unwrap().body["items"][0].clone();
    let path = format!("/v1/dead-letters/listener.log/{}", one["id"].as_str().unwrap());
    let shown = broker.signed_in(|http| http.get(broker.at(&path))).await.unwrap();
    assert_eq!(shown.body["data"][1].as_str().map(str::len), Some(1_000_000));

    // FerretDB reads all documents to delete some, so a call may get 503 and is then repeated.
    until("every dead letter to be discarded", Duration::from_secs(240), async || {
        let reply = broker.signed_in(|http| http.delete(broker.at(LIST))).await?;
        assert!(matches!(reply.status, 200 | 503), "{}: {}", reply.status, reply.body);
        ensure!(reply.status == 200 && reply.body["more"] == false, "{}", reply.body);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(list().await.unwrap().body["items"].as_array().map(Vec::len), Some(0));
}
