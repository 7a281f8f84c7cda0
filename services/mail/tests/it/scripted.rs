//! An SMTP server with scripted replies.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What the server does when it receives a line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Say(&'static str),
    /// Sends the default reply after this time.
    Wait(Duration),
    /// Sends the default reply after [`Scripted::release`].
    Hold,
    /// Keeps the connection open and sends nothing more.
    Hang,
    /// Closes the connection.
    Drop,
}

/// Rules override the default replies. A rule applies to lines that start with its word; the empty word is the start of the
/// connection, and `.` the end of a mail.
pub(crate) type Rules = Vec<(&'static str, Act)>;

#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    address: SocketAddr,
    rules: Arc<Mutex<Rules>>,
    heard: Arc<Mutex<Vec<String>>>,
    released: watch::Sender<bool>,
}

impl Scripted {
    pub(crate) async fn start(rules: Rules) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let server = Self {
            address: listener.local_addr()?,
            rules: Arc::new(Mutex::new(rules)),
            heard: Arc::default(),
            released: watch::Sender::default(),
        };
        let of_task = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = of_task.clone();
                // Some tests close their connection, so errors are ignored.
                tokio::spawn(async move { server.talk(stream).await });
            }
        });
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_rules(&self, rules: Rules) {
        *self.rules.lock().unwrap() = rules;
    }

    /// The lines that clients have sent, without the content of mails.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    /// Number of complete mails received.
    pub(crate) fn mails(&self) -> usize {
        self.heard().iter().filter(|line| *line == ".").count()
    }

    async fn talk(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut in_mail, mut word) = (false, String::new());
        loop {
            match self.act(&word) {
                Act::Say(reply) => say(&mut stream, reply).await?,
                Act::Wait(time) => {
                    sleep(time).await;
                    say(&mut stream, default_reply(&word)).await?;
                }
                Act::Hold => {
                    // Can't fail: `self` has the sender.
                    let _ = self.released.subscribe().wait_for(|released| *released).await;
                    say(&mut stream, default_reply(&word)).await?;
                }
                Act::Hang => std::future::pending().await,
                Act::Drop => return Ok(()),
            }
            in_mail = word.starts_with("DATA") || (in_mail && word != ".");
            loop {
                word.clear();
                if stream.read_line(&mut word).await? == 0 {
                    return Ok(());
                }
                word.truncate(word.trim_end().len());
                if !in_mail || word == "." {
                    break;
                }
            }
            self.heard.lock().unwrap().push(word.clone());
            in_mail = in_mail && word != ".";
        }
    }

    fn act(&self, line: &str) -> Act {
        let matches = |word: &str| if word.is_empty() { line.is_empty() } else { line.starts_with(word) };
        let rules = self.rules.lock().unwrap();
        rules
            .iter()
            .find(|(word, _)| matches(word))
            .map_or_else(|| Act::Say(default_reply(line)), |(_, act)| *act)
    }
}

async fn say(stream: &mut BufReader<TcpStream>, reply: &str) -> Result<()> {
    Ok(stream.write_all(format!("{reply}\r\n").as_bytes()).await?)
}

fn default_reply(line: &str) -> &'static str {
    match line.split(' ').next().unwrap_or_default() {
        "" => "220 scripted ESMTP",
        "EHLO" => "250-scripted\r\n250 8BITMIME",
        "DATA" => "354 go on",
        "." => "250 2.0.0 queued as 1",
        "QUIT" => "221 bye",
        _ => "250 ok",
    }
}
