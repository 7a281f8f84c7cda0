//! Compiles MJML with placeholders to HTML with placeholders. Errors name the position.

use std::collections::BTreeMap;

use minijinja::Environment;
use mrml::prelude::parser::{Error as MjmlError, Span};
use mrml::prelude::render::RenderOptions;

use super::TemplateError;
use super::folder::Source;

/// Compiles MJML. Fails if a placeholder of the source is not in the result: mrml drops text where MJML allows none, and a value
/// that is silently left out is worse than a process that does not start.
pub(super) fn html(environment: &Environment<'_>, source: &Source) -> Result<String, TemplateError> {
    // Parsed as a template first, so that errors have the line numbers of the source file.
    environment
        .template_from_named_str(&source.file, &source.text)
        .map_err(|error| broken(&source.file, &error))?;
    let at = |position: usize, reason: String| TemplateError::Broken {
        file: source.file.clone(),
        position: line_and_column(&source.text, position),
        reason,
    };
    let parsed = mrml::parse(&source.text).map_err(|error| mjml_broken(source, &error))?;
    if let Some(warning) = parsed.warnings.first() {
        return Err(at(warning.span.start, warning.kind.to_string()));
    }
    // No remote fonts: loading one tells its host who reads the mail, and when.
    let options = RenderOptions { fonts: Default::default(), ..RenderOptions::default() };
    let html = parsed.element.render(&options).map_err(|error| at(0, error.to_string()))?;
    // Where HTML is allowed mrml copies any element, also an unknown `mj-` element.
    if let Some(element) = unknown_element(&html) {
        let position = source.text.find(element).unwrap_or_default();
        return Err(at(position, format!("`{element}` is not an MJML element, or not allowed here")));
    }
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, tag) in tags(&source.text) {
        let count = wanted.entry(tag).or_default();
        *count += 1;
        if html.matches(tag).count() < *count {
            return Err(at(position, format!("`{tag}` would be dropped: MJML allows no text here")));
        }
    }
    Ok(html)
}

/// Finds the start of an MJML element that was not compiled, such as `<mj-nope`.
fn unknown_element(html: &str) -> Option<&str> {
    let element = html.get(html.find("<mj-")?..)?;
    let end = element.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(element.len());
    element.get(..end)
}

/// Builds an error with the line in the file.
pub(super) fn broken(file: &str, error: &minijinja::Error) -> TemplateError {
    TemplateError::Broken {
        file: file.to_owned(),
        position: error.line().map_or_else(|| "an unknown line".to_owned(), |line| format!("line {line}")),
        reason: reason(error),
    }
}

/// The text of an error, without the template's internal name.
pub(super) fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn mjml_broken(source: &Source, error: &MjmlError) -> TemplateError {
    let span = |span: &Span| line_and_column(&source.text, span.start);
    let (position, reason) = match error {
        MjmlError::UnexpectedElement { position, .. } => {
            (span(position), "element not allowed here".to_owned())
        }
        MjmlError::UnexpectedToken { position, .. } => (span(position), "unexpected token".to_owned()),
        MjmlError::MissingAttribute { name, position, .. } => {
            (span(position), format!("missing attribute `{name}`"))
        }
        MjmlError::InvalidAttribute { position, .. } => (span(position), "invalid attribute".to_owned()),
        MjmlError::InvalidFormat { position, .. } => (span(position), "invalid value".to_owned()),
        MjmlError::IncludeLoaderError { position, .. } => {
            (span(position), "mj-include is not supported: a template is one file".to_owned())
        }
        MjmlError::EndOfStream { .. } => {
            (line_and_column(&source.text, source.text.len()), "an element is not closed".to_owned())
        }
        // The text has row and column.
        MjmlError::ParserError { source: error, .. } => {
            ("the position that follows".to_owned(), error.to_string())
        }
        MjmlError::SizeLimit { .. } | MjmlError::NoRootNode => ("line 1".to_owned(), error.to_string()),
    };
    TemplateError::Broken { file: source.file.clone(), position, reason }
}

fn line_and_column(text: &str, position: usize) -> String {
    let before = text.get(..position.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

/// Finds every `{{ … }}` and `{% … %}` with its position.
fn tags(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(rest) = text.get(from..) {
        let next = [("{{", "}}"), ("{%", "%}")]
            .into_iter()
            .filter_map(|(open, close)| Some((rest.find(open)?, close)))
            .min();
        let Some((start, close)) = next else { break };
        let Some(length) = rest.get(start..).and_then(|tag| tag.find(close)) else { break };
        let end = start + length + close.len();
        found.extend(rest.get(start..end).map(|tag| (from + start, tag)));
        from += end;
    }
    found
}
