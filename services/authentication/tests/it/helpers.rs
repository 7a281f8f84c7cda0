//! Authentication, its store, and stand-ins for the logger and mail, on loopback.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;
use weft_devstack::{Postgres, Service, ServiceOptions, StateDir};
use weft_mesh::Caller;
use weft_mesh::caller::Role;
use weft_proto::weft::auth::v1::auth_service_client::AuthServiceClient;
use weft_proto::weft::auth::v1::{self as pb, CreateUserRequest, SignInRequest, SignInResponse};

use crate::peers::Peer;

pub(crate) type Client = AuthServiceClient<Channel>;

pub(crate) const ADMIN: &str = "Admin@Example.com";
pub(crate) const ENCRYPTION_KEY: &str = "the encryption key that tests use, long enough";
pub(crate) const PASSWORD: &str = "a password for tests";

/// A replica, its store, its peers, and their folder. Dropped in this order.
pub(crate) struct Rig {
    pub(crate) authentication: Service,
    pub(crate) store: Postgres,
    pub(crate) logger: Peer,
    pub(crate) mail: Peer,
    state: StateDir,
}

impl Rig {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(ServiceOptions::default()).await
    }

    pub(crate) async fn with(options: ServiceOptions) -> Result<Self> {
        let rig = Self::unready(options, Peer::start().await?, Peer::start().await?, true).await?;
        rig.authentication.await_ready().await?;
        Ok(rig)
    }

    /// The logger and mail do not listen yet.
    pub(crate) async fn without_peers() -> Result<Self> {
        let rig = Self::unready(ServiceOptions::default(), Peer::stopped()?, Peer::stopped()?, true).await?;
        rig.authentication.await_ready().await?;
        Ok(rig)
    }

    /// The store is not running yet.
    pub(crate) async fn without_store() -> Result<Self> {
        let options = ServiceOptions::default().env("AUTH_STORE_TIMEOUT", "2s");
        let rig = Self::unready(options, Peer::start().await?, Peer::start().await?, false).await?;
        until("the admin port answers", async || rig.admin("/livez").await.is_ok()).await?;
        Ok(rig)
    }

    async fn unready(options: ServiceOptions, logger: Peer, mail: Peer, store_runs: bool) -> Result<Self> {
        let state = StateDir::temporary()?;
        let store = Postgres::start(&state.folder("postgres")?).await?;
        if !store_runs {
            store.kill().await?;
        }
        let options = settings(options, &store, &logger, &mail);
        let authentication =
            Service::start_unready("authentication", &state.folder("authentication")?, options)?;
        Ok(Self { authentication, store, logger, mail, state })
    }

    /// Another replica on the same store.
    pub(crate) fn replica(&self, name: &str, options: ServiceOptions) -> Result<Service> {
        let options = settings(options, &self.store, &self.logger, &self.mail);
        Service::start_unready("authentication", &self.state.folder(name)?, options)
    }

    pub(crate) fn client(&self) -> Result<Client> {
        client_of(&self.authentication)
    }

    /// A direct connection to the database.
    pub(crate) async fn database(&self) -> Result<PgConnection> {
        use sqlx::ConnectOptions as _;
        Ok(PgConnectOptions::from_str(self.store.uri())?.connect().await?)
    }

    /// Status code and body of a page on the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.authentication.admin_url())).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until `/metrics` contains the text.
    pub(crate) async fn until_metric(&self, line: &str) -> Result<()> {
        until(line, async || self.admin("/metrics").await.is_ok_and(|(_, text)| text.contains(line))).await
    }

    pub(crate) async fn sign_in_admin(&self) -> Result<SignInResponse> {
        Ok(self.client()?.sign_in(sign_in(ADMIN, PASSWORD)).await?.into_inner())
    }

    pub(crate) async fn sign_in_admin_from(&self, address: &str) -> Result<SignInResponse> {
        Ok(self.client()?.sign_in(sign_in_from(address, ADMIN, PASSWORD)).await?.into_inner())
    }

    /// Creates a user, as the admin.
    pub(crate) async fn user(&self, email: &str) -> Result<pb::User> {
        let admin = self.sign_in_admin().await?;
        let request = on_behalf(&admin, new_user(email))?;
        self.client()?.create_user(request).await?.into_inner().user.context("no user")
    }
}

fn settings(options: ServiceOptions, store: &Postgres, logger: &Peer, mail: &Peer) -> ServiceOptions {
    let peers = format!("logger={},mail={}", logger.address(), mail.address());
    let usual = ServiceOptions::default()
        .env("DATABASE_URL", store.uri())
        .env("WEFT_MESH_ADDRESSES", peers)
        .env("AUTH_ENCRYPTION_KEYS", ENCRYPTION_KEY)
        .env("AUTH_FIRST_USER_EMAIL", ADMIN)
        .env("AUTH_FIRST_USER_PASSWORD", PASSWORD)
        .env("AUTH_SIGN_IN_PER_MINUTE", "0")
        .env("AUTH_RECIPIENT_MAILS_PER_HOUR", "0")
        // Long, so that a busy machine does not look like an unavailable store.
        .env("AUTH_STORE_TIMEOUT", "10s");
    options.env.into_iter().fold(usual, |all, (name, value)| all.env(&name, value))
}

pub(crate) fn client_of(service: &Service) -> Result<Client> {
    let address = format!("http://{}", service.grpc_address());
    Ok(AuthServiceClient::new(Endpoint::from_shared(address)?.connect_lazy()))
}

pub(crate) fn sign_in(email: &str, password: &str) -> SignInRequest {
    sign_in_from("127.0.0.1", email, password)
}

pub(crate) fn sign_in_from(address: &str, email: &str, password: &str) -> SignInRequest {
    SignInRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        client_address: address.to_owned(),
        user_agent: "test".to_owned(),
    }
}

pub(crate) fn new_user(email: &str) -> CreateUserRequest {
    CreateUserRequest {
        id: Uuid::new_v4().to_string(),
        email: email.to_owned(),
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
        password: PASSWORD.to_owned(),
        role: 0,
    }
}

/// A request with the caller metadata of a signed-in user.
pub(crate) fn on_behalf<T>(signed_in: &SignInResponse, message: T) -> Result<Request<T>> {
    let user = signed_in.user.as_ref().context("no user")?;
    let tokens = signed_in.tokens.as_ref().context("no tokens")?;
    let role = if user.role() == pb::Role::Admin { Role::Admin } else { Role::User };
    let caller = Caller { user: user.id.clone(), session: tokens.session_id.clone(), role };
    let mut request = Request::new(message);
    caller.to_metadata(request.metadata_mut())?;
    Ok(request)
}

pub(crate) fn refresh_token(signed_in: &SignInResponse) -> String {
    signed_in.tokens.as_ref().map(|tokens| tokens.refresh_token.clone()).unwrap_or_default()
}

pub(crate) fn retry_after(status: &Status) -> Option<u64> {
    status.metadata().get("retry-after")?.to_str().ok()?.parse().ok()
}

/// Waits until the condition holds, for at most two minutes.
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
