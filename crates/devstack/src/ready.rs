//! What it means that a process serves.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How often a condition is looked at, and how long one look may take.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_FOR: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// It accepts connections.
    Tcp(SocketAddr),
    /// It answers AMQP's greeting with a method frame.
    Amqp(SocketAddr),
    /// It asks a PostgreSQL client of this name for its password; while it starts it answers with an error.
    Postgres(SocketAddr, &'static str),
    /// The page answers 2xx.
    Http(String),
}

impl Ready {
    pub(crate) async fn holds(&self) -> bool {
        timeout(LOOK_FOR, self.look()).await.unwrap_or(false)
    }

    async fn look(&self) -> bool {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.is_ok(),
            Self::Amqp(address) => greet_amqp(*address).await.unwrap_or(false),
            Self::Postgres(address, user) => greet_postgres(*address, user).await.unwrap_or(false),
            Self::Http(url) => reqwest::get(url).await.is_ok_and(|reply| reply.status().is_success()),
        }
    }
}

async fn greet_amqp(address: SocketAddr) -> std::io::Result<bool> {
    const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
    const METHOD_FRAME: u8 = 1;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(GREETING).await?;
    Ok(stream.read_u8().await? == METHOD_FRAME)
}

async fn greet_postgres(address: SocketAddr, user: &str) -> std::io::Result<bool> {
    const VERSION_3: u32 = 3 << 16;
    const AUTHENTICATION: u8 = b'R';
    let parameters = format!("user\0{user}\0database\0postgres\0\0");
    let length = u32::try_from(parameters.len() + 8).unwrap_or_default();
    let mut greeting = Vec::new();
    for word in [length, VERSION_3] {
        greeting.extend(word.to_be_bytes());
    }
    greeting.extend(parameters.bytes());
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&greeting).await?;
    Ok(stream.read_u8().await? == AUTHENTICATION)
}
