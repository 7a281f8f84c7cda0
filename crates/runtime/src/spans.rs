//! Bounds on what is exported of spans: a client can choose a path, and so an attribute, of any length.
//!
//! The SDK bounds how many attributes a span has, and not how long they are. Without these bounds a few long ones make a batch
//! larger than a collector takes (4 MiB), and all spans of the batch are lost.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

/// The longest text in a span: a name, or an attribute's value.
const MOST_TEXT_BYTES: usize = 1_024;
/// What one request to a collector carries, estimated; well below gRPC's usual limit of 4 MiB.
const MOST_REQUEST_BYTES: usize = 1 << 20;
/// The parts of a span whose size does not vary.
const FIXED_BYTES: usize = 256;

/// Cuts texts before spans are queued, since the queue is bounded by number.
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

/// Sends a batch in requests that a collector takes.
#[derive(Debug)]
pub(crate) struct SmallRequests<E>(pub(crate) E);

impl<E: SpanExporter> SpanExporter for SmallRequests<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut outcome = Ok(());
        for request in split(batch) {
            // What fails must not cost the others their place.
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
        if bytes + weight > MOST_REQUEST_BYTES && !request.is_empty() {
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
    if span.name.len() > MOST_TEXT_BYTES {
        span.name = Cow::Owned(cut(&span.name).to_owned());
    }
    let events = span.events.events.iter_mut().map(|event| &mut event.attributes);
    let links = span.links.links.iter_mut().map(|link| &mut link.attributes);
    for attributes in std::iter::once(&mut span.attributes).chain(events).chain(links) {
        attributes.iter_mut().for_each(|pair| shorten_value(&mut pair.value));
    }
}

fn shorten_value(value: &mut Value) {
    let shorten = |text: &mut StringValue| {
        if text.as_str().len() > MOST_TEXT_BYTES {
            *text = cut(text.as_str()).to_owned().into();
        }
    };
    match value {
        Value::String(text) => shorten(text),
        Value::Array(Array::String(texts)) => texts.iter_mut().for_each(shorten),
        _ => {}
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_TEXT_BYTES)]
}
