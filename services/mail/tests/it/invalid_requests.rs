use anyhow::Result;
use tonic::Code;
use weft_proto::weft::mail::v1::SendRequest;

use crate::helpers::{Rig, message, values};

#[tokio::test]
async fn invalid_requests_are_refused_with_their_field() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.mail.client()?;
    let good = || message("s", "m");
    let long = format!("{}@example.org", "x".repeat(10_000));
    let many: Vec<(String, String)> = (0..65).map(|number| (format!("v{number}"), String::new())).collect();
    let invalid = [
        (SendRequest { id: String::new(), ..good() }, "id: "),
        (SendRequest { id: "7".into(), ..good() }, "id: "),
        (SendRequest { to: String::new(), ..good() }, "to: empty"),
        (SendRequest { to: "nobody".into(), ..good() }, "to: "),
        (SendRequest { to: "a@example.org, b@example.org".into(), ..good() }, "to: "),
        (SendRequest { to: long.clone(), ..good() }, "to: too long: 10012 characters"),
        (SendRequest { reply_to: long, ..good() }, "reply_to: too long: 10012 characters"),
        (SendRequest { reply_to: "nobody".into(), ..good() }, "reply_to: "),
        (
            SendRequest { template: String::new(), ..good() },
            "template: unknown template ``; expected one of logout, message, password-reset",
        ),
        (
            SendRequest { template: "../etc/passwd".into(), ..good() },
            "expected one of logout, message, password-reset",
        ),
        (SendRequest { values: values(&[("subject", "s")]), ..good() }, "missing `message`"),
        (SendRequest { template: "logout".into(), ..good() }, "missing `address`, `email`, `everywhere`"),
        (message(&"x".repeat(513), "m"), "values: the subject is too long"),
        (SendRequest { values: many.into_iter().collect(), ..good() }, "values: too many: 65"),
        (message("s", &"x".repeat(1 << 20)), "values: too large: 104859"),
    ];
    for (request, why) in invalid {
        let refused = client.send(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(why), "{refused} does not say {why}");
    }
    assert!(rig.caught().await?.is_empty());
    assert!(rig.mail.admin("/metrics").await?.1.contains("outcome=\"invalid\""));
    Ok(())
}

#[tokio::test]
async fn no_field_can_add_a_header_recipient_or_element() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.mail.client()?;
    let good = || message("s", "m");
    for end in ["\r\n", "\n", "\r", "\u{85}", "\u{2028}", "\0"] {
        let added = format!("{end}Bcc: eve@example.com");
        let injections = [
            SendRequest { to: format!("ann@example.org{added}"), ..good() },
            SendRequest { to: format!("Ann{added} <ann@example.org>"), ..good() },
            SendRequest { to: format!("\"Ann{added}\" <ann@example.org>"), ..good() },
            SendRequest { reply_to: format!("bob@example.org{added}"), ..good() },
            SendRequest { reply_to: format!("Bob{added} <bob@example.org>"), ..good() },
            SendRequest { id: format!("{}{added}", good().id), ..good() },
            message(&format!("s{added}"), "m"),
        ];
        for request in injections {
            let refused = client.send(request.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{request:?}: {refused}");
        }
    }
    let to = "ann@example.org> BODY=8BITMIME\u{20}<eve@example.com";
    assert_eq!(
        client.send(SendRequest { to: to.into(), ..good() }).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert!(rig.caught().await?.is_empty());

    // Line breaks are allowed in a message.
    let script = "</td><script>alert(1)</script>{{ subject }}\r\n\r\nBcc: eve@example.com\r\n\r\n--x\r\nContent-Type: text/html";
    client.send(message("a <script>alert(2)</script> {{ message }}", script)).await?;
    let (mail, source) = rig.only().await?;
    assert_eq!(mail["subject"], "a <script>alert(2)</script> {{ message }}");
    assert!(
        mail["html"]
            .as_str()
            .is_some_and(|html| !html.contains("<script") && html.contains("&lt;script&gt;"))
    );
    assert_eq!(mail["envelope"]["to"].as_array().map(Vec::len), Some(1));
    let headers = source.split("\r\n\r\n").next().unwrap_or_default();
    assert!(!headers.to_ascii_lowercase().contains("bcc"), "{headers}");
    Ok(())
}

#[tokio::test]
async fn escapes_and_sends_a_megabyte_of_markup() -> Result<()> {
    let rig = Rig::start().await?;
    let text = "<&>\n".repeat(200_000);
    rig.mail.client()?.send(message("large", &text)).await?;
    let (mail, _) = rig.only().await?;
    assert!(mail["html"].as_str().is_some_and(|html| html.matches("&lt;&amp;&gt;<br>").count() > 199_000));
    Ok(())
}
