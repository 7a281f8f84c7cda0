use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use tonic::{Code, Request};
use weft_proto::weft::mail::v1::SendRequest;

use crate::helpers::{Mail, message, to};
use crate::scripted::{Act, Rules, Scripted};

async fn send_error(server: &Scripted, mail: &Mail, rules: Rules) -> Result<tonic::Status> {
    server.set_rules(rules);
    Ok(mail.client()?.send(message("s", "m")).await.unwrap_err())
}

#[tokio::test]
async fn maps_replies_about_a_mail_and_passes_them_on() -> Result<()> {
    let server = Scripted::start(vec![]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let later = "451 4.7.1 greylisted, come back";
    let refused = "550 5.1.1 no such user here";
    for at in ["MAIL", "RCPT", "DATA", "."] {
        let status = send_error(&server, &mail, vec![(at, Act::Say(later))]).await?;
        assert_eq!(status.code(), Code::Unavailable, "{at}: {status}");
        assert!(status.message().contains(later), "{at}: {status}");
    }
    for at in ["RCPT", "DATA", "."] {
        let status = send_error(&server, &mail, vec![(at, Act::Say(refused))]).await?;
        assert_eq!(status.code(), Code::FailedPrecondition, "{at}: {status}");
        assert!(status.message().contains(refused), "{at}: {status}");
    }
    let both = "550-5.7.1 two\r\n550 5.7.1 lines";
    let status = send_error(&server, &mail, vec![(".", Act::Say(both))]).await?;
    assert!(status.message().contains("550 5.7.1 two"), "{status}");
    server.set_rules(vec![]);
    let reply = mail.client()?.send(message("s", "m")).await?.into_inner().smtp_reply;
    assert_eq!(reply, "250 2.0.0 queued as 1");
    // Replies about a mail do not change the status of the server.
    assert_eq!(mail.smtp_status().await?["reachable"], true);
    let metrics = mail.admin("/metrics").await?.1;
    for line in [
        "mail_sends_total{template=\"message\",outcome=\"sent\"} 1",
        "mail_sends_total{template=\"message\",outcome=\"later\"} 4",
        "mail_sends_total{template=\"message\",outcome=\"refused\"} 4",
        "mail_smtp_exchange_duration_seconds_count{outcome=\"sent\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn connection_errors_are_unavailable_before_the_end_of_the_mail_and_unknown_after_it() -> Result<()> {
    let server = Scripted::start(vec![]).await?;
    let options = to(server.address()).env("MAIL_SMTP_TIMEOUT", "500ms").env("MAIL_END_TIMEOUT", "600ms");
    let mail = Mail::start(options).await?;
    for (rules, why) in [
        (vec![("NOOP", Act::Drop), ("", Act::Say("554 5.7.1 go away"))], "554 5.7.1 go away"),
        (vec![("NOOP", Act::Drop), ("", Act::Say("421 4.3.2 closing"))], "421 4.3.2 closing"),
        (vec![("NOOP", Act::Drop), ("", Act::Drop)], "can't be reached"),
        (vec![("NOOP", Act::Drop), ("", Act::Hang)], "did not answer within"),
        (vec![("NOOP", Act::Drop), ("EHLO", Act::Say("nonsense"))], "can't be reached"),
        (vec![("MAIL", Act::Drop)], "can't be reached"),
        (vec![("DATA", Act::Drop)], "can't be reached"),
        (vec![("RCPT", Act::Hang)], "did not answer within"),
        (vec![("DATA", Act::Say("250 go on"))], "unexpected reply to Data: 250 go on"),
    ] {
        let status = send_error(&server, &mail, rules.clone()).await?;
        assert_eq!(status.code(), Code::Unavailable, "{rules:?}: {status}");
        assert!(status.message().contains(why), "{rules:?}: {status}");
    }
    assert_eq!(server.mails(), 0);
    for (act, why) in [
        (Act::Drop, "incomplete response"),
        (Act::Hang, "no reply within"),
        (Act::Say("nonsense"), "may or may not have the mail"),
        (Act::Say("354 go on"), "unexpected reply to the end of the mail: 354 go on"),
    ] {
        let status = send_error(&server, &mail, vec![(".", act)]).await?;
        assert_eq!(status.code(), Code::Unknown, "{act:?}: {status}");
        assert!(status.message().contains(why), "{act:?}: {status}");
    }
    let metrics = mail.admin("/metrics").await?.1;
    assert!(metrics.contains("mail_sends_total{template=\"message\",outcome=\"unknown\"} 4"), "{metrics}");
    server.set_rules(vec![]);
    mail.client()?.send(message("s", "m")).await?;
    mail.until_smtp(true, true).await?;
    Ok(())
}

#[tokio::test]
async fn a_late_reply_to_one_mail_is_not_read_as_the_reply_to_the_next() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hang)]).await?;
    let options = to(server.address()).env("MAIL_CONNECTIONS", "1").env("MAIL_END_TIMEOUT", "1s");
    let mail = Mail::start(options).await?;
    mail.until_smtp(true, true).await?;
    let mut request = Request::new(message("s", "m"));
    request.set_timeout(Duration::from_millis(300));
    let started = Instant::now();
    let late = mail.client()?.send(request).await.unwrap_err();
    // Which code the caller gets depends on which timeout is first.
    assert!(matches!(late.code(), Code::Unknown | Code::DeadlineExceeded | Code::Cancelled), "{late}");
    assert!(started.elapsed() < Duration::from_secs(5), "the caller's deadline must end the call");

    server.set_rules(vec![(".", Act::Say("250 the second"))]);
    let second = mail.client()?.send(message("s", "m")).await?.into_inner();
    assert_eq!(second.smtp_reply, "250 the second");
    assert_eq!(server.mails(), 2);
    Ok(())
}

#[tokio::test]
async fn sends_nothing_to_a_server_without_starttls() -> Result<()> {
    let server = Scripted::start(vec![]).await?;
    let options = to(server.address())
        .env("MAIL_ENCRYPTION", "tls")
        .env("MAIL_USERNAME", "weft")
        .env("MAIL_PASSWORD", "hunter2");
    let mail = Mail::start(options).await?;
    let status = mail.client()?.send(message("s", "m")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(
        status.message().contains("STARTTLS") && status.message().contains("MAIL_ENCRYPTION"),
        "{status}"
    );
    let heard = server.heard();
    assert!(heard.iter().all(|line| line.starts_with("EHLO")), "{heard:?}");
    let status = mail.until_smtp(true, false).await?;
    assert!(status["message"].as_str().is_some_and(|text| text.contains("STARTTLS")), "{status}");
    assert_eq!(mail.admin("/readyz").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_refused_password_is_unavailable_and_not_logged() -> Result<()> {
    let rules = vec![
        ("EHLO", Act::Say("250-scripted\r\n250 AUTH PLAIN LOGIN")),
        ("AUTH", Act::Say("535 5.7.8 authentication failed")),
    ];
    let server = Scripted::start(rules).await?;
    let options = to(server.address()).env("MAIL_USERNAME", "weft").env("MAIL_PASSWORD", "hunter2");
    let mail = Mail::start(options).await?;
    let status = mail.client()?.send(message("s", "m")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("535 5.7.8 authentication failed"), "{status}");
    let shown = mail.until_smtp(true, false).await?;
    assert!(shown["message"].as_str().is_some_and(|text| text.contains("535")), "{shown}");
    assert!(!mail.service.log_tail().contains("hunter2"));

    server.set_rules(vec![
        ("EHLO", Act::Say("250-scripted\r\n250 AUTH PLAIN LOGIN")),
        ("AUTH", Act::Say("235 ok")),
    ]);
    mail.client()?.send(message("s", "m")).await?;
    mail.until_smtp(true, true).await?;
    Ok(())
}

#[tokio::test]
async fn refuses_an_address_that_needs_smtputf8_before_sending() -> Result<()> {
    let server = Scripted::start(vec![]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = SendRequest { to: "用户@example.org".into(), ..message("s", "m") };
    let status = mail.client()?.send(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("SMTPUTF8"), "{status}");
    assert!(!server.heard().iter().any(|line| line.starts_with("MAIL")));
    // An internationalized domain is converted to ASCII.
    let request = SendRequest { to: "ann@bücher.example".into(), ..message("s", "m") };
    mail.client()?.send(request).await?;
    assert!(
        server.heard().contains(&"RCPT TO:<ann@xn--bcher-kva.example>".to_owned()),
        "{:?}",
        server.heard()
    );
    Ok(())
}

#[tokio::test]
async fn reuses_connections_up_to_the_limit() -> Result<()> {
    let server = Scripted::start(vec![]).await?;
    let mail = Mail::start(to(server.address()).env("MAIL_CONNECTIONS", "2")).await?;
    mail.until_smtp(true, true).await?;
    for _ in 0..5 {
        mail.client()?.send(message("s", "m")).await?;
    }
    let hellos = || server.heard().iter().filter(|line| line.starts_with("EHLO")).count();
    assert_eq!(hellos(), 1);
    let sends = (0..20).map(|_| {
        let mut client = mail.client().unwrap();
        tokio::spawn(async move { client.send(message("s", "m")).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await??;
    }
    assert!(hellos() <= 2, "{} connections", hellos());
    Ok(())
}
