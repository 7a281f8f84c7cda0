//! Reads RabbitMQ's version from `connection.start`, which lapin does not expose.

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

const READ_WITHIN: Duration = Duration::from_secs(2);
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// `connection.start` has about 500 bytes.
const MAX_FRAME_BYTES: u32 = 8 * 1024;

/// The version; `None` with TLS. Causes one line in RabbitMQ's log, about a client that closed the connection at once.
pub(crate) async fn of(amqp: &Amqp, stream: TcpStream) -> Option<String> {
    if amqp.0.scheme != AMQPScheme::AMQP {
        return None;
    }
    let frame = timeout(READ_WITHIN, first_frame(stream)).await.ok()?.ok()?;
    version_in(&frame)
}

async fn first_frame(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
    stream.write_all(PROTOCOL_HEADER).await?;
    let _kind = stream.read_u8().await?;
    let _channel = stream.read_u16().await?;
    let length = stream.read_u32().await?.min(MAX_FRAME_BYTES);
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
    fn reads_the_version_from_the_server_properties() {
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
