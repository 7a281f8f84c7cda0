//! The parts of the broker that handlers take as [`State`](axum::extract::State).

use std::sync::Arc;

use axum::extract::FromRef;
use weft_runtime::clock::Clock;

use crate::events::Events;
use crate::forward::Forwarder;
use crate::keys::Keys;
use crate::letters::DeadLetters;
use crate::logger::Logger;
use crate::quotas::Quotas;
use crate::session::SessionCookie;
use crate::signed_in::Callers;
use crate::traces::Jaeger;
use crate::upstream::AuthClient;

/// The state of the router. A single `Arc`, because axum clones it several times for each request.
#[derive(Clone)]
pub(crate) struct Shared(pub(super) Arc<Parts>);

macro_rules! parts {
    ($($name:ident: $part:ty,)*) => {
        pub(crate) struct Parts {
            $(pub(crate) $name: $part,)*
        }

        $(impl FromRef<Shared> for $part {
            fn from_ref(Shared(parts): &Shared) -> Self {
                parts.$name.clone()
            }
        })*
    };
}

parts! {
    clock: Arc<dyn Clock>,
    logger: Arc<Logger>,
    authentication: AuthClient,
    keys: Arc<Keys>,
    callers: Arc<Callers>,
    cookies: Arc<SessionCookie>,
    events: Arc<Events>,
    dead_letters: Arc<DeadLetters>,
    jaeger: Option<Arc<Jaeger>>,
    quotas: Arc<Quotas>,
    forwarder: Arc<Forwarder>,
}
