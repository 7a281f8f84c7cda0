//! A connection to the SMTP server: connect, encrypt, authenticate, send mails.

use std::net::SocketAddr;

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Severity;
use lettre::transport::smtp::{Error, response::Response};
use secrecy::ExposeSecret as _;
use tokio::net::{TcpStream, lookup_host};
use weft_runtime::net;

use super::error::{Command, SmtpError, shown};
use super::progress::{Phase, Progress};
use crate::config::{Encryption, SmtpConfig};
use crate::message::Outgoing;

/// Size of the parts in which a mail is written. Each part has the timeout of a reply.
const PART_BYTES: usize = 64 * 1024;

/// TLS can't be set up for this host.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up TLS for MAIL_HOST={host}")]
pub struct SetupError {
    host: String,
    #[source]
    source: Error,
}

/// Opens connections.
pub(super) struct Dialer {
    config: SmtpConfig,
    hello: ClientId,
    tls: Option<TlsParameters>,
}

impl Dialer {
    pub(super) fn new(config: SmtpConfig, hello: String) -> Result<Self, SetupError> {
        let tls = match config.encryption {
            Encryption::None => None,
            Encryption::StartTls | Encryption::Tls => {
                let host = config.host.clone();
                let tls = TlsParameters::new(host.clone());
                Some(tls.map_err(|source| SetupError { host, source })?)
            }
        };
        Ok(Self { config, hello: ClientId::Domain(hello), tls })
    }

    pub(super) fn config(&self) -> &SmtpConfig {
        &self.config
    }

    /// Opens an authenticated connection.
    pub(super) async fn open(&self, progress: &Progress) -> Result<AsyncSmtpConnection, SmtpError> {
        progress.enter(Phase::Connect);
        let mut connection = match (self.config.encryption, &self.tls) {
            (Encryption::Tls, Some(tls)) => self.wrapped(tls, progress).await?,
            (Encryption::StartTls, Some(tls)) => self.upgraded(tls, progress).await?,
            _ => self.plain(progress).await?,
        };
        if let Some(login) = &self.config.login {
            progress.enter(Phase::Reply);
            let credentials =
                Credentials::new(login.username.clone(), login.password.expose_secret().to_owned());
            connection
                .auth(DEFAULT_MECHANISMS, &credentials)
                .await
                .map_err(|error| SmtpError::of_login(&error))?;
        }
        Ok(connection)
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        net::connect(&self.config.host, self.config.port).await
    }

    async fn plain(&self, progress: &Progress) -> Result<AsyncSmtpConnection, SmtpError> {
        let stream = self.connect().await.map_err(|error| self.unreachable(&error))?;
        progress.enter(Phase::Reply);
        // The end of a mail is a separate packet. With Nagle's algorithm it would wait for the acknowledgement of the previous one.
        stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello)
            .await
            .map_err(|error| SmtpError::of_setup(&error))
    }

    async fn upgraded(
        &self,
        tls: &TlsParameters,
        progress: &Progress,
    ) -> Result<AsyncSmtpConnection, SmtpError> {
        let mut connection = self.plain(progress).await?;
        progress.enter(Phase::Reply);
        if !connection.can_starttls() {
            let reason = "no STARTTLS offered, which MAIL_ENCRYPTION=tls requires (other values: ssl, none)";
            return Err(SmtpError::SessionRefused(reason.to_owned()));
        }
        connection.starttls(tls.clone(), &self.hello).await.map_err(|error| SmtpError::of_setup(&error))?;
        Ok(connection)
    }

    async fn wrapped(
        &self,
        tls: &TlsParameters,
        progress: &Progress,
    ) -> Result<AsyncSmtpConnection, SmtpError> {
        let address = self.address().await.map_err(|error| self.unreachable(&error))?;
        progress.enter(Phase::Reply);
        let within = Some(self.config.timeouts.connect);
        AsyncSmtpConnection::connect_tokio1(address, within, &self.hello, Some(tls.clone()), None)
            .await
            .map_err(|error| SmtpError::of_setup(&error))
    }

    /// The address to which lettre connects, because for TLS from the first byte lettre accepts no existing connection: the only
    /// address of the host, or the first of several that accepts a connection.
    async fn address(&self) -> std::io::Result<SocketAddr> {
        let mut addresses = lookup_host((self.config.host.as_str(), self.config.port)).await?;
        match (addresses.next(), addresses.next()) {
            (Some(only), None) => Ok(only),
            _ => self.connect().await?.peer_addr(),
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> SmtpError {
        let SmtpConfig { host, port, .. } = &self.config;
        SmtpError::Unreachable(format!("{host}:{port}: {error}"))
    }
}

/// Sends one mail and returns the server's reply to the end of the mail.
///
/// After an error the state of the connection is unknown, and it must not be reused.
pub(super) async fn deliver(
    connection: &mut AsyncSmtpConnection,
    mail: &Outgoing,
    progress: &Progress,
) -> Result<String, SmtpError> {
    let parameters = parameters(connection, mail)?;
    progress.enter(Phase::Reply);
    let from = Mail::new(mail.envelope.from().cloned(), parameters);
    expect(Command::Mail, Severity::PositiveCompletion, connection.command(from).await)?;
    for to in mail.envelope.to() {
        progress.enter(Phase::Reply);
        let to = Rcpt::new(to.clone(), Vec::new());
        expect(Command::Rcpt, Severity::PositiveCompletion, connection.command(to).await)?;
    }
    progress.enter(Phase::Reply);
    expect(Command::Data, Severity::PositiveIntermediate, connection.command(Data).await)?;
    let parts = mail.bytes.chunks(PART_BYTES).inspect(|_| progress.enter(Phase::Reply));
    // lettre calls `next` once more after the last part, and then writes the end of the mail.
    let end = std::iter::from_fn(|| {
        progress.enter(Phase::End);
        None
    });
    let reply = connection.message_iter(parts.chain(end)).await;
    let command = if progress.phase() == Phase::End { Command::End } else { Command::Data };
    expect(command, Severity::PositiveCompletion, reply)
}

/// Returns the text of a reply with the expected severity.
fn expect(command: Command, wanted: Severity, reply: Result<Response, Error>) -> Result<String, SmtpError> {
    let reply = reply.map_err(|error| SmtpError::of_mail(command, &error))?;
    let lines: Vec<&str> = reply.message().collect();
    let text = shown(reply.code(), &lines.join(" "));
    match command {
        _ if reply.code().severity == wanted => Ok(text),
        Command::End => Err(SmtpError::Unknown(format!("unexpected reply to the end of the mail: {text}"))),
        _ => Err(SmtpError::Later(format!("unexpected reply to {command:?}: {text}"))),
    }
}

fn parameters(connection: &AsyncSmtpConnection, mail: &Outgoing) -> Result<Vec<MailParameter>, SmtpError> {
    let offers = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    if !mail.envelope.from().into_iter().chain(mail.envelope.to()).all(ascii) {
        if !offers(Extension::SmtpUtfEight) {
            return Err(SmtpError::Unsupported(
                "the part before the @ of the address is not ASCII, and the server does not support SMTPUTF8",
            ));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !mail.bytes.is_ascii() {
        if !offers(Extension::EightBitMime) {
            return Err(SmtpError::Unsupported(
                "a header is not ASCII, and the server does not support 8BITMIME",
            ));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}
