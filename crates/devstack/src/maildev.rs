//! MailDev: an SMTP server that delivers nothing and shows what it got.

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

/// A mail catcher without passwords and without TLS, on loopback.
#[derive(Debug)]
pub struct MailDev {
    process: Process,
    smtp: SocketAddr,
    web: SocketAddr,
}

impl MailDev {
    /// Starts one whose mails and log are in `folder` and whose page has the wanted port, or any when that is 0 or taken.
    ///
    /// # Errors
    /// When the tool is missing or it does not serve in time.
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
            // Without a folder it shares one with every other MailDev of the machine.
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

    /// Where it takes mails.
    #[must_use]
    pub fn smtp_address(&self) -> SocketAddr {
        self.smtp
    }

    /// `http://…` of its page; its API is below `/api`, such as `/api/email`.
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
