//! Runs a logger and its store on loopback.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;
use weft_devstack::{FerretDb, Service, ServiceOptions, StateDir};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, QueryRequest, WriteRequest};

pub(crate) type Client = LogServiceClient<Channel>;

/// A logger, its store and their directory, stopped in this order.
pub(crate) struct Rig {
    pub(crate) logger: Service,
    pub(crate) store: FerretDb,
    _state: StateDir,
}

impl Rig {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(ServiceOptions::default()).await
    }

    pub(crate) async fn with(options: ServiceOptions) -> Result<Self> {
        let state = StateDir::temporary()?;
        let store = FerretDb::start(&state.folder("mongodb")?).await?;
        let options = options.env("MONGODB_URI", store.uri());
        let logger = Service::start("logger", &state.folder("logger")?, options).await?;
        Ok(Self { logger, store, _state: state })
    }

    /// Starts a logger while its store is stopped.
    pub(crate) async fn without_store() -> Result<Self> {
        let state = StateDir::temporary()?;
        let store = FerretDb::start(&state.folder("mongodb")?).await?;
        store.kill().await?;
        let options = ServiceOptions::default().env("MONGODB_URI", store.uri());
        let logger = Service::start_unready("logger", &state.folder("logger")?, options)?;
        let rig = Self { logger, store, _state: state };
        until("the admin port answers", async || rig.admin("/livez").await.is_ok()).await?;
        Ok(rig)
    }

    pub(crate) fn client(&self) -> Result<Client> {
        let address = format!("http://{}", self.logger.grpc_address());
        Ok(LogServiceClient::new(Endpoint::from_shared(address)?.connect_lazy()))
    }

    pub(crate) fn channel(&self) -> Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.logger.grpc_address()))?.connect_lazy())
    }

    /// GETs a path of the admin port. Returns status code and body.
    pub(crate) async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.logger.admin_url())).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Reads all matching entries, page by page.
    pub(crate) async fn all(&self, filter: QueryRequest) -> Result<Vec<Entry>> {
        let mut client = self.client()?;
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = client.query(QueryRequest { cursor, ..filter.clone() }).await?.into_inner();
            all.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_empty() {
                return Ok(all);
            }
        }
    }
}

/// Waits until `holds` returns true, up to a timeout.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<()> {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait)
        .await
        .with_context(|| format!("timed out waiting until {what}"))
}

pub(crate) fn entry(name: &str) -> Entry {
    Entry { id: Uuid::new_v4().to_string(), name: name.to_owned(), ..Entry::default() }
}

pub(crate) fn write(entry: Entry) -> WriteRequest {
    WriteRequest { entry: Some(entry) }
}

pub(crate) fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}

pub(crate) fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}
