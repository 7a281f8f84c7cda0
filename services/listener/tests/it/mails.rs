use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::helpers::{Road, event, mail_event, message_id, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_arrives_as_one_mail_with_its_id_however_often_it_comes() {
    let road = Road::start().await;
    let sent = mail_event("Good news");
    road.publisher.publish(&sent, soon()).await.unwrap();
    let mails = road.until_mails([&sent.id]).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["subject"], "Good news");
    assert_eq!(mails[0]["text"].as_str().map(str::trim_end), Some("first\nsecond"));
    assert_eq!(mails[0]["to"][0]["address"], "ann@example.org");
    assert_eq!(mails[0]["from"][0]["address"], "weft@example.com");
    let id = mails[0]["id"].as_str().unwrap();
    let source = reqwest::get(format!("{}/api/email/{id}/source", road.maildev.url())).await.unwrap();
    assert!(source.text().await.unwrap().contains("Reply-To: Bob <bob@example.org>\r\n"));

    road.publisher.publish(&sent, soon()).await.unwrap();
    until_counted(&road, "done", 2).await;
    let mails = road.mails().await;
    assert_eq!(mails.len(), 1, "the repeat was sent");
    assert_eq!(mails[0]["headers"]["message-id"], message_id(&sent.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_sent_now_is_tried_again_until_it_arrives() {
    let road = Road::start().await;
    for (away, tries) in [(&*road.mail, 2), (&*road.maildev, 4)] {
        away.kill().await.unwrap();
        let sent = mail_event("later");
        road.publisher.publish(&sent, soon()).await.unwrap();
        until_counted(&road, "unavailable", tries).await;
        away.start().await.unwrap();
        road.until_mails([&sent.id]).await;
    }
    assert!(road.until_letters("listener.mail", 0).await.is_empty());
}

/// Waits until so many attempts to send a mail have had this outcome.
async fn until_counted(road: &Road, outcome: &str, count: u64) {
    let counter = format!("events_handled_total{{queue=\"listener.mail\",outcome=\"{outcome}\"}} ");
    let deadline = soon();
    loop {
        let metrics = reqwest::get(format!("{}/metrics", road.listener.admin_url())).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let tried = metrics.lines().find_map(|line| line.strip_prefix(&counter)?.parse::<u64>().ok());
        if tried.is_some_and(|tried| tried >= count) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{outcome} {tried:?} times, not {count}; {}",
            road.listener.log_tail()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_sent_is_a_dead_letter_and_disturbs_nobody() {
    let road = Road::start().await;
    let data = |to: &str, subject: &str| {
        serde_json::json!({"from": "bob@example.org", "to": to, "subject": subject, "message": "m"})
            .to_string()
    };
    let wrong = [
        ("mail.send", data("ann@example.org\r\nBcc: eve@example.com", "s")),
        ("mail.send", data("ann@example.org", "s\nBcc: eve@example.com")),
        ("mail.send", data(&format!("{}@example.org", "x".repeat(10_000)), "s")),
        ("mail.send", data("nobody", "s")),
        ("mail.send", r#"{"from":"b@example.org","to":"a@example.org","subject":"s"}"#.to_owned()),
        ("mail.unknown", data("ann@example.org", "s")),
    ];
    for (kind, data) in &wrong {
        road.publisher.publish(&event("mails", kind, data), soon()).await.unwrap();
    }
    let good = mail_event("good");
    road.publisher.publish(&good, soon()).await.unwrap();
    let mails = road.until_mails([&good.id]).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(road.until_letters("listener.mail", wrong.len()).await.len(), wrong.len());
    assert_eq!(road.messages("listener.mail"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_that_wait_do_not_hold_up_entries() {
    let road = Road::start().await;
    road.mail.pause().unwrap();
    let mail = mail_event("slow");
    road.publisher.publish(&mail, soon()).await.unwrap();
    let entry = event("beside", "log.INFO", r#"{"name":"n","data":"d"}"#);
    road.publisher.publish(&entry, soon()).await.unwrap();
    road.until_entries("beside", 1).await;
    road.mail.resume().unwrap();
    road.until_mails([&mail.id]).await;
}
