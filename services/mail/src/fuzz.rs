//! Fuzzes addresses and subjects that the broker accepts. The broker checks them with `weft_values` alone and acknowledges the
//! event before this service sees it. So everything that `weft_values` accepts must become a mail within SMTP's limits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use weft_proto::weft::mail::v1::SendRequest;
use weft_values::address::Address;
use weft_values::text;

use crate::address::mailbox;
use crate::message::Sender;
use crate::template::Templates;
use crate::validate;

#[path = "../../../fuzz/driver.rs"]
mod driver;

#[test]
fn fuzz_addresses_and_subjects_that_the_broker_accepts() {
    let templates = Templates::load(None).unwrap();
    let sender = Sender { from: mailbox("from", "weft@example.com").unwrap(), domain: "example.com".into() };
    let label = "x".repeat(63);
    let longest = format!("{}@{label}.{label}.{}", "l".repeat(64), "x".repeat(61));
    let examples: Vec<Vec<u8>> = [
        "me@example.com",
        "o'hara/x=y+z@mail-1.example.com",
        "用户@例子.广告",
        "jürgen@bücher.example",
        &format!("{}@b.de", "ü".repeat(32)),
        &longest,
    ]
    .iter()
    .map(|address| address.as_bytes().to_vec())
    .collect();
    let words: [&[u8]; 14] = [
        b"@",
        b".",
        b"-",
        b"\"",
        b"<",
        b">",
        b"xn--",
        b"\xc3\xbc",
        b"\xe3\x80\x82",
        b"_",
        b"[1.2.3.4]",
        b"!#$%&'*+/=?^_`{|}~",
        b"\xe2\x80\xa8",
        b"\xc2\xad",
    ];
    driver::run("what the broker accepts for a mail", &examples, &words, |input| {
        let input = String::from_utf8_lossy(input);
        if Address::parse(&input).is_ok() {
            check_mail(&templates, &sender, &input, "Hi");
        } else {
            assert!(
                mailbox("to", &input).is_err() || input.contains('<') || input.trim() != input,
                "{input:?}"
            );
        }
        if text::subject(&input).is_ok() {
            check_mail(&templates, &sender, "me@example.com", &input);
        }
    });
}

/// Checks that a mail with this address and subject can be composed, within SMTP's limits.
fn check_mail(templates: &Templates, sender: &Sender, address: &str, subject: &str) {
    let values =
        [("subject", subject), ("message", subject)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let request = SendRequest {
        id: "0199f3f0-0000-7000-8000-000000000001".into(),
        template: "message".into(),
        to: address.into(),
        reply_to: address.into(),
        values: values.into(),
    };
    let order = validate::order(request).unwrap();
    let values: BTreeMap<String, String> = order.values.clone();
    let rendered = templates.render(&order.template, &values).unwrap();
    let mail = sender.write(&order, rendered, Timestamp::UNIX_EPOCH).unwrap();
    let [to] = mail.envelope.to() else { panic!("{:?} is not one recipient", mail.envelope) };
    let path: &str = to.as_ref();
    assert!(path.len() <= 254 && to.user().len() <= 64, "{path:?}");
    assert!(
        to.domain().is_ascii() && to.domain().split('.').all(|label| (1..=63).contains(&label.len())),
        "{path:?}"
    );
    assert!(!path.contains(|c: char| c.is_whitespace() || c.is_control() || "<>".contains(c)), "{path:?}");
}
