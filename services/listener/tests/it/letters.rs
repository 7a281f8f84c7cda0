//! Dead letters that are moved to the logger.

use weft_proto::weft::deadletter::v1::GetRequest;

use crate::helpers::{Pipeline, event, soon, until};

const DEAD: &str = "listener.log.dead";

async fn metric(pipeline: &Pipeline, line: &str) -> Option<f64> {
    let text =
        reqwest::get(format!("{}/metrics", pipeline.listener.admin_url())).await.ok()?.text().await.ok()?;
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_stay_in_rabbitmq_while_the_logger_is_unavailable() {
    const COUNT: usize = 8;
    let pipeline = Pipeline::start().await;
    pipeline.logger.kill().await.unwrap();
    let mut bodies = Vec::new();
    for n in 0..COUNT {
        // Invalid data, which the listener rejects without the logger. One event has almost 1 MiB.
        let data = format!("[{n},\"{}\"]", "x".repeat(if n == 3 { 1_000_000 } else { n }));
        pipeline.publisher.publish(&event("away", "log.INFO", &data), soon()).await.unwrap();
        bodies.push(data);
    }
    pipeline.until_messages(DEAD, COUNT as u64).await;
    let unavailable = "dead_letters_moved_total{queue=\"listener.log\",outcome=\"unavailable\"}";
    until("storing fails twice", async || metric(&pipeline, unavailable).await >= Some(2.0)).await;
    until("the letters are counted", async || {
        metric(&pipeline, "dead_letters_waiting{queue=\"listener.log\"}").await >= Some(COUNT as f64 - 1.0)
    })
    .await;
    assert_eq!(pipeline.messages(DEAD), COUNT as u64);

    // Killed while it holds letters.
    pipeline.listener.kill().await.unwrap();
    pipeline.listener.start().await.unwrap();
    pipeline.logger.start().await.unwrap();
    let letters = pipeline.until_letters("listener.log", COUNT).await;
    assert_eq!(letters.len(), COUNT);
    for letter in letters {
        let found = pipeline.letters.clone().get(GetRequest { id: letter.id }).await.unwrap().into_inner();
        let body = String::from_utf8(found.content.unwrap().body).unwrap();
        let position = bodies.iter().position(|other| *other == body).expect("an unexpected body");
        bodies.swap_remove(position);
        assert!(letter.reason.contains("invalid data"), "{}", letter.reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_too_large_for_the_store_stays_in_rabbitmq() {
    let pipeline = Pipeline::start().await;
    let code = "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"events.dead\">>), <<\"listener.log\">>, [{delivery_mode, 2}], binary:copy(<<\"x\">>, 5000000)).";
    pipeline.rabbitmq.ctl(&["eval", code]).unwrap();
    let refused = "dead_letters_moved_total{queue=\"listener.log\",outcome=\"refused\"}";
    until("the letter is refused", async || metric(&pipeline, refused).await == Some(1.0)).await;
    pipeline.publisher.publish(&event("beside", "log.INFO", "[]"), soon()).await.unwrap();
    until("the next letter is stored", async || pipeline.letters("listener.log").await.unwrap().len() == 1)
        .await;
    until("one letter is left", async || pipeline.messages(DEAD) == 1).await;
    assert_eq!(metric(&pipeline, "dead_letters_waiting{queue=\"listener.log\"}").await, Some(1.0));
    assert!(
        pipeline.listener.log_tail().contains("the maximum is 4194304"),
        "{}",
        pipeline.listener.log_tail()
    );
}
