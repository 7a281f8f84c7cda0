//! An API server in memory: what the operator needs of a real one, and every request that changes something on record.

mod fields;
mod merge;
mod pods;
mod refuse;
mod route;
mod state;
mod syntax;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::Notify;
use tower::Layer as _;
use weft_operator::client::TraceWrites;

pub(crate) use fields::{Path, Step, get, get_mut};
pub(crate) use refuse::CHANGEABLE;
pub(crate) use route::failed;
pub(crate) use state::{Asked, Id, State};

pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Clones share one cluster.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Cluster {
    pub(crate) fn client(&self) -> kube::Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move { Ok::<_, Infallible>(cluster.answer(request).await) }
        });
        kube::Client::new(TraceWrites.layer(service), "default")
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let reply = route::answer(&mut self.state(), &parts, &body);
        self.changed.notify_waiters();
        reply
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Does something as another client would.
    pub(crate) fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut self.state());
        self.changed.notify_waiters();
        done
    }

    /// Waits until it holds; when it does not, says what there was.
    pub(crate) async fn eventually(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(120), wait).await.is_err() {
            panic!("never came true: {what}\n{}", self.state());
        }
    }
}

pub(crate) fn json(code: u16, value: &Value) -> Reply {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
