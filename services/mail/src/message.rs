//! Composes the message that is sent from a rendered template.

use email_encoding::headers::rfc2047;
use email_encoding::headers::writer::EmailWriter;
use jiff::Timestamp;
use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use weft_values::text;

use crate::template::Rendered;
use crate::validate::{Invalid, Order};

/// The template of mails that a person writes. All others are marked as generated (RFC 3834).
const BY_A_PERSON: &str = "message";
const SUBJECT: HeaderName = HeaderName::new_from_ascii_str("Subject");
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// A mail that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Message-ID without angle brackets.
    pub message_id: String,
    /// Sender and recipient for SMTP.
    pub envelope: Envelope,
    /// Headers and body.
    pub bytes: Vec<u8>,
}

/// The sender of this service's mails.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Name and address.
    pub from: Mailbox,
    /// Right side of Message-IDs.
    pub domain: String,
}

impl Sender {
    /// Composes a mail. Its Message-ID is the same for each repeat of an order.
    ///
    /// # Errors
    /// When the subject is not a valid header value.
    pub fn write(&self, order: &Order, rendered: Rendered, now: Timestamp) -> Result<Outgoing, Invalid> {
        let Rendered { subject, text, html } = rendered;
        check_subject(&subject)?;
        let message_id = format!("{}@{}", order.id, self.domain);
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(order.to.clone())
            .raw_header(subject_header(subject)?)
            .date(now.into())
            .message_id(Some(format!("<{message_id}>")));
        if let Some(reply_to) = &order.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        if order.template != BY_A_PERSON {
            message = message.raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()));
        }
        let parts = MultiPart::alternative()
            .singlepart(part(ContentType::TEXT_PLAIN, &text))
            .singlepart(part(ContentType::TEXT_HTML, &html));
        let message = message.multipart(parts).map_err(|error| Invalid::new("to", error.to_string()))?;
        Ok(Outgoing { message_id, envelope: message.envelope().clone(), bytes: message.formatted() })
    }
}

/// Encodes the whole subject unless readers show it unchanged as it is. lettre writes ASCII as it is, also if it looks like an encoded
/// word of RFC 2047, which may contain line breaks.
fn subject_header(subject: String) -> Result<HeaderValue, Invalid> {
    let plain = subject.is_ascii() && !subject.contains("=?") && !has_outer_or_double_spaces(&subject);
    if plain {
        return Ok(HeaderValue::new(SUBJECT, subject));
    }
    let mut encoded = String::new();
    rfc2047::encode(&subject, &mut EmailWriter::new(&mut encoded, "Subject: ".len(), 0, false))
        .map_err(|error| Invalid::new("values", error.to_string()))?;
    Ok(HeaderValue::dangerous_new_pre_encoded(SUBJECT, subject, encoded))
}

/// Readers drop such spaces, or see an empty line where the header is folded.
fn has_outer_or_double_spaces(text: &str) -> bool {
    text.trim() != text || text.contains("  ")
}

fn check_subject(subject: &str) -> Result<(), Invalid> {
    text::subject(subject).map_err(|error| Invalid::new("values", error.reason()))
}

/// Encodes a part, also plain ASCII, so that no line of a value is a line of SMTP.
fn part(kind: ContentType, text: &str) -> SinglePart {
    let non_ascii = text.bytes().filter(|byte| !byte.is_ascii()).count();
    let encoding = if non_ascii * 6 > text.len() {
        ContentTransferEncoding::Base64
    } else {
        ContentTransferEncoding::QuotedPrintable
    };
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    SinglePart::builder().header(kind).header(encoding).body(lines)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::address::mailbox;

    fn sender() -> Sender {
        let from = mailbox("from", "Weft <weft@example.com>").unwrap();
        Sender { from, domain: "mail.example.com".into() }
    }

    fn order(template: &str) -> Order {
        Order {
            id: Uuid::from_u128(0x0199_f3f0_0000_7000_8000_0000_0000_0001),
            template: template.into(),
            to: mailbox("to", "ann@example.org").unwrap(),
            reply_to: Some(mailbox("reply_to", "Bob <bob@example.org>").unwrap()),
            values: Default::default(),
        }
    }

    fn rendered(subject: &str, text: &str) -> Rendered {
        Rendered { subject: subject.into(), text: text.into(), html: "<p>h</p>".into() }
    }

    fn write(template: &str, subject: &str, text: &str) -> String {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let mail = sender().write(&order(template), rendered(subject, text), now).unwrap();
        assert_eq!(mail.message_id, "0199f3f0-0000-7000-8000-000000000001@mail.example.com");
        String::from_utf8(mail.bytes).unwrap()
    }

    #[test]
    fn sets_headers_from_settings_request_and_clock() {
        let mail = write("logout", "Hi", "t");
        for line in [
            "From: Weft <weft@example.com>",
            "To: ann@example.org",
            "Reply-To: Bob <bob@example.org>",
            "Subject: Hi",
            "Date: Fri, 02 Jan 2026 03:04:05 +0000",
            "Message-ID: <0199f3f0-0000-7000-8000-000000000001@mail.example.com>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(mail.contains(&format!("{line}\r\n")), "{line} is missing in\n{mail}");
        }
        assert!(mail.contains("multipart/alternative"));
        assert!(!write("message", "Hi", "t").contains("Auto-Submitted"));
    }

    #[test]
    fn puts_the_plain_text_part_first() {
        let mail = write("message", "Hi", "t");
        assert!(mail.find("text/plain").unwrap() < mail.find("text/html").unwrap());
    }

    #[test]
    fn rejects_a_subject_of_several_lines() {
        for subject in ["a\r\nBcc: eve@example.com", "a\nb", "a\rb", "a\0b", "a\u{2028}b", &"x".repeat(513)] {
            let refused = sender().write(&order("message"), rendered(subject, "t"), Timestamp::UNIX_EPOCH);
            assert_eq!(refused.unwrap_err().field, "values");
        }
        let mail = write("message", "Grüße 你好", "t");
        assert!(mail.contains("Subject: =?utf-8?"), "{mail}");
    }

    #[test]
    fn encodes_a_subject_that_readers_would_decode_or_trim() {
        for subject in ["=?utf-8?b?UGF5IG5vdw==?=", "a=?", " a", "a ", "a  b", "ü =?utf-8?b?UGF5IG5vdw==?="]
        {
            let mail = write("message", subject, "t");
            let header = mail.lines().find(|line| line.starts_with("Subject: ")).unwrap();
            assert!(
                header.starts_with("Subject: =?utf-8?b?") && !header.contains("UGF5IG5vdw=="),
                "{header}"
            );
        }
        let long = " ".repeat(512);
        let mail = write("message", &long, "t");
        assert!(
            mail.lines().all(|line| line.len() <= 78 && (line.is_empty() || !line.trim().is_empty())),
            "{mail}"
        );
    }

    #[test]
    fn encodes_lines_that_smtp_would_interpret() {
        let mail = write("message", "s", "a\r\n.\r\nQUIT\n.\nb\r.\rc");
        assert!(!mail.replace("\r\n", "").contains(['\r', '\n']), "a lone line end");
        let body = mail.split("\r\n\r\n").nth(2).unwrap();
        assert!(body.starts_with("a\r\n.\r\nQUIT\r\n.\r\nb\r\n.\r\nc"), "{body}");
        assert!(write("message", "s", "你好，世界").contains("base64"));
    }
}
