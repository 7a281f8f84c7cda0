//! Tests TLS with Nodemailer's SMTP server, on which MailDev is built. It offers STARTTLS, which MailDev disables.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::net::TcpStream;
use tonic::Code;
use weft_devstack::{ServiceOptions, StateDir, free_port, tool};

use crate::helpers::{Mail, message, to, until};

struct Secured {
    process: Child,
    address: SocketAddr,
    certificate: PathBuf,
    state: StateDir,
}

impl Secured {
    async fn start(kind: &str) -> Result<Self> {
        let state = StateDir::temporary()?;
        let certificate = create_certificate(state.path())?;
        let modules = tool("maildev", "maildev")?.canonicalize()?;
        let modules = modules.ancestors().find(|folder| folder.ends_with("node_modules"));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/smtp-server.cjs"))
            .arg(modules.context("no node_modules folder above MailDev")?.join("smtp-server"))
            .args([kind, &address.port().to_string()])
            .arg(state.path())
            .stdin(Stdio::null())
            .spawn()?;
        until("the SMTP server listens", async || TcpStream::connect(address).await.is_ok()).await?;
        Ok(Self { process, address, certificate, state })
    }

    fn options(&self, encryption: &str) -> ServiceOptions {
        to(self.address)
            .env("MAIL_HOST", "localhost")
            .env("MAIL_ENCRYPTION", encryption)
            .env("MAIL_USERNAME", "weft")
            .env("MAIL_PASSWORD", "hunter2")
            .env("SSL_CERT_FILE", self.certificate.display().to_string())
    }

    fn mails(&self) -> String {
        std::fs::read_to_string(self.state.path().join("mails")).unwrap_or_default()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // Fails when the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Creates a self-signed certificate for `localhost`.
fn create_certificate(folder: &Path) -> Result<PathBuf> {
    let certificate = folder.join("cert.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(&certificate)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(certificate)
}

#[tokio::test]
async fn authenticates_and_sends_with_starttls_and_with_tls() -> Result<()> {
    for (kind, encryption) in [("starttls", "tls"), ("tls", "ssl")] {
        let server = Secured::start(kind).await?;
        let mail = Mail::start(server.options(encryption)).await?;
        mail.until_smtp(true, true).await?;
        mail.client()?.send(message("secret", "m")).await?;
        let mails = server.mails();
        assert!(mails.contains("secured: true, user: weft") && mails.contains("Subject: secret"), "{mails}");
    }
    Ok(())
}

#[tokio::test]
async fn sends_no_password_to_a_server_with_an_untrusted_certificate() -> Result<()> {
    let server = Secured::start("starttls").await?;
    let other = create_certificate(StateDir::temporary()?.path())?;
    let options = server.options("tls").env("SSL_CERT_FILE", other.display().to_string());
    let mail = Mail::start(options).await?;
    let status = mail.client()?.send(message("secret", "m")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("certificate"), "{status}");
    assert_eq!(server.mails(), "");
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_shown_in_status_and_leaves_the_service_ready() -> Result<()> {
    let server = Secured::start("starttls").await?;
    let mail = Mail::start(server.options("tls").env("MAIL_PASSWORD", "wrong")).await?;
    let status = mail.until_smtp(true, false).await?;
    assert!(status["message"].as_str().is_some_and(|text| text.contains("535")), "{status}");
    assert_eq!(mail.admin("/readyz").await?.0, 200);
    Ok(())
}
