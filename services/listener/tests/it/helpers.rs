//! Runs RabbitMQ, the logger with its store, mail with an SMTP catcher, and the listener, as processes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use weft_devstack::{FerretDb, MailDev, RabbitMq, Service, ServiceOptions, StateDir};
use weft_events::{Amqp, Event, EventMetrics, Publisher};
use weft_mesh::{Channel, Mesh, MeshConfig};
use weft_proto::weft::{
    deadletter::v1::{Filter, Letter, ListRequest, dead_letter_service_client::DeadLetterServiceClient},
    log::v1::{Entry, QueryRequest, log_service_client::LogServiceClient},
};
use weft_runtime::{
    config::{Fixed, Settings},
    metrics::Metrics,
};

/// Timeout of every wait; long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(180);

pub(crate) fn soon() -> Instant {
    Instant::now() + SOON
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = soon();
    while !holds().await {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// All processes that handle an event, in the order in which they are stopped.
pub(crate) struct Pipeline {
    pub(crate) listener: Service,
    pub(crate) logger: Service,
    pub(crate) mail: Service,
    pub(crate) maildev: MailDev,
    pub(crate) rabbitmq: RabbitMq,
    pub(crate) mongodb: FerretDb,
    pub(crate) publisher: Publisher,
    pub(crate) client: LogServiceClient<Channel>,
    pub(crate) letters: DeadLetterServiceClient<Channel>,
    _state: StateDir,
}

impl Pipeline {
    pub(crate) async fn start() -> Self {
        let state = StateDir::temporary().unwrap();
        let rabbitmq = state.folder("rabbitmq").unwrap();
        Self::with(state, RabbitMq::start(&rabbitmq)).await
    }

    /// As [`Pipeline::start`], for tests that look at messages in queues.
    pub(crate) async fn start_with_management() -> Self {
        let state = StateDir::temporary().unwrap();
        let rabbitmq = state.folder("rabbitmq").unwrap();
        Self::with(state, RabbitMq::start_with_management(&rabbitmq)).await
    }

    async fn with(state: StateDir, rabbitmq: impl Future<Output = anyhow::Result<RabbitMq>>) -> Self {
        let (mongodb, rabbitmq, maildev) =
            tokio::try_join!(async { FerretDb::start(&state.folder("mongodb")?).await }, rabbitmq, async {
                MailDev::start(&state.folder("maildev")?, 0).await
            },)
            .unwrap();
        let services = state.folder("services").unwrap();
        let of_logger = ServiceOptions::default().env("MONGODB_URI", mongodb.uri());
        let logger = Service::start("logger", &services, of_logger).await.unwrap();
        let mail = Service::start("mail", &services, of_mail(&maildev)).await.unwrap();
        let addresses = format!("logger={},mail={}", logger.grpc_address(), mail.grpc_address());
        let of_listener = ServiceOptions::default()
            .env("AMQP_URI", rabbitmq.uri())
            .env("WEFT_MESH_ADDRESSES", addresses.clone());
        let listener = Service::start("listener", &services, of_listener).await.unwrap();
        let metrics = Metrics::default();
        let amqp = Amqp::parse(&rabbitmq.uri().to_owned().into()).unwrap();
        let publisher = Publisher::start(amqp, EventMetrics::register(&metrics));
        let settings = Fixed::new([("WEFT_MESH_SECURITY", "plaintext"), ("WEFT_MESH_ADDRESSES", &addresses)]);
        let mesh = Mesh::new(MeshConfig::from_settings(&Settings::new(settings)).unwrap(), &metrics);
        let channel = mesh.channel("logger").unwrap().with_timeout(Duration::from_secs(10));
        let (client, letters) =
            (LogServiceClient::new(channel.clone()), DeadLetterServiceClient::new(channel));
        Self { listener, logger, mail, maildev, rabbitmq, mongodb, publisher, client, letters, _state: state }
    }

    /// All entries of a service, by id. Panics if an id is stored twice.
    pub(crate) async fn entries(&self, service: &str) -> Result<HashMap<String, Entry>, tonic::Status> {
        let mut entries = HashMap::new();
        let mut cursor = String::new();
        loop {
            let request =
                QueryRequest { service: service.into(), limit: 1_000, cursor, ..QueryRequest::default() };
            let page = self.client.clone().query(request).await?.into_inner();
            for entry in page.items {
                let id = entry.id.clone();
                assert!(entries.insert(id.clone(), entry).is_none(), "{id} is stored twice");
            }
            if page.next_cursor.is_empty() {
                return Ok(entries);
            }
            cursor = page.next_cursor;
        }
    }

    /// Waits until a service has at least `count` entries.
    pub(crate) async fn until_entries(&self, service: &str, count: usize) -> HashMap<String, Entry> {
        let deadline = soon();
        loop {
            let entries = self.entries(service).await.unwrap();
            if entries.len() >= count {
                return entries;
            }
            assert!(
                Instant::now() < deadline,
                "{} entries, not {count}; {}",
                entries.len(),
                self.listener.log_tail()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The dead letters of a queue in the logger's store.
    pub(crate) async fn letters(&self, queue: &str) -> Result<Vec<Letter>, tonic::Status> {
        let filter = Some(Filter { queue: queue.into(), ..Filter::default() });
        let request = ListRequest { filter, limit: 1_000, cursor: String::new() };
        Ok(self.letters.clone().list(request).await?.into_inner().items)
    }

    /// Waits until a queue has at least `count` dead letters in the logger's store, and none in RabbitMQ.
    pub(crate) async fn until_letters(&self, queue: &str, count: usize) -> Vec<Letter> {
        let deadline = soon();
        loop {
            // The logger may not be connected to its store yet.
            let letters = self.letters(queue).await.unwrap_or_default();
            if letters.len() >= count && self.messages(&format!("{queue}.dead")) == 0 {
                return letters;
            }
            assert!(
                Instant::now() < deadline,
                "{} letters, not {count}; {}",
                letters.len(),
                self.listener.log_tail()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// All mails that the catcher received.
    pub(crate) async fn mails(&self) -> Vec<Value> {
        let answer = reqwest::get(format!("{}/api/email", self.maildev.url())).await.unwrap();
        answer.json().await.unwrap()
    }

    /// Waits until each event has arrived as a mail at least once. Returns all mails.
    pub(crate) async fn until_mails(&self, events: impl IntoIterator<Item = &String> + Clone) -> Vec<Value> {
        let deadline = soon();
        loop {
            let mails = self.mails().await;
            let missing = missing_mails(&mails, events.clone());
            if missing.is_empty() {
                return mails;
            }
            assert!(
                Instant::now() < deadline,
                "{} mails have not arrived: {missing:?}; {}",
                missing.len(),
                self.listener.log_tail()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Takes all messages from a queue. Returns their ids.
    ///
    /// # Errors
    /// When the management API does not answer, as shortly after a start of RabbitMQ.
    pub(crate) async fn take_all(&self, queue: &str) -> reqwest::Result<HashSet<String>> {
        let login = reqwest::Url::parse(self.rabbitmq.uri()).unwrap();
        let url = format!("{}/api/queues/%2F/{queue}/get", self.rabbitmq.management_url().unwrap());
        let asked =
            serde_json::json!({ "count": 10_000, "ackmode": "ack_requeue_false", "encoding": "auto" });
        let request = reqwest::Client::new().post(url).basic_auth(login.username(), login.password());
        let messages: Vec<Value> = request.json(&asked).send().await?.error_for_status()?.json().await?;
        let id = |message: &Value| message["properties"]["message_id"].as_str().unwrap().to_owned();
        Ok(messages.iter().map(id).collect())
    }

    /// Waits until a queue has `count` messages.
    pub(crate) async fn until_messages(&self, queue: &str, count: u64) {
        let deadline = soon();
        while self.messages(queue) != count {
            assert!(
                Instant::now() < deadline,
                "{queue} does not have {count} messages; {}",
                self.listener.log_tail()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Number of messages in a queue.
    pub(crate) fn messages(&self, queue: &str) -> u64 {
        let list =
            self.rabbitmq.ctl(&["list_queues", "--quiet", "--no-table-headers", "name", "messages"]).unwrap();
        let line = list.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t'));
        line.unwrap_or_else(|| panic!("no queue {queue} in {list}")).trim().parse().unwrap()
    }
}

fn of_mail(maildev: &MailDev) -> ServiceOptions {
    let smtp = maildev.smtp_address();
    ServiceOptions::default()
        .env("MAIL_HOST", smtp.ip().to_string())
        .env("MAIL_PORT", smtp.port().to_string())
        .env("MAIL_ENCRYPTION", "none")
        .env("FROM_ADDRESS", "weft@example.com")
}

/// The events of which there is no mail.
pub(crate) fn missing_mails<'a>(
    mails: &[Value],
    events: impl IntoIterator<Item = &'a String>,
) -> Vec<&'a String> {
    let arrived: HashSet<_> =
        mails.iter().filter_map(|mail| mail["headers"]["message-id"].as_str()).collect();
    events.into_iter().filter(|id| !arrived.contains(message_id(id).as_str())).collect()
}

/// The `Message-ID` of the mail of an event.
pub(crate) fn message_id(event: &str) -> String {
    format!("<{event}@example.com>")
}

pub(crate) fn mail_event(subject: &str) -> Event {
    let data = serde_json::json!({
        "from": "Bob <bob@example.org>",
        "to": "ann@example.org",
        "subject": subject,
        "message": "first\nsecond",
    });
    event("mails", "mail.send", &data.to_string())
}

pub(crate) fn event(source: &str, kind: &str, data: &str) -> Event {
    Event {
        id: Uuid::new_v4().to_string(),
        kind: kind.into(),
        source: source.into(),
        time: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(1_767_323_045_678),
        data: data.into(),
    }
}
