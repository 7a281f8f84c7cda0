//! Rate limit by client address: a token bucket for each, reported in the headers of the IETF draft
//! `draft-ietf-httpapi-ratelimit-headers`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderValue;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota as Bucket, RateLimiter};
use weft_runtime::budget::subscriber;

/// How often full buckets are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// With more addresses than this, whole networks share a bucket, so that memory stays bounded.
const MAX_ADDRESSES: usize = 100_000;

/// The limit of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

/// The buckets of all addresses.
#[derive(Debug)]
pub(crate) struct Limit {
    buckets: RateLimiter<IpAddr, DashMapStateStore<IpAddr>, DefaultClock, StateInformationMiddleware>,
    quota: Quota,
    policy: HeaderValue,
    crowded: AtomicBool,
}

/// What is left for an address after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// Requests that the address may send at once.
    pub(crate) requests: u32,
    /// When to try again, if this request was refused.
    pub(crate) refused_for: Option<Duration>,
}

impl Limit {
    pub(crate) fn new(quota: Quota) -> Arc<Self> {
        let Quota { per_second, burst } = quota;
        let bucket = Bucket::per_second(per_second).allow_burst(burst);
        let window = burst.get().div_ceil(per_second.get());
        let policy = format!("\"requests\";q={burst};w={window}");
        Arc::new(Self {
            buckets: RateLimiter::dashmap(bucket).with_middleware(),
            quota,
            policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("")),
            crowded: AtomicBool::new(false),
        })
    }

    /// Counts a request of this address.
    pub(crate) fn count(&self, address: IpAddr) -> Remaining {
        match self.buckets.check_key(&key(address, self.crowded.load(Ordering::Relaxed))) {
            Ok(state) => Remaining { requests: state.remaining_burst_capacity(), refused_for: None },
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Remaining { requests: 0, refused_for: Some(wait) }
            }
        }
    }

    /// Value of `RateLimit-Policy`.
    pub(crate) fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// Value of `RateLimit`: what remains, and in how many seconds the bucket is full again.
    pub(crate) fn header(&self, left: Remaining) -> Option<HeaderValue> {
        let used = self.quota.burst.get().saturating_sub(left.requests);
        let full_in = used.div_ceil(self.quota.per_second.get());
        HeaderValue::from_str(&format!("\"requests\";r={};t={full_in}", left.requests)).ok()
    }

    /// Periodically removes the buckets that are full again. Never returns.
    pub(crate) async fn clean_up(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CLEANUP_INTERVAL).await;
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
            let crowded = self.buckets.len() > MAX_ADDRESSES;
            if self.crowded.swap(crowded, Ordering::Relaxed) != crowded {
                tracing::warn!(crowded, "rate limit: sharing of buckets by network switched on or off");
            }
        }
    }
}

/// The key of a bucket: the IPv4 address, or the /64 network of an IPv6 address, which is what one subscriber has. With too many
/// addresses: /16 and /32.
fn key(address: IpAddr, crowded: bool) -> IpAddr {
    match address {
        IpAddr::V4(address) if crowded => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & (!0 << 16))),
        IpAddr::V6(address) if crowded => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (!0 << 96))),
        address => subscriber(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32, burst: u32) -> Arc<Limit> {
        let some = |number| NonZeroU32::new(number).unwrap();
        Limit::new(Quota { per_second: some(per_second), burst: some(burst) })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn refuses_requests_beyond_the_burst_and_says_how_long_to_wait() {
        let limit = limit(1, 2);
        let ours = address("192.0.2.1");
        assert_eq!(limit.count(ours), Remaining { requests: 1, refused_for: None });
        assert_eq!(limit.count(ours), Remaining { requests: 0, refused_for: None });
        let refused = limit.count(ours).refused_for.unwrap();
        assert!(refused <= Duration::from_secs(1), "{refused:?}");
        assert_eq!(limit.count(address("192.0.2.2")).refused_for, None);
    }

    #[test]
    fn headers_follow_the_draft() {
        let limit = limit(50, 100);
        assert_eq!(limit.policy(), "\"requests\";q=100;w=2");
        let left = Remaining { requests: 49, refused_for: None };
        assert_eq!(limit.header(left).unwrap(), "\"requests\";r=49;t=2");
    }

    #[test]
    fn a_subscriber_has_one_bucket_and_networks_share_when_crowded() {
        let of = |text, crowded| key(address(text), crowded).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6", false), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", true), "2001:db8::");
        assert_eq!(of("192.0.2.1", false), "192.0.2.1");
        assert_eq!(of("192.0.2.1", true), "192.0.0.0");
    }
}
