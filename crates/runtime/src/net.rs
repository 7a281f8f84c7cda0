//! TCP connections to names that may have several addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Pause before the next address is tried as well, as in RFC 8305 (Connection Attempt Delay).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first address of `host` that accepts, so that a dead first address does not use up the time.
///
/// # Errors
/// When the name has no address, every address refuses, or `within` has passed; the name lookup counts towards it.
pub async fn connect(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let connecting = async { race(lookup_host((host, port)).await?).await };
    timeout(within, connecting).await.unwrap_or_else(|_| {
        let message = format!("no connection within {} ms", within.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

async fn race(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.peekable();
    // Attempts still running are aborted when the set is dropped.
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let finished = tokio::select! {
            finished = attempts.join_next() => finished,
            () = sleep(HEAD_START), if addresses.peek().is_some() => continue,
        };
        match finished {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = error.into(),
            None => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// An address that neither accepts nor refuses: its queue of connections is full.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(LOCAL).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        (address, listener, queued)
    }

    async fn refusing() -> SocketAddr {
        TcpListener::bind(LOCAL).await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn connects_to_a_later_address_when_the_first_ones_are_silent_or_refuse() {
        let (silent, _listener, _queued) = silent().await;
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let accepting = listener.local_addr().unwrap();
        let stream = race([silent, refusing().await, accepting].into_iter()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), accepting);
    }

    #[tokio::test]
    async fn reports_a_refusal_a_silence_and_a_name_without_addresses() {
        let refused = race([refusing().await].into_iter()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (silent, _listener, _queued) = silent().await;
        let host = silent.ip().to_string();
        let error = connect(&host, silent.port(), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::TimedOut, "no connection within 50 ms")
        );
        assert_eq!(race(std::iter::empty()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
