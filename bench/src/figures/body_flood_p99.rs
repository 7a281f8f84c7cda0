//! Log calls at a fixed rate while many connections of other addresses hold bodies that do not end.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use weft_devstack::DevStack;

use super::{Setup, authority, complaints, load, log_rpc_rate::BODY, p99_ms};
use crate::cpu::CpuWatch;
use crate::figure::Measured;
use crate::load::fixed_rate;

const CONNECTIONS: u32 = 2_000;
const ADDRESSES: u8 = 20;
const ANNOUNCED_BYTES: usize = 1 << 20;
const SENT_BYTES: usize = 8 << 10;
const PER_SECOND: u32 = 100;
/// In less than the 15 s after which the broker gives up a body, with the second before it.
const COUNT: u32 = 1_000;

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let calls = load(&stack, BODY);
    fixed_rate(&calls, PER_SECOND, PER_SECOND).await?;
    let alone = p99_ms(fixed_rate(&calls, PER_SECOND, COUNT).await?.iter().map(|sample| sample.latency))?;
    let broker: SocketAddr = authority(&stack.broker_url()).parse()?;
    let sources = (0..ADDRESSES).cycle().take(usize::try_from(CONNECTIONS)?);
    let flood = try_join_all(sources.map(|source| hold(broker, source))).await?;
    let opening = fixed_rate(&calls, PER_SECOND, PER_SECOND).await?;
    let opening = p99_ms(opening.iter().map(|sample| sample.latency))?;
    let cpu = CpuWatch::start(&stack);
    let samples = fixed_rate(&calls, PER_SECOND, COUNT).await?;
    let held = flood.iter().filter(|stream| is_held(stream)).count();
    ensure!(held == flood.len(), "only {held} of {CONNECTIONS} connections still held a body at the end");
    let mut measured = p99_ms(samples.iter().map(|sample| sample.latency))?;
    measured.notes.push(format!("log calls at {PER_SECOND}/s, {held} bodies held"));
    measured.notes.push(format!("in the second after they were opened: {}", opening.notes.join(", ")));
    measured.notes.push(cpu.note());
    measured.notes.push(format!("without the bodies: p99 {:.1} ms, {}", alone.value, alone.notes.join(", ")));
    measured.notes.extend(complaints(&stack));
    Ok(measured)
}

async fn hold(broker: SocketAddr, source: u8) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, source + 1), 0)))?;
    let mut stream = socket.connect(broker).await.context("failed to connect to the broker")?;
    let head = format!("POST /handle HTTP/1.1\r\nhost: broker\r\ncontent-length: {ANNOUNCED_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&[b'x'; SENT_BYTES]).await?;
    Ok(stream)
}

/// Neither answered nor closed.
fn is_held(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
