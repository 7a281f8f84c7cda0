//! Clients that hold connections and bodies must not affect others.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use weft_devstack::ServiceOptions;

use crate::rig::Rig;

const MIB: usize = 1 << 20;

/// Raises the limit on open files: each connection is one of this process, too.
fn allow_many_files() {
    let (_, max) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, max, max).unwrap();
}

async fn connect(rig: &Rig, source: [u8; 4]) -> TcpStream {
    let to: SocketAddr = rig.broker.http_url().replace("http://", "").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Announces a body of 1 MiB and sends this many bytes of it. `None` if the broker has closed the connection in the meantime.
async fn hold(rig: &Rig, source: [u8; 4], bytes: usize) -> Option<TcpStream> {
    let mut stream = connect(rig, source).await;
    let head = format!("POST /handle HTTP/1.1\r\nhost: broker\r\ncontent-length: {MIB}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&vec![b'x'; bytes]).await.ok()?;
    Some(stream)
}

/// The status of the broker's reply; `None` while the broker waits for the body.
fn answered(stream: &TcpStream) -> Option<String> {
    let mut start = [0; 12];
    match stream.try_read(&mut start) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        _ => Some(String::from_utf8_lossy(&start[9..]).into_owned()),
    }
}

/// Checks that log calls from other addresses succeed.
async fn others_succeed(rig: &Rig) {
    for number in 1..=20 {
        let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 2, number]));
        let body = json!({"action": "log", "log": {"name": "other", "data": "x".repeat(1_000)}});
        let url = format!("{}/handle", rig.broker.http_url());
        let reply = client.build().unwrap().post(url).json(&body).send().await.unwrap();
        assert_eq!(reply.status(), 202, "{:?}", reply.text().await);
    }
}

/// Peak memory of the broker.
fn peak_mib(rig: &Rig) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.broker.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[tokio::test]
async fn two_thousand_held_bodies_do_not_affect_others() {
    allow_many_files();
    let rig = Rig::start(ServiceOptions::default()).await;
    let sources = (0..2_000_u32).map(|number| [127, 0, 1, (number % 20) as u8 + 1]);
    let held = join_all(sources.map(|source| hold(&rig, source, 8 << 10))).await;
    others_succeed(&rig).await;
    // On a slow machine the first ones may have been held until their timeout (408). None may be refused.
    let answers = held.iter().map(|stream| stream.as_ref().map(answered));
    let was_held = |answer: &Option<Option<String>>| {
        answer.as_ref().is_some_and(|answer| answer.as_ref().is_none_or(|status| status == "408"))
    };
    let refused: Vec<_> = answers.filter(|answer| !was_held(answer)).collect();
    assert!(refused.is_empty(), "{} are refused, such as {:?}", refused.len(), refused[0]);
    assert!(peak_mib(&rig) < 200, "{} MiB", peak_mib(&rig));
}

#[tokio::test]
async fn bodies_one_byte_short_do_not_exceed_the_memory_bound() {
    allow_many_files();
    let rig = Rig::start(ServiceOptions::default()).await;
    // From a few addresses only, so that the bound in total applies.
    let sources = (0..700_u32).map(|number| [127, 0, 1, (number % 7) as u8 + 1]);
    let held = join_all(sources.map(|source| hold(&rig, source, MIB - 1))).await;
    others_succeed(&rig).await;
    let until = Instant::now() + Duration::from_secs(60);
    while held.iter().flatten().filter(|stream| answered(stream).is_none()).count() > 32 {
        assert!(Instant::now() < until, "more bodies are held than fit");
        tokio::task::yield_now().await;
    }
    assert!(peak_mib(&rig) < 200, "{} MiB", peak_mib(&rig));
}

#[tokio::test]
async fn an_address_beyond_its_bound_gets_an_early_429() {
    let rig = Rig::start(ServiceOptions::default().env("BROKER_BYTES_IN_FLIGHT_PER_ADDRESS", "100000")).await;
    let url = format!("{}/handle", rig.broker.http_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let large = json!({"action": "log", "log": {"name": "large", "data": "x".repeat(200_000)}});
    let reply = client.post(&url).json(&large).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let small = json!({"action": "log", "log": {"name": "small", "data": "x"}});
    assert_eq!(client.post(&url).json(&small).send().await.unwrap().status(), 202);
}
