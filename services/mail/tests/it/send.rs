use anyhow::Result;
use weft_proto::weft::mail::v1::SendRequest;

use crate::helpers::{Rig, message, values};

#[tokio::test]
async fn sends_both_parts_with_configured_from_and_requested_reply_to() -> Result<()> {
    let rig = Rig::start().await?;
    let request = message("Good news & more", "First line\nSecond <b>line</b>");
    let id = request.id.clone();
    let sent = rig.mail.client()?.send(request).await?.into_inner();
    assert_eq!(sent.message_id, format!("{id}@mail.example.com"));
    assert!(sent.smtp_reply.starts_with("250 "), "{}", sent.smtp_reply);

    let (mail, source) = rig.only().await?;
    assert_eq!(mail["subject"], "Good news & more");
    assert_eq!(mail["text"].as_str().map(str::trim_end), Some("First line\nSecond <b>line</b>"));
    let html = mail["html"].as_str().unwrap_or_default();
    assert!(html.contains("First line<br>Second &lt;b&gt;line"), "{html}");
    assert_eq!(
        (&mail["from"][0]["address"], &mail["from"][0]["name"]),
        (&"weft@example.com".into(), &"Weft".into())
    );
    assert_eq!(
        (&mail["to"][0]["address"], &mail["to"][0]["name"]),
        (&"ann@example.org".into(), &"Ann".into())
    );
    assert_eq!(mail["headers"]["message-id"], format!("<{id}@mail.example.com>"));
    for line in ["Reply-To: bob@example.org\r\n", "MIME-Version: 1.0\r\n", "multipart/alternative", "Date: "]
    {
        assert!(source.contains(line), "{line} is missing in\n{source}");
    }
    assert!(!source.contains("Auto-Submitted"));
    Ok(())
}

#[tokio::test]
async fn a_repeat_sends_no_second_copy() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.mail.client()?;
    let request = message("s", "m");
    let first = client.send(request.clone()).await?.into_inner().message_id;
    // An id in upper case is the same id.
    let upper_case = SendRequest { id: request.id.to_uppercase(), ..request };
    assert_eq!(client.send(upper_case).await?.into_inner().message_id, first);
    assert_ne!(client.send(message("s", "m")).await?.into_inner().message_id, first);
    let caught = rig.caught().await?;
    let same = caught.iter().filter(|mail| mail["headers"]["message-id"] == format!("<{first}>")).count();
    assert_eq!((caught.len(), same), (2, 1));
    Ok(())
}

#[tokio::test]
async fn marks_a_logout_mail_as_generated() -> Result<()> {
    let rig = Rig::start().await?;
    let given = values(&[
        ("email", "ann@example.org"),
        ("first_name", "Ann"),
        ("time", "2 January 2026, 03:04 UTC"),
        ("address", "192.0.2.1"),
        ("everywhere", "true"),
    ]);
    let request =
        SendRequest { template: "logout".into(), reply_to: String::new(), values: given, ..message("", "") };
    rig.mail.client()?.send(request).await?;
    let (mail, source) = rig.only().await?;
    assert!(
        source.contains("Auto-Submitted: auto-generated\r\n") && !source.contains("Reply-To"),
        "{source}"
    );
    assert_eq!(mail["subject"], "You have signed out");
    for part in ["text", "html"] {
        let text = mail[part].as_str().unwrap_or_default();
        for wanted in ["Ann", "ann@example.org", "all its sessions", "192.0.2.1", "2 January 2026"] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn sends_non_ascii_text_unchanged() -> Result<()> {
    let rig = Rig::start().await?;
    let request = SendRequest {
        to: "Зоя 你好 <用户@bücher.example>".into(),
        reply_to: "Ünal <unal@bücher.example>".into(),
        ..message("Grüße, 世界 🎉", "Здравствуй, мир\n你好，世界 🎉")
    };
    rig.mail.client()?.send(request).await?;
    let (mail, source) = rig.only().await?;
    assert_eq!(mail["subject"], "Grüße, 世界 🎉");
    assert_eq!(mail["text"].as_str().map(str::trim_end), Some("Здравствуй, мир\n你好，世界 🎉"));
    assert!(mail["html"].as_str().is_some_and(|html| html.contains("你好，世界 🎉")));
    // MailDev shows the domain in Unicode; in SMTP it is ASCII.
    assert_eq!(mail["envelope"]["to"][0]["address"], "用户@bücher.example");
    assert_eq!(mail["to"][0]["name"], "Зоя 你好");
    assert!(source.contains("unal@xn--bcher-kva.example"), "{source}");
    Ok(())
}

#[tokio::test]
async fn text_that_looks_encoded_arrives_unchanged() -> Result<()> {
    let words = ["=?utf-8?q?x=0D=0ABcc:=20z@example.org?=", "=?utf-8?b?UGF5IG5vdw==?="];
    let subjects =
        [" lead and trail ", "a  b", "Grüße =?utf-8?b?UGF5IG5vdw==?= 世界", "=?", "a=?utf-8?q?b?=c"];
    for text in words.into_iter().chain(subjects) {
        let rig = Rig::start().await?;
        let name = format!("\"{text}\"");
        let request = SendRequest {
            to: format!("{name} <ann@example.org>"),
            reply_to: format!("{name} <bob@example.org>"),
            ..message(text, "m")
        };
        rig.mail.client()?.send(request).await?;
        let (mail, source) = rig.only().await?;
        assert_eq!(mail["subject"], text, "{source}");
        // Spaces in a display name have no meaning (RFC 5322, 3.2.5).
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(mail["to"][0]["name"], words.join(" "), "{source}");
        let headers = source.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!["=0D=0A", "UGF5IG5vdw=="].iter().any(|raw| headers.contains(raw)), "{headers}");
        assert!(headers.contains("\r\nReply-To: "), "{headers}");
        assert_eq!(mail["headers"]["bcc"], serde_json::Value::Null, "{source}");
    }
    Ok(())
}

#[tokio::test]
async fn sends_many_mails_concurrently() -> Result<()> {
    let rig = Rig::start().await?;
    let sends = (0..50).map(|number| {
        let mut client = rig.mail.client().unwrap();
        tokio::spawn(async move { client.send(message(&format!("mail {number}"), "m")).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await??;
    }
    assert_eq!(rig.caught().await?.len(), 50);
    Ok(())
}

#[tokio::test]
async fn no_line_of_a_message_ends_the_mail_early() -> Result<()> {
    let rig = Rig::start().await?;
    let text = "one\r\n.\r\nMAIL FROM:<eve@example.com>\n.\ntwo\r.\rthree\n..four";
    rig.mail.client()?.send(message("dots", text)).await?;
    let (mail, _) = rig.only().await?;
    let wanted = "one\n.\nMAIL FROM:<eve@example.com>\n.\ntwo\n.\nthree\n..four";
    assert_eq!(
        mail["text"].as_str().map(|text| text.trim_end().replace("\r\n", "\n")).as_deref(),
        Some(wanted)
    );
    Ok(())
}
