//! Samples new traces: a share of them, up to a rate limit.
//!
//! A trace that was started elsewhere keeps its sampling decision.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use opentelemetry::trace::{Link, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use crate::config::{ConfigError, Settings};

type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// Sampler for new traces.
#[derive(Debug, Clone)]
struct New {
    share: Sampler,
    limiter: Option<Arc<Limiter>>,
}

/// Reads `OTEL_TRACES_SAMPLER_ARG` and `WEFT_TRACES_PER_SECOND`.
pub(crate) fn from_settings(settings: &Settings) -> Result<Sampler, ConfigError> {
    let per_second = settings.or("WEFT_TRACES_PER_SECOND", "a whole number, 0 for no limit", 500)?;
    let limiter = NonZeroU32::new(per_second)
        .map(|rate| Arc::new(RateLimiter::direct_with_clock(Quota::per_second(rate), MonotonicClock)));
    let share = Sampler::TraceIdRatioBased(share(settings)?);
    Ok(Sampler::ParentBased(Box::new(New { share, limiter })))
}

fn share(settings: &Settings) -> Result<f64, ConfigError> {
    settings.in_range("OTEL_TRACES_SAMPLER_ARG", 1.0, 0.0..=1.0)
}

impl ShouldSample for New {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.share.should_sample(parent, trace, name, kind, attributes, links);
        // Only traces that would be kept count against the rate limit.
        let keep = result.decision == SamplingDecision::RecordAndSample;
        if keep && self.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err()) {
            result.decision = SamplingDecision::Drop;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceState};

    use super::*;
    use crate::config::Fixed;

    fn sampler<const N: usize>(settings: [(&str, &str); N]) -> Sampler {
        from_settings(&Settings::new(Fixed::new(settings))).unwrap()
    }

    fn kept(sampler: &Sampler, parent: Option<&Context>) -> bool {
        let trace = TraceId::from(7_u128);
        let result = sampler.should_sample(parent, trace, "span", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn limits_new_traces_but_not_those_started_elsewhere() {
        let sampler = sampler([("WEFT_TRACES_PER_SECOND", "3")]);
        assert_eq!((0..10).filter(|_| kept(&sampler, None)).count(), 3);
        let trace = TraceId::from(7_u128);
        let parent =
            SpanContext::new(trace, SpanId::from(1_u64), TraceFlags::SAMPLED, true, TraceState::NONE);
        let parent = Context::new().with_remote_span_context(parent);
        assert!((0..10).all(|_| kept(&sampler, Some(&parent))));
    }

    #[test]
    fn zero_disables_the_limit_and_a_zero_share_keeps_nothing() {
        let every = sampler([("WEFT_TRACES_PER_SECOND", "0")]);
        assert!((0..10_000).all(|_| kept(&every, None)));
        assert!(!kept(&sampler([("OTEL_TRACES_SAMPLER_ARG", "0")]), None));
    }

    #[test]
    fn rejects_a_share_outside_0_to_1() {
        let read = |value| share(&Settings::new(Fixed::new([("OTEL_TRACES_SAMPLER_ARG", value)])));
        assert!((read("0.25").unwrap() - 0.25).abs() < f64::EPSILON);
        assert!(read("1.5").unwrap_err().to_string().contains("0 to 1"));
        assert!(read("NaN").is_err());
    }
}
