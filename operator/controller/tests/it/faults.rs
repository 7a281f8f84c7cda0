//! A layer around kube's Client: it fails requests, delays or drops what is watched, serves old lists, and ends the operator
//! after a write.

mod stream;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use http::{Method, Request};
use kube::client::Body;
use tokio::sync::Notify;
use tower::{Layer, Service};

use crate::fake::{Cluster, Reply, failed};

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused with this code and nothing changes.
    Refused(u16),
    /// It is done, and the answer never comes: the client's own timeout ends it.
    Unanswered,
    /// It is done after a while.
    Late,
}

/// Which lists are old.
#[derive(Clone)]
pub(crate) struct Old {
    pub(crate) cluster: Cluster,
    /// The kinds that are old, by plural; all when it is empty.
    pub(crate) plurals: Vec<&'static str>,
}

/// What goes wrong. Counts are of this client's own requests.
#[derive(Default)]
pub(crate) struct Script {
    /// After this many writes the operator hears nothing any more.
    pub(crate) crash_after: Option<usize>,
    /// What happens to the write of this number.
    pub(crate) write: Option<(usize, Fault)>,
    /// The watch event of this number never comes.
    pub(crate) lost_event: Option<usize>,
    /// Each watch event comes up to 2 s late, by this seed.
    pub(crate) shuffle: Option<u64>,
    pub(crate) old: Option<Old>,
    pub(crate) writes: usize,
    pub(crate) events: usize,
    /// The event that was lost.
    pub(crate) lost: Option<String>,
    pub(crate) crashed: bool,
}

/// Clones share one script.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    script: Arc<Mutex<Script>>,
    stirred: Arc<Notify>,
}

impl Faults {
    pub(crate) fn of(script: Script) -> Self {
        Self { script: Arc::new(Mutex::new(script)), stirred: Arc::default() }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Lists are no longer old, and watches on them begin.
    pub(crate) fn catch_up(&self) {
        self.script().old = None;
        self.stirred.notify_waiters();
    }

    /// Waits until the script says that the operator has crashed.
    pub(crate) async fn crashed(&self) {
        loop {
            let stirred = self.stirred.notified();
            if self.script().crashed {
                return;
            }
            stirred.await;
        }
    }

    pub(crate) fn client(&self, cluster: &Cluster) -> kube::Client {
        kube::Client::new(self.layer(Server(cluster.clone())), "default")
    }
}

/// The API server itself.
#[derive(Clone)]
pub(crate) struct Server(Cluster);

impl Service<Request<Body>> for Server {
    type Response = Reply;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let cluster = self.0.clone();
        async move { Ok(cluster.answer(request).await) }.boxed()
    }
}

/// A service that fails as the script says.
#[derive(Clone)]
pub(crate) struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner, faults: self.clone() }
    }
}

impl<S> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Reply, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Reply, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut inner, faults) = (self.inner.clone(), self.faults.clone());
        async move {
            if faults.script().crashed {
                return pending().await;
            }
            if *request.method() != Method::GET {
                return faults.write(request, &mut inner).await;
            }
            let query = request.uri().query().unwrap_or_default().to_owned();
            let plural = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            if query.contains("watch=") {
                faults.current(&plural).await;
                let reply = inner.call(request).await?;
                return Ok(reply.map(|body| stream::through(body, faults)));
            }
            let old = faults.script().old.clone().filter(|old| old.is_for(&plural));
            match old.filter(|_| query.contains("limit=")) {
                Some(old) => Ok(old.cluster.answer(request).await),
                None => inner.call(request).await,
            }
        }
        .boxed()
    }
}

impl Old {
    fn is_for(&self, plural: &str) -> bool {
        self.plurals.is_empty() || self.plurals.contains(&plural)
    }
}

impl Faults {
    /// A watch on a kind whose lists are old tells nothing yet.
    async fn current(&self, plural: &str) {
        loop {
            let stirred = self.stirred.notified();
            if self.script().old.as_ref().is_none_or(|old| !old.is_for(plural)) {
                return;
            }
            stirred.await;
        }
    }

    async fn write<S>(&self, request: Request<Body>, inner: &mut S) -> Result<Reply, Infallible>
    where
        S: Service<Request<Body>, Response = Reply, Error = Infallible>,
    {
        let (number, fault) = {
            let mut script = self.script();
            let number = script.writes;
            script.writes += 1;
            (number, script.write.filter(|(wanted, _)| *wanted == number).map(|(_, fault)| fault))
        };
        if let Some(Fault::Refused(code)) = fault {
            return Ok(failed(code, reason(code), "the script says so"));
        }
        if fault == Some(Fault::Late) {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let reply = inner.call(request).await?;
        if fault == Some(Fault::Unanswered) {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return Ok(failed(504, "Timeout", "the request timed out"));
        }
        if self.script().crash_after == Some(number + 1) {
            self.script().crashed = true;
            self.stirred.notify_waiters();
            return pending().await;
        }
        Ok(reply)
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    }
}
