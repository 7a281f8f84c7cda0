//! Measures the write rate of a running logger: `load http://127.0.0.1:50051 [callers] [seconds] [connections]`.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tonic::transport::{Channel, Endpoint};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, Level, WriteRequest};
use weft_runtime::clock;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("give the logger's address, such as http://127.0.0.1:50051")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (callers, seconds, connections) = (number(64)?, number(5)?, number(4)?);
    let mut channels = Vec::new();
    for _ in 0..connections.max(1) {
        channels.push(Endpoint::from_shared(address.clone())?.tcp_nodelay(true).connect().await?);
    }
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..callers as usize)
        .map(|caller| tokio::spawn(call(channels[caller % channels.len()].clone(), until)))
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    let per_second = took.len() as f64 / started.elapsed().as_secs_f64();
    eprintln!("{per_second:.0} writes/s, p50 {:?}, p99 {:?}, {} in all", at(0.5), at(0.99), took.len());
    Ok(())
}

async fn call(channel: Channel, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut client = LogServiceClient::new(channel);
    let clock = clock::system();
    let mut took = Vec::new();
    while Instant::now() < until {
        let entry = Entry {
            id: clock.new_id().to_string(),
            service: "load".to_owned(),
            level: Level::Info.into(),
            name: "event".to_owned(),
            data: "some data of the length that the course's front end sends".to_owned(),
            ..Entry::default()
        };
        let begun = Instant::now();
        client.write(WriteRequest { entry: Some(entry) }).await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}
