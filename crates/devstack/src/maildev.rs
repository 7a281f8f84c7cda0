//! MailDev: an SMTP server that does not deliver mails but shows them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::Path,
    time::Duration,
};

use anyhow::Result;

use crate::{
    free_port,
    ports::prefer,
    process::{Process, Spec, base_env},
    ready::Ready,
    tools::tool,
};

/// A mail catcher on loopback, without passwords and TLS.
#[derive(Debug)]
pub struct MailDev {
    process: Process,
    smtp: SocketAddr,
    web: SocketAddr,
}

impl MailDev {
    /// Starts MailDev with mails and log in `folder` and its page on this port, or on any port when it is 0 or in use.
    ///
    /// # Errors
    /// When the tool is missing or is not ready in time.
    pub async fn start(folder: &Path, web_port: u16) -> Result<Self> {
        let program = tool("maildev", "maildev")?;
        let mails = folder.join("mails");
        std::fs::create_dir_all(&mails)?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (smtp, web) = (local(free_port()?), local(prefer(web_port)?));
        let args = vec![
            format!("--ip={}", smtp.ip()),
            format!("--smtp={}", smtp.port()),
            format!("--web-ip={}", web.ip()),
            format!("--web={}", web.port()),
            // By default all MailDev processes of the machine share one folder.
            format!("--mail-directory={}", mails.display()),
        ];
        let process = Process::launch(Spec {
            name: "maildev".into(),
            program,
            args,
            env: base_env(),
            folder: folder.to_owned(),
            ready: Ready::Http(format!("http://{web}/api/healthz")),
            start_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(15),
        });
        Ok(Self { process: process.await?, smtp, web })
    }

    /// Address of the SMTP server.
    #[must_use]
    pub fn smtp_address(&self) -> SocketAddr {
        self.smtp
    }

    /// URL of the page. The API is below `/api`, such as `/api/email`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.web)
    }
}

impl Deref for MailDev {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
