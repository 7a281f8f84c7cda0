//! Slow SMTP servers.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use weft_proto::weft::mail::v1::{SendRequest, SendResponse};

use crate::helpers::{Mail, message, to, until};
use crate::scripted::{Act, Scripted};

/// Deadline of callers that give up in these tests. A quarter is reserved for the response.
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
async fn each_phase_has_its_own_timeout() -> Result<()> {
    let step = Act::Wait(Duration::from_secs(1));
    let slow = ["", "EHLO", "MAIL", "RCPT", "DATA", "."].map(|at| (at, step));
    let server = Scripted::start(slow.to_vec()).await?;
    // All steps together take longer than the timeout of one.
    let mail = Mail::start(to(server.address()).env("MAIL_SMTP_TIMEOUT", "3s")).await?;
    mail.client()?.send(message("s", "m")).await?;
    assert_eq!(server.mails(), 1);
    Ok(())
}

#[tokio::test]
async fn the_callers_deadline_ends_the_exchange_before_the_end_of_the_mail() -> Result<()> {
    let server = Scripted::start(vec![("DATA", Act::Hang)]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = message("s", "m");
    let status = send(&mail, &request, Some(PATIENCE))?.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("did not answer within"), "{status}");
    server.set_rules(vec![]);
    mail.client()?.send(request).await?;
    assert_eq!(server.mails(), 1);
    Ok(())
}

#[tokio::test]
async fn a_repeat_joins_the_mail_in_flight() -> Result<()> {
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
async fn a_repeat_gets_the_reply_that_came_after_its_caller_gave_up() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hold)]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let request = message("s", "m");
    let status = send(&mail, &request, Some(PATIENCE))?.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status}");
    server.release();
    until("the server has replied", async || {
        let metrics = mail.admin("/metrics").await.unwrap_or_default().1;
        metrics.contains("mail_smtp_exchange_duration_seconds_count{outcome=\"sent\"} 1")
    })
    .await?;
    let sent = mail.client()?.send(request.clone()).await?.into_inner();
    assert_eq!(sent.smtp_reply, "250 2.0.0 queued as 1");
    assert_eq!(server.mails(), 1);
    // The same id with other content is another mail.
    mail.client()?.send(SendRequest { to: "bob@example.org".into(), ..request }).await?;
    assert_eq!(server.mails(), 2);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_call_does_not_abort_its_mail() -> Result<()> {
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
