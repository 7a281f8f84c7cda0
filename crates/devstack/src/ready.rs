//! Readiness checks.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Interval and timeout of checks.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(20);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// Accepts connections.
    Tcp(SocketAddr),
    /// Answers the AMQP protocol header with a method frame.
    Amqp(SocketAddr),
    /// Asks a PostgreSQL client with this user name for the password; during startup PostgreSQL answers with an error.
    Postgres(SocketAddr, &'static str),
    /// Answers 2xx at this URL.
    Http(String),
}

impl Ready {
    pub(crate) async fn holds(&self) -> bool {
        timeout(CHECK_TIMEOUT, self.check()).await.unwrap_or(false)
    }

    async fn check(&self) -> bool {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.is_ok(),
            Self::Amqp(address) => check_amqp(*address).await.unwrap_or(false),
            Self::Postgres(address, user) => check_postgres(*address, user).await.unwrap_or(false),
            Self::Http(url) => reqwest::get(url).await.is_ok_and(|reply| reply.status().is_success()),
        }
    }
}

async fn check_amqp(address: SocketAddr) -> std::io::Result<bool> {
    const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
    const METHOD_FRAME: u8 = 1;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(PROTOCOL_HEADER).await?;
    Ok(stream.read_u8().await? == METHOD_FRAME)
}

async fn check_postgres(address: SocketAddr, user: &str) -> std::io::Result<bool> {
    const VERSION_3: u32 = 3 << 16;
    const AUTHENTICATION: u8 = b'R';
    let parameters = format!("user\0{user}\0database\0postgres\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap_or_default();
    let mut startup = Vec::new();
    for word in [length, VERSION_3] {
        startup.extend(word.to_be_bytes());
    }
    startup.extend(parameters.bytes());
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&startup).await?;
    Ok(stream.read_u8().await? == AUTHENTICATION)
}
