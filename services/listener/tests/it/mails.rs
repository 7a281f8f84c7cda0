use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::helpers::{Pipeline, event, mail_event, message_id, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_event_sends_one_mail() {
    let pipeline = Pipeline::start().await;
    let sent = mail_event("Good news");
    pipeline.publisher.publish(&sent, soon()).await.unwrap();
    let mails = pipeline.until_mails([&sent.id]).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["subject"], "Good news");
    assert_eq!(mails[0]["text"].as_str().map(str::trim_end), Some("first\nsecond"));
    assert_eq!(mails[0]["to"][0]["address"], "ann@example.org");
    assert_eq!(mails[0]["from"][0]["address"], "weft@example.com");
    let id = mails[0]["id"].as_str().unwrap();
    let source = reqwest::get(format!("{}/api/email/{id}/source", pipeline.maildev.url())).await.unwrap();
    assert!(source.text().await.unwrap().contains("Reply-To: Bob <bob@example.org>\r\n"));

    pipeline.publisher.publish(&sent, soon()).await.unwrap();
    until_counted(&pipeline, "done", 2).await;
    let mails = pipeline.mails().await;
    assert_eq!(mails.len(), 1, "the repeat was sent");
    assert_eq!(mails[0]["headers"]["message-id"], message_id(&sent.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_a_mail_while_a_service_is_unavailable() {
    let pipeline = Pipeline::start().await;
    for (stopped, attempts) in [(&*pipeline.mail, 2), (&*pipeline.maildev, 4)] {
        stopped.kill().await.unwrap();
        let sent = mail_event("later");
        pipeline.publisher.publish(&sent, soon()).await.unwrap();
        until_counted(&pipeline, "unavailable", attempts).await;
        stopped.start().await.unwrap();
        pipeline.until_mails([&sent.id]).await;
    }
    assert!(pipeline.until_letters("listener.mail", 0).await.is_empty());
}

/// Waits until at least `count` attempts to send a mail had this outcome.
async fn until_counted(pipeline: &Pipeline, outcome: &str, count: u64) {
    let counter = format!("events_handled_total{{queue=\"listener.mail\",outcome=\"{outcome}\"}} ");
    let deadline = soon();
    loop {
        let metrics = reqwest::get(format!("{}/metrics", pipeline.listener.admin_url())).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let counted = metrics.lines().find_map(|line| line.strip_prefix(&counter)?.parse::<u64>().ok());
        if counted.is_some_and(|counted| counted >= count) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{outcome}: {counted:?} attempts, expected {count}; {}",
            pipeline.listener.log_tail()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_mail_becomes_a_dead_letter_and_blocks_no_others() {
    let pipeline = Pipeline::start().await;
    let data = |to: &str, subject: &str| {
        serde_json::json!({"from": "bob@example.org", "to": to, "subject": subject, "message": "m"})
            .to_string()
    };
    let invalid = [
        ("mail.send", data("ann@example.org\r\nBcc: eve@example.com", "s")),
        ("mail.send", data("ann@example.org", "s\nBcc: eve@example.com")),
        ("mail.send", data(&format!("{}@example.org", "x".repeat(10_000)), "s")),
        ("mail.send", data("nobody", "s")),
        ("mail.send", r#"{"from":"b@example.org","to":"a@example.org","subject":"s"}"#.to_owned()),
        ("mail.unknown", data("ann@example.org", "s")),
    ];
    for (kind, data) in &invalid {
        pipeline.publisher.publish(&event("mails", kind, data), soon()).await.unwrap();
    }
    let good = mail_event("good");
    pipeline.publisher.publish(&good, soon()).await.unwrap();
    let mails = pipeline.until_mails([&good.id]).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(pipeline.until_letters("listener.mail", invalid.len()).await.len(), invalid.len());
    assert_eq!(pipeline.messages("listener.mail"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_mails_do_not_block_entries() {
    let pipeline = Pipeline::start().await;
    pipeline.mail.pause().unwrap();
    let mail = mail_event("slow");
    pipeline.publisher.publish(&mail, soon()).await.unwrap();
    let entry = event("beside", "log.INFO", r#"{"name":"n","data":"d"}"#);
    pipeline.publisher.publish(&entry, soon()).await.unwrap();
    pipeline.until_entries("beside", 1).await;
    pipeline.mail.resume().unwrap();
    pipeline.until_mails([&mail.id]).await;
}
