//! Refusals of this service, not of a mail.

use anyhow::Result;
use tonic::Code;

use crate::helpers::{Mail, message, to};
use crate::scripted::{Act, Scripted};

#[tokio::test]
async fn a_refusal_of_this_service_is_unavailable_and_shown_in_status_and_metrics() -> Result<()> {
    let server = Scripted::start(vec![]).await?;
    let mail = Mail::start(to(server.address())).await?;
    let refusals = [
        ("MAIL", "550 5.1.1 no such sender"),
        ("MAIL", "553 not your address"),
        ("MAIL", "530 5.7.0 authentication required"),
        ("RCPT", "554 5.7.1 relay access denied"),
        ("RCPT", "530 authentication required"),
        ("DATA", "534 5.7.9 a stronger mechanism is required"),
        (".", "535 5.7.8 credentials expired"),
        (".", "538 5.7.11 encryption required"),
    ];
    for (at, reply) in refusals {
        server.set_rules(vec![(at, Act::Say(reply))]);
        let status = mail.client()?.send(message("s", "m")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{at}: {status}");
        assert!(status.message().contains(reply), "{at}: {status}");
        // A successful check of the connection does not hide it.
        let shown = mail.smtp_status().await?;
        assert!(shown["message"].as_str().is_some_and(|text| text.contains(reply)), "{at}: {shown}");
        assert_eq!((&shown["reachable"], &shown["authenticated"]), (&true.into(), &false.into()));
    }
    let metrics = mail.admin("/metrics").await?.1;
    let line = format!("outcome=\"misconfigured\"}} {}", refusals.len());
    assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    assert_eq!(mail.admin("/readyz").await?.0, 200);

    server.set_rules(vec![]);
    mail.client()?.send(message("s", "m")).await?;
    mail.until_smtp(true, true).await?;
    Ok(())
}
