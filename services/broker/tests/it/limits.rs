use reqwest::Method;
use weft_devstack::ServiceOptions;

use crate::rig::{Reply, Rig, reply};

async fn from(rig: &Rig, address: &str) -> Reply {
    reply(rig.get("/nowhere").header("x-forwarded-for", address)).await
}

#[tokio::test]
async fn refuses_requests_beyond_the_burst_and_says_how_long_to_wait() {
    let options = ServiceOptions::default()
        .env("BROKER_REQUESTS_PER_SECOND", "1")
        .env("BROKER_REQUESTS_BURST", "3")
        .env("BROKER_TRUSTED_PROXIES", "127.0.0.1");
    let rig = Rig::start(options).await;
    let first = from(&rig, "198.51.100.1").await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (404, "\"requests\";q=3;w=3"));
    assert_eq!(first.header("ratelimit"), "\"requests\";r=2;t=1");
    // These requests are faster than one a second, so one of them is refused.
    let mut last = first;
    for _ in 0..20 {
        last = from(&rig, "198.51.100.1").await;
        if last.status == 429 {
            break;
        }
    }
    assert_eq!((last.status, last.header("retry-after")), (429, "1"));
    assert!(last.header("ratelimit").starts_with("\"requests\";r=0;"), "{last:?}");
    assert_eq!(last.body["error"], true);
    // Other addresses and `/ping` are not limited.
    assert_eq!(from(&rig, "198.51.100.2").await.status, 404);
    let ping = reply(rig.get("/ping").header("x-forwarded-for", "198.51.100.1")).await;
    assert_eq!((ping.status, ping.header("ratelimit")), (200, ""));
}

#[tokio::test]
async fn ignores_forwarded_addresses_from_untrusted_clients() {
    let options =
        ServiceOptions::default().env("BROKER_REQUESTS_PER_SECOND", "1").env("BROKER_REQUESTS_BURST", "3");
    let rig = Rig::start(options).await;
    let mut statuses = Vec::new();
    for number in 0..20 {
        statuses.push(from(&rig, &format!("198.51.100.{number}")).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn options_requests_count_but_preflights_do_not() {
    let options =
        ServiceOptions::default().env("BROKER_REQUESTS_PER_SECOND", "1").env("BROKER_REQUESTS_BURST", "3");
    let rig = Rig::start(options).await;
    for _ in 0..10 {
        let preflight = rig.request(Method::OPTIONS, "/handle").header("origin", "http://page.example");
        let asked = reply(preflight.header("access-control-request-method", "POST")).await;
        assert_eq!((asked.status, asked.header("ratelimit")), (204, ""));
    }
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(reply(rig.request(Method::OPTIONS, "/handle")).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}
