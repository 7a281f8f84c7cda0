//! Servers that take their time.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use weft_proto::weft::mail::v1::{SendRequest, SendResponse};

use crate::helpers::{Mail, message, to, until};
use crate::scripted::{Act, Scripted};

/// How long the callers wait that give up here. A quarter of it is for the answer's way.
const PATIENCE: Duration = Duration::from_secs(4);

type Answer = Result<Response<SendResponse>, Status>;

fn send(mail: &Mail, request: &SendRequest, time: Option<Duration>) -> Result<JoinHandle<Answer>> {
    let mut client = mail.client()?;
    let mut request = Request::new(request.clone());
    if let Some(time) = time {
        request.set_timeout(time);
    }
    Ok(tokio::spawn(async move { client.send(request).await }))
}

#[tokio::test]
async fn each_step_has_its_own_time() -> Result<()> {
    let step = Act::Wait(Duration::from_secs(1));
    let slow = ["", "EHLO", "MAIL", "RCPT", "DATA", "."].map(|at| (at, step));
    let server = Scripted::start(slow.to_vec()).await?;
    // The steps together take longer than one may.
    let mail = Mail::start(to(server.address()).env("MAIL_SMTP_TIMEOUT", "3s")).await?;
    mail.client()?.send(message("s", "m")).await?;
    assert_eq!(server.mails(), 1);
    Ok(())
}

#[tokio::test]
async fn until_the_end_of_the_mail_the_callers_time_ends_the_exchange_and_nothing_is_sent() -> Result<()> {
    let server = Scripted::start(vec![("DATA", Act::Hang)]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = message("s", "m");
    let status = send(&mail, &request, Some(PATIENCE))?.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("did not answer within"), "{status}");
    server.now(vec![]);
    mail.client()?.send(request).await?;
    assert_eq!(server.mails(), 1);
    Ok(())
}

#[tokio::test]
async fn a_repeat_while_the_server_still_thinks_joins_the_first_and_sends_no_second_copy() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hold)]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = message("s", "m");
    let first = send(&mail, &request, Some(PATIENCE))?;
    until("the server has the mail", async || server.mails() == 1).await?;
    let second = send(&mail, &request, None)?;
    let status = first.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status}");
    server.release();
    assert_eq!(second.await??.into_inner().smtp_reply, "250 2.0.0 queued as 1");
    assert_eq!(server.mails(), 1);
    Ok(())
}

#[tokio::test]
async fn a_repeat_of_a_mail_that_was_sent_when_nobody_waited_sends_no_second_copy() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hold)]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = message("s", "m");
    let status = send(&mail, &request, Some(PATIENCE))?.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status}");
    server.release();
    until("the server's answer has come", async || {
        let metrics = mail.admin("/metrics").await.unwrap_or_default().1;
        metrics.contains("mail_smtp_exchange_duration_seconds_count{outcome=\"sent\"} 1")
    })
    .await?;
    let sent = mail.client()?.send(request.clone()).await?.into_inner();
    assert_eq!(sent.smtp_reply, "250 2.0.0 queued as 1");
    assert_eq!(server.mails(), 1);
    // Another mail with its id is another mail.
    mail.client()?.send(SendRequest { to: "bob@example.org".into(), ..request }).await?;
    assert_eq!(server.mails(), 2);
    Ok(())
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cut_its_mail_off() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hold)]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = message("s", "m");
    let first = send(&mail, &request, None)?;
    until("the server has the mail", async || server.mails() == 1).await?;
    first.abort();
    let second = send(&mail, &request, None)?;
    server.release();
    assert_eq!(second.await??.into_inner().smtp_reply, "250 2.0.0 queued as 1");
    assert_eq!(server.mails(), 1);
    Ok(())
}
