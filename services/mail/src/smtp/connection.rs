//! One connection: made, protected, signed in, and used for one mail after the other.

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::{Error, response::Response};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;

use super::error::{SmtpError, shown};
use crate::config::{Encryption, SmtpConfig};
use crate::message::Outgoing;

/// TLS can't be set up for this host.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up TLS for MAIL_HOST={host}")]
pub struct SetupError {
    host: String,
    #[source]
    source: Error,
}

/// Makes connections.
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

    /// A connection that takes mails.
    pub(super) async fn open(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let mut connection = match (self.config.encryption, &self.tls) {
            (Encryption::Tls, Some(tls)) => self.wrapped(tls).await?,
            (Encryption::StartTls, Some(tls)) => self.upgraded(tls).await?,
            _ => self.plain().await?,
        };
        if let Some(login) = &self.config.login {
            let credentials =
                Credentials::new(login.username.clone(), login.password.expose_secret().to_owned());
            connection
                .auth(DEFAULT_MECHANISMS, &credentials)
                .await
                .map_err(|error| SmtpError::of_login(&error))?;
        }
        Ok(connection)
    }

    async fn plain(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let SmtpConfig { host, port, .. } = &self.config;
        let failed = |error: std::io::Error| SmtpError::Unreachable(format!("{host}:{port}: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        // The end of a mail is a packet of its own, which else waits for the one before it to be acknowledged.
        stream.set_nodelay(true).map_err(failed)?;
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello)
            .await
            .map_err(|error| SmtpError::of_setup(&error))
    }

    async fn upgraded(&self, tls: &TlsParameters) -> Result<AsyncSmtpConnection, SmtpError> {
        let mut connection = self.plain().await?;
        if !connection.can_starttls() {
            let reason =
                "it offers no STARTTLS, which MAIL_ENCRYPTION=tls requires (ssl and none are the others)";
            return Err(SmtpError::NotLetIn(reason.to_owned()));
        }
        connection.starttls(tls.clone(), &self.hello).await.map_err(|error| SmtpError::of_setup(&error))?;
        Ok(connection)
    }

    async fn wrapped(&self, tls: &TlsParameters) -> Result<AsyncSmtpConnection, SmtpError> {
        let SmtpConfig { host, port, timeout, .. } = &self.config;
        let server = (host.as_str(), *port);
        AsyncSmtpConnection::connect_tokio1(server, Some(*timeout), &self.hello, Some(tls.clone()), None)
            .await
            .map_err(|error| SmtpError::of_setup(&error))
    }
}

/// Hands one mail over, and returns the server's reply to the whole of it.
///
/// After an error the connection is of no use: nobody knows what the server waits for.
pub(super) async fn deliver(
    connection: &mut AsyncSmtpConnection,
    mail: &Outgoing,
) -> Result<String, SmtpError> {
    let parameters = parameters(connection, mail)?;
    let reply = exchange(connection, mail, parameters).await.map_err(|error| SmtpError::of_mail(&error))?;
    let lines: Vec<&str> = reply.message().collect();
    Ok(shown(reply.code(), &lines.join(" ")))
}

fn parameters(connection: &AsyncSmtpConnection, mail: &Outgoing) -> Result<Vec<MailParameter>, SmtpError> {
    let offers = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
    if !mail.envelope.from().into_iter().chain(mail.envelope.to()).all(ascii) {
        if !offers(Extension::SmtpUtfEight) {
            return Err(SmtpError::Unsupported(
                "the address is in another script before its @, and the server does not speak SMTPUTF8",
            ));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !mail.bytes.is_ascii() {
        if !offers(Extension::EightBitMime) {
            return Err(SmtpError::Unsupported(
                "a header is in another script, and the server lacks 8BITMIME",
            ));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

async fn exchange(
    connection: &mut AsyncSmtpConnection,
    mail: &Outgoing,
    parameters: Vec<MailParameter>,
) -> Result<Response, Error> {
    connection.command(Mail::new(mail.envelope.from().cloned(), parameters)).await?;
    for to in mail.envelope.to() {
        connection.command(Rcpt::new(to.clone(), Vec::new())).await?;
    }
    connection.command(Data).await?;
    connection.message(&mail.bytes).await
}
