//! RabbitMQ's version, which it tells in its greeting and lapin keeps to itself.

use std::time::Duration;

use lapin::{
    protocol::{AMQPClass, connection::AMQPMethod, parse_class},
    types::AMQPValue,
    uri::AMQPScheme,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Amqp;

const WITHIN: Duration = Duration::from_secs(2);
const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
/// A greeting has about 500 bytes.
const LONGEST: u32 = 8 * 1024;

/// The version, where RabbitMQ tells it without TLS. Leaves one line in RabbitMQ's log, of a client that went at once.
pub(crate) async fn of(amqp: &Amqp, stream: TcpStream) -> Option<String> {
    if amqp.0.scheme != AMQPScheme::AMQP {
        return None;
    }
    let frame = timeout(WITHIN, first_frame(stream)).await.ok()?.ok()?;
    version_in(&frame)
}

async fn first_frame(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
    stream.write_all(GREETING).await?;
    let _kind = stream.read_u8().await?;
    let _channel = stream.read_u16().await?;
    let length = stream.read_u32().await?.min(LONGEST);
    let mut payload = Vec::new();
    stream.take(length.into()).read_to_end(&mut payload).await?;
    Ok(payload)
}

fn version_in(payload: &[u8]) -> Option<String> {
    match parse_class(payload).ok()? {
        (_, AMQPClass::Connection(AMQPMethod::Start(start))) => {
            match start.server_properties.inner().get("version")? {
                AMQPValue::LongString(version) => Some(version.to_string()),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn the_version_is_among_the_servers_properties() {
        // connection.start, AMQP 0-9, one property, then mechanisms and locales.
        let mut payload = vec![0, 10, 0, 10, 0, 9];
        let mut table = vec![7];
        table.extend(b"versionS\x00\x00\x00\x063.10.8");
        payload.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        payload.extend(table);
        payload.extend(b"\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US");
        assert_eq!(version_in(&payload).as_deref(), Some("3.10.8"));
        assert_eq!(version_in(&payload[..20]), None);
        assert_eq!(version_in(b""), None);
    }
}
