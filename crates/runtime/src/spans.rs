//! Size limits for exported spans: a client can choose a path, and so an attribute, of any length.
//!
//! The SDK limits the number of a span's attributes but not their length. Without these limits a few long attributes make a
//! batch larger than a collector accepts (4 MiB), and all spans of the batch are lost.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

/// Maximum length of a text in a span: its name, or the value of an attribute.
const MAX_TEXT_BYTES: usize = 1_024;
/// Estimated maximum size of a request to the collector, well below gRPC's default limit of 4 MiB.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Size of the fixed parts of a span.
const FIXED_BYTES: usize = 256;

/// Truncates texts before spans are queued, because the queue limits only the number of spans.
#[derive(Debug)]
pub(crate) struct ShortValues<P>(pub(crate) P);

impl<P: SpanProcessor> SpanProcessor for ShortValues<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        shorten(&mut span);
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Splits a batch into requests that a collector accepts.
#[derive(Debug)]
pub(crate) struct SmallRequests<E>(pub(crate) E);

impl<E: SpanExporter> SpanExporter for SmallRequests<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut outcome = Ok(());
        for request in split(batch) {
            // A failed request must not prevent the others.
            outcome = outcome.and(self.0.export(request).await);
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn split(batch: Vec<SpanData>) -> Vec<Vec<SpanData>> {
    let (mut requests, mut request, mut bytes) = (Vec::new(), Vec::new(), 0);
    for span in batch {
        let weight = weight(&span);
        if bytes + weight > MAX_REQUEST_BYTES && !request.is_empty() {
            requests.push(std::mem::take(&mut request));
            bytes = 0;
        }
        bytes += weight;
        request.push(span);
    }
    requests.push(request);
    requests
}

fn weight(span: &SpanData) -> usize {
    let of = |attributes: &[KeyValue]| -> usize {
        attributes.iter().map(|pair| pair.key.as_str().len() + text_bytes(&pair.value) + 16).sum()
    };
    let events = span.events.iter().map(|event| event.name.len() + of(&event.attributes) + 32);
    let links = span.links.iter().map(|link| of(&link.attributes) + FIXED_BYTES);
    let varying: usize = events.chain(links).sum();
    FIXED_BYTES + span.name.len() + of(&span.attributes) + varying
}

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::String(texts)) => texts.iter().map(|text| text.as_str().len() + 8).sum(),
        Value::Array(Array::Bool(values)) => values.len() * 8,
        Value::Array(Array::I64(values)) => values.len() * 16,
        Value::Array(Array::F64(values)) => values.len() * 16,
        _ => 8,
    }
}

fn shorten(span: &mut SpanData) {
    if span.name.len() > MAX_TEXT_BYTES {
        span.name = Cow::Owned(truncate(&span.name).to_owned());
    }
    let events = span.events.events.iter_mut().map(|event| &mut event.attributes);
    let links = span.links.links.iter_mut().map(|link| &mut link.attributes);
    for attributes in std::iter::once(&mut span.attributes).chain(events).chain(links) {
        attributes.iter_mut().for_each(|pair| shorten_value(&mut pair.value));
    }
}

fn shorten_value(value: &mut Value) {
    let shorten = |text: &mut StringValue| {
        if text.as_str().len() > MAX_TEXT_BYTES {
            *text = truncate(text.as_str()).to_owned().into();
        }
    };
    match value {
        Value::String(text) => shorten(text),
        Value::Array(Array::String(texts)) => texts.iter_mut().for_each(shorten),
        _ => {}
    }
}

/// Truncates a text at a character boundary.
fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}
