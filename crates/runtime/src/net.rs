//! Connects to a name that has several addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// Delay before the next address is tried in parallel (RFC 8305 recommends 250 ms).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// As [`connect`], with a timeout that includes name resolution.
///
/// # Errors
/// As [`connect`], and when it times out.
pub async fn connect_within(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    timeout(within, connect(host, port)).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

/// Connects to the address of `host` that answers first. Has no timeout.
///
/// The addresses are tried in the resolver's order. Each has a head start of 250 ms over the next one, or less when it fails
/// earlier. So an address that never answers delays the connection but does not prevent it.
///
/// # Errors
/// When the name can't be resolved, or when all addresses fail (with the last error).
///
/// # Cancellation
/// Closes the connections that are being established.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    connect_any(lookup_host((host, port)).await?).await
}

async fn connect_any(addresses: impl IntoIterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter().peekable();
    let mut attempts = FuturesUnordered::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        attempts.extend(addresses.next().map(TcpStream::connect));
        tokio::select! {
            connected = attempts.next() => match connected {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(failed)) => error = failed,
                None => return Err(error),
            },
            () = sleep(NEXT_AFTER), if addresses.peek().is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    /// Far longer than a test takes, far shorter than the kernel's two minutes.
    const LONG: Duration = Duration::from_secs(20);

    /// An address that neither accepts nor refuses connections, because its backlog is full.
    struct Silent {
        address: SocketAddr,
        _listener: TcpListener,
        _backlog: Vec<TcpStream>,
    }

    impl Silent {
        async fn start() -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let mut backlog = Vec::new();
            while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
                backlog.push(stream.unwrap());
            }
            Self { address, _listener: listener, _backlog: backlog }
        }
    }

    async fn alive() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn tries_the_next_address_when_one_never_answers() {
        let silent = Silent::start().await;
        let (_listener, address) = alive().await;
        let connected = timeout(LONG, connect_any([silent.address, address])).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn tries_the_next_address_when_one_refuses() {
        let (listener, refusing) = alive().await;
        drop(listener);
        let (_listener, address) = alive().await;
        let connected = connect_any([refusing, address]).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), address);
        assert_eq!(connect_any([refusing]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_any([]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn resolves_the_name() {
        let (_listener, address) = alive().await;
        let connected = connect_within("127.0.0.1", address.port(), LONG).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), address);
    }
}
