//! Traces from Jaeger, and checks of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A span's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "names of OpenTelemetry")]
pub enum Kind {
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// One span.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "names of OpenTelemetry")]
pub struct Span {
    pub id: String,
    pub parent: Option<String>,
    pub service: String,
    pub name: String,
    pub kind: Kind,
    pub attributes: BTreeMap<String, String>,
    /// Trace id and span id of each link.
    pub links: Vec<(String, String)>,
    /// Nanoseconds since 1970.
    pub end_ns: u64,
    pub failed: bool,
}

/// All spans of one trace that Jaeger has.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Trace id.
    pub id: String,
    /// Spans.
    pub spans: Vec<Span>,
}

impl Trace {
    /// Parses the response of `/api/v3/traces/{id}`.
    ///
    /// # Errors
    /// When the response is invalid.
    pub fn read(id: &str, answer: &Value) -> Result<Self> {
        let mut spans = Vec::new();
        for resource in list(&answer["result"]["resourceSpans"]) {
            let service = attributes(&resource["resource"]).remove("service.name");
            let service = service.context("spans without a service")?;
            for span in list(&resource["scopeSpans"]).flat_map(|scope| list(&scope["spans"])) {
                spans.push(read_span(&service, span)?);
            }
        }
        Ok(Self { id: id.to_owned(), spans })
    }

    /// Returns the spans of this kind whose names start with `name`.
    pub fn find(&self, kind: Kind, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.kind == kind && span.name.starts_with(name)).collect()
    }

    /// Returns the only span of this kind whose name starts with `name`.
    ///
    /// # Errors
    /// When there is no such span, or more than one.
    pub fn only(&self, kind: Kind, name: &str) -> Result<&Span> {
        let found = self.find(kind, name);
        ensure!(found.len() == 1, "{} spans are {kind:?} `{name}`, in {self}", found.len());
        Ok(found[0])
    }

    /// Returns the only child of this kind.
    ///
    /// # Errors
    /// When there is no such span, or more than one.
    pub fn child(&self, parent: &Span, kind: Kind) -> Result<&Span> {
        let of_parent = |span: &&Span| span.kind == kind && span.parent.as_ref() == Some(&parent.id);
        let found: Vec<&Span> = self.spans.iter().filter(of_parent).collect();
        ensure!(found.len() == 1, "{} spans are {kind:?} below `{}`, in {self}", found.len(), parent.name);
        Ok(found[0])
    }

    /// Checks that the trace has exactly one root, and that no parent is missing.
    ///
    /// # Errors
    /// When the check fails.
    pub fn is_whole(&self) -> Result<()> {
        let ids: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let roots = self.spans.iter().filter(|span| span.parent.is_none()).count();
        ensure!(roots == 1, "{roots} roots in {self}");
        ensure!(ids.len() == self.spans.len(), "duplicate span id in {self}");
        for span in &self.spans {
            let known = span.parent.as_deref().is_none_or(|parent| ids.contains(parent));
            ensure!(known, "the parent of `{}` is missing in {self}", span.name);
        }
        Ok(())
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "trace {}:", self.id)?;
        for Span { id, parent, service, name, kind, .. } in &self.spans {
            write!(
                f,
                "\n  {service} {kind:?} `{name}` {id} below {}",
                parent.as_deref().unwrap_or("nothing")
            )?;
        }
        Ok(())
    }
}

impl Span {
    /// Checks an attribute.
    ///
    /// # Errors
    /// When the attribute is missing or has another value.
    pub fn has(&self, attribute: &str, wanted: &str) -> Result<()> {
        let found = self.attributes.get(attribute).map(String::as_str);
        ensure!(found == Some(wanted), "{attribute} of `{}` is {found:?}, expected {wanted:?}", self.name);
        Ok(())
    }
}

fn read_span(service: &str, span: &Value) -> Result<Span> {
    let text =
        |name: &str| span[name].as_str().map(str::to_owned).with_context(|| format!("a span without {name}"));
    let kind = match span["kind"].as_u64() {
        Some(2) => Kind::Server,
        Some(3) => Kind::Client,
        Some(4) => Kind::Producer,
        Some(5) => Kind::Consumer,
        _ => Kind::Internal,
    };
    let link =
        |link: &Value| Some((link["traceId"].as_str()?.to_owned(), link["spanId"].as_str()?.to_owned()));
    Ok(Span {
        id: text("spanId")?,
        parent: text("parentSpanId").ok().filter(|parent| !parent.is_empty()),
        service: service.to_owned(),
        name: text("name")?,
        kind,
        attributes: attributes(span),
        links: list(&span["links"]).filter_map(link).collect(),
        end_ns: text("endTimeUnixNano")?.parse()?,
        failed: span["status"]["code"].as_u64() == Some(2),
    })
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let value = |value: &Value| match value.as_object()?.values().next()? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let pair = |pair: &Value| Some((pair["key"].as_str()?.to_owned(), value(&pair["value"])?));
    list(&of["attributes"]).filter_map(pair).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trace(parents: &[(&str, &str)]) -> Trace {
        let span = |(id, parent): &(&str, &str)| json!({"spanId": id, "parentSpanId": parent, "name": id, "kind": 2, "endTimeUnixNano": "1"});
        let spans: Vec<Value> = parents.iter().map(span).collect();
        let service = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "broker"}}]});
        let answer =
            json!({"result": {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": spans}]}]}});
        Trace::read("t", &answer).unwrap()
    }

    #[test]
    fn reports_a_missing_parent_and_a_second_root() {
        trace(&[("a", ""), ("b", "a")]).is_whole().unwrap();
        let error = |parents: &[(&str, &str)]| trace(parents).is_whole().unwrap_err().to_string();
        assert!(error(&[("a", ""), ("b", "gone")]).contains("the parent of `b` is missing"));
        assert!(error(&[("a", ""), ("b", "")]).contains("2 roots"));
        assert!(error(&[("b", "a")]).contains("0 roots"));
    }
}
