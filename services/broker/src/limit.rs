//! How many requests one client address may send: a token bucket each, told in the headers of the IETF's draft
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

/// How often addresses that are at rest are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5);
/// With more addresses than this, whole networks share a bucket: memory stays bounded, whoever comes.
const MOST_ADDRESSES: usize = 100_000;

/// What one address may do.
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

/// Where an address stands after its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Requests that it may send at once.
    pub(crate) remaining: u32,
    /// When the next is let through, if this one was not.
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

    /// Counts a request.
    pub(crate) fn count(&self, address: IpAddr) -> Standing {
        match self.buckets.check_key(&key(address, self.crowded.load(Ordering::Relaxed))) {
            Ok(state) => Standing { remaining: state.remaining_burst_capacity(), refused_for: None },
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Standing { remaining: 0, refused_for: Some(wait) }
            }
        }
    }

    /// `RateLimit-Policy`.
    pub(crate) fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// `RateLimit`: what remains, and in how many seconds all of it is back.
    pub(crate) fn header(&self, standing: Standing) -> Option<HeaderValue> {
        let used = self.quota.burst.get().saturating_sub(standing.remaining);
        let whole_in = used.div_ceil(self.quota.per_second.get());
        HeaderValue::from_str(&format!("\"requests\";r={};t={whole_in}", standing.remaining)).ok()
    }

    /// Forgets, for as long as it is polled, addresses whose buckets are full again.
    pub(crate) async fn forget(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
            let crowded = self.buckets.len() > MOST_ADDRESSES;
            if self.crowded.swap(crowded, Ordering::Relaxed) != crowded {
                tracing::warn!(
                    crowded,
                    "limits by address: whole networks share a bucket while too many come"
                );
            }
        }
    }
}

/// Who shares a bucket: an IPv4 address, an IPv6 network of 64 bits, which is what one subscriber has; in a crowd 16 and 32.
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
    fn each_address_has_its_burst_and_is_then_told_when_to_come_back() {
        let limit = limit(1, 2);
        let ours = address("192.0.2.1");
        assert_eq!(limit.count(ours), Standing { remaining: 1, refused_for: None });
        assert_eq!(limit.count(ours), Standing { remaining: 0, refused_for: None });
        let refused = limit.count(ours).refused_for.unwrap();
        assert!(refused <= Duration::from_secs(1), "{refused:?}");
        assert_eq!(limit.count(address("192.0.2.2")).refused_for, None);
    }

    #[test]
    fn the_headers_have_the_drafts_form() {
        let limit = limit(50, 100);
        assert_eq!(limit.policy(), "\"requests\";q=100;w=2");
        let standing = Standing { remaining: 49, refused_for: None };
        assert_eq!(limit.header(standing).unwrap(), "\"requests\";r=49;t=2");
    }

    #[test]
    fn one_subscriber_has_one_bucket_and_a_crowd_shares() {
        let of = |text, crowded| key(address(text), crowded).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6", false), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:3:4:5:6", true), "2001:db8::");
        assert_eq!(of("192.0.2.1", false), "192.0.2.1");
        assert_eq!(of("192.0.2.1", true), "192.0.0.0");
    }
}
