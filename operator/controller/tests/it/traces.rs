//! The operator's own spans: one for each pass, and below it one for each write.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::{full, ready};

type Fields = BTreeMap<String, String>;

/// Every span of one thread, with its fields and the one that it is below. Other tests have threads of their own.
///
/// It is the whole process's subscriber: one of a thread's alone may miss spans whose place in the code another thread, which has
/// none, comes by first.
#[derive(Clone)]
struct Spans(Arc<Mutex<BTreeMap<u64, Span>>>, ThreadId);

type Span = (Fields, Option<u64>);

struct Put<'a>(&'a mut Fields);

impl Visit for Put<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let ours = attributes.metadata().target().starts_with("weft");
        if !ours || thread::current().id() != self.1 {
            return;
        }
        let mut fields = Fields::new();
        attributes.record(&mut Put(&mut fields));
        let above = context.span(id).and_then(|span| span.parent()).map(|span| span.id().into_u64());
        self.0.lock().unwrap().insert(id.into_u64(), (fields, above));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some((fields, _)) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            values.record(&mut Put(fields));
        }
    }
}

#[tokio::test]
async fn each_write_is_a_span_below_the_pass_that_it_belongs_to() {
    let spans = Spans(Arc::default(), thread::current().id());
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (_cluster, operator) = ready(full()).await;
    operator.stop().await;
    let spans = spans.0.lock().unwrap().clone();
    let named = |name: &str| -> Vec<_> {
        spans.values().filter(|(fields, _)| fields["otel.name"] == name).cloned().collect()
    };
    let passes = named("reconcile Stack");
    assert!(!passes.is_empty());
    for (fields, above) in &passes {
        assert_eq!((fields["weft.stack"].as_str(), fields["k8s.namespace.name"].as_str()), ("shop", "shop"));
        assert_eq!(*above, None);
    }
    for name in ["apply deployments", "apply stacks/status", "create secrets"] {
        let writes = named(name);
        assert!(!writes.is_empty(), "no span {name}");
        for (fields, above) in writes {
            let above =
                above.and_then(|above| spans.get(&above)).map(|(fields, _)| fields["otel.name"].clone());
            assert_eq!(above.as_deref(), Some("reconcile Stack"), "{name}");
            assert!(fields["http.response.status_code"].starts_with('2'), "{fields:?}");
        }
    }
    assert!(!spans.values().any(|(fields, _)| fields["otel.name"].starts_with("get")), "reads have none");
}
