//! Boundary values that the broker accepts. No service behind it may refuse them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use weft_e2e::{road, until};

use crate::helpers::{broker, mailbox, shared};

const ARRIVED_WITHIN: Duration = Duration::from_secs(60);

/// Boundary values of entry names, each with a unique part.
fn names(unique: &str) -> Vec<String> {
    let padded = |fill: &str| format!("{unique}{}", fill.repeat(256 - unique.len()));
    vec![
        unique.to_owned(),
        format!(" \t{unique}\r\n"),
        format!("{unique}\0\u{1b}[2J\u{7f}\u{85}"),
        format!("{unique}\u{202e}\u{feff}\u{200b}\u{fffe}\u{10ffff}"),
        padded("x"),
        padded("\u{10ffff}"),
    ]
}

#[tokio::test]
async fn stores_every_accepted_name() {
    let broker = broker(shared().await);
    let unique = road::unique("names");
    let data = "\0\u{1}\u{7f}\u{2028}\u{10ffff}\"\\";
    let mut expected = BTreeSet::new();
    let mut items: Vec<Value> = Vec::new();
    for (index, name) in names(&unique).into_iter().enumerate() {
        for (kind, action) in [("log", "log"), ("event", "event")] {
            let body = json!({"action": action, action: {"name": name, "data": format!("{kind}{data}")}});
            let key = format!("{unique} {index}");
            let request = || broker.post("/handle", &body).header("idempotency-key", &key);
            let reply = weft_e2e::Reply::of(request()).await.unwrap();
            assert_eq!(reply.status, 202, "{name:?}: {}", reply.body);
            expected.insert((name.clone(), format!("{kind}{data}")));
        }
        for severity in ["INFO", "WARNING", "ERROR"] {
            let data = format!("{severity}{data}");
            items.push(json!({"type": format!("log.{severity}"), "data": {"name": name, "data": data}}));
            expected.insert((name.clone(), data));
        }
    }
    let url = broker.at("/v1/events");
    let reply = broker.signed_in(|http| http.post(&url).json(&items)).await.unwrap();
    let results = reply.body["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["status"] == "accepted"), "{}", reply.body);
    until("every accepted name to be stored", ARRIVED_WITHIN, async || {
        let entries = broker.entries(&[("text", &unique)]).await?;
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let stored: BTreeSet<_> =
            entries.iter().map(|entry| (text(entry, "name"), text(entry, "data"))).collect();
        ensure!(stored == expected, "{} of {}", stored.len(), expected.len());
        ensure!(entries.len() == expected.len(), "{} entries", entries.len());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn sends_a_mail_for_every_accepted_address_and_subject() {
    let stack = shared().await;
    let (broker, mailbox) = (broker(stack), mailbox(stack));
    let unique = road::unique("to");
    let (label, local) = ("x".repeat(63), "l".repeat(64 - unique.len()));
    // The mail catcher takes 253 octets, one fewer than RFC 5321 allows.
    let mails = [
        (format!("{unique}{local}@{label}.{label}.{}", "y".repeat(60)), "x".repeat(512)),
        (format!("{unique}!#$%&'*+/=?^_`|~@example.com"), "用".repeat(512)),
        (format!("{unique}@bücher.example"), String::new()),
    ];
    for (to, subject) in &mails {
        let mail = json!({"from": to, "to": to, "subject": subject, "message": "\0\u{1}\r.\r\n.\r\n"});
        let body = json!({"action": "mail", "mail": mail});
        let url = broker.at("/handle");
        let reply = broker.signed_in(|http| http.post(&url).json(&body)).await.unwrap();
        assert_eq!(reply.status, 202, "{to}: {}", reply.body);
    }
    until("every accepted mail to arrive", ARRIVED_WITHIN, async || {
        let caught = mailbox.all().await?;
        let ours = |mail: &&Value| mail["envelope"]["to"].to_string().contains(&unique);
        let count = caught.iter().filter(ours).count();
        ensure!(count == mails.len(), "{count} of {}", mails.len());
        Ok(())
    })
    .await
    .unwrap();
}
