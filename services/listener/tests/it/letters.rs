//! Dead letters on their way to the logger.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weft_proto::weft::deadletter::v1::GetRequest;

use crate::helpers::{Road, event, soon};

const DEAD: &str = "listener.log.dead";

async fn metric(road: &Road, line: &str) -> Option<f64> {
    let text =
        reqwest::get(format!("{}/metrics", road.listener.admin_url())).await.ok()?.text().await.ok()?;
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = soon();
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came true: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_stay_in_rabbitmq_while_the_logger_is_away_and_are_stored_once_it_is_back() {
    const COUNT: usize = 8;
    let road = Road::start().await;
    road.logger.kill().await.unwrap();
    let mut bodies = Vec::new();
    for n in 0..COUNT {
        // Of the wrong shape, so that the logger is not needed to reject it. One of almost 1 MiB.
        let data = format!("[{n},\"{}\"]", "x".repeat(if n == 3 { 1_000_000 } else { n }));
        road.publisher.publish(&event("away", "log.INFO", &data), soon()).await.unwrap();
        bodies.push(data);
    }
    road.until_messages(DEAD, COUNT as u64).await;
    let unavailable = "dead_letters_moved_total{queue=\"listener.log\",outcome=\"unavailable\"}";
    until("storing fails twice", async || metric(&road, unavailable).await >= Some(2.0)).await;
    until("the letters are counted", async || {
        metric(&road, "dead_letters_waiting{queue=\"listener.log\"}").await >= Some(COUNT as f64 - 1.0)
    })
    .await;
    assert_eq!(road.messages(DEAD), COUNT as u64);

    // Killed with letters in hand.
    road.listener.kill().await.unwrap();
    road.listener.start().await.unwrap();
    road.logger.start().await.unwrap();
    let letters = road.until_letters("listener.log", COUNT).await;
    assert_eq!(letters.len(), COUNT);
    for letter in letters {
        let found = road.letters.clone().get(GetRequest { id: letter.id }).await.unwrap().into_inner();
        let body = String::from_utf8(found.content.unwrap().body).unwrap();
        let place = bodies.iter().position(|other| *other == body).expect("another body");
        bodies.swap_remove(place);
        assert!(letter.reason.contains("wanted shape"), "{}", letter.reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_too_large_for_the_store_stays_in_rabbitmq_and_is_counted() {
    let road = Road::start().await;
    let code = "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"events.dead\">>), <<\"listener.log\">>, [{delivery_mode, 2}], binary:copy(<<\"x\">>, 5000000)).";
    road.rabbitmq.ctl(&["eval", code]).unwrap();
    let refused = "dead_letters_moved_total{queue=\"listener.log\",outcome=\"refused\"}";
    until("the letter is refused", async || metric(&road, refused).await == Some(1.0)).await;
    road.publisher.publish(&event("beside", "log.INFO", "[]"), soon()).await.unwrap();
    until("the next letter passes", async || road.letters("listener.log").await.unwrap().len() == 1).await;
    until("one letter is left", async || road.messages(DEAD) == 1).await;
    assert_eq!(metric(&road, "dead_letters_waiting{queue=\"listener.log\"}").await, Some(1.0));
    assert!(road.listener.log_tail().contains("at most 4194304"), "{}", road.listener.log_tail());
}
