//! Limits on the connections of a listener.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use crate::budget::{Budget, Charge, Exceeded};
use crate::config::{ConfigError, Settings};

/// Each uses at most about 50 KiB: an incomplete header, and replies that are not read yet.
const CONNECTIONS: usize = 3_072;
const CONNECTIONS_PER_ADDRESS: usize = 512;
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// File descriptors reserved for everything except client connections.
const OTHER_FILES: usize = 256;

/// Limits on the connections of one listener. The settings are listed in the crate's README.
#[derive(Clone)]
pub struct Bounds {
    connections: Budget,
    pub(super) send_timeout: Duration,
    /// Addresses that have many clients behind them.
    is_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl Bounds {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a setting is invalid.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let number = |name, default: usize| {
            let default = NonZeroUsize::new(default).unwrap_or(NonZeroUsize::MIN);
            settings.or(name, "a whole number, at least 1", default).map(NonZeroUsize::get)
        };
        let mut bounds = Self::new(
            number("WEFT_HTTP_CONNECTIONS", CONNECTIONS)?,
            number("WEFT_HTTP_CONNECTIONS_PER_ADDRESS", CONNECTIONS_PER_ADDRESS)?,
        );
        bounds.send_timeout = settings.duration("WEFT_HTTP_SEND_TIMEOUT", SEND_TIMEOUT)?;
        Ok(bounds)
    }

    /// Limits connections in total and per address.
    pub fn new(connections: usize, per_address: usize) -> Self {
        let connections = within_file_limit(connections);
        Self {
            connections: Budget::new(connections, per_address),
            send_timeout: SEND_TIMEOUT,
            is_proxy: Arc::new(|_| false),
        }
    }

    /// For addresses that match, only the total limit applies, because they are proxies with many clients.
    #[must_use]
    pub fn with_proxies(mut self, is_proxy: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.is_proxy = Arc::new(is_proxy);
        self
    }

    /// Sets how long a client may read nothing of its replies before it is disconnected.
    #[must_use]
    pub fn with_send_timeout(mut self, send_timeout: Duration) -> Self {
        self.send_timeout = send_timeout;
        self
    }

    pub(super) fn admit(&self, peer: IpAddr) -> Result<Charge, Exceeded> {
        let peer = peer.to_canonical();
        if (self.is_proxy)(peer) {
            self.connections.take_shared(peer, 1)
        } else {
            self.connections.take(peer, 1)
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new(CONNECTIONS, CONNECTIONS_PER_ADDRESS)
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, send_timeout, .. } = self;
        f.debug_struct("Bounds")
            .field("connections", connections)
            .field("send_timeout", send_timeout)
            .finish()
    }
}

/// Reduces the limit to what the open-file limit allows: without a free file descriptor no connection can be accepted.
fn within_file_limit(connections: usize) -> usize {
    let Ok((files, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return connections };
    let most = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES).max(OTHER_FILES);
    if most < connections {
        tracing::warn!(
            connections,
            most,
            "the limit of open files allows fewer connections than WEFT_HTTP_CONNECTIONS"
        );
    }
    connections.min(most)
}
