//! The definition of Stack as YAML: what the chart installs.

use std::io::Write as _;
use std::process::ExitCode;

use kube::CustomResourceExt as _;
use serde_yaml_ng::Value;
use weft_operator_api::Stack;

/// The CustomResourceDefinition as YAML.
///
/// # Errors
/// When it can't be written as YAML, which no input can cause.
pub fn yaml() -> Result<String, serde_yaml_ng::Error> {
    let mut definition = serde_yaml_ng::to_value(Stack::crd())?;
    unwrap_lines(&mut definition);
    serde_yaml_ng::to_string(&definition)
}

/// `kubectl explain` wraps lines itself: those of the source would stand in its way.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping.iter_mut() {
                match value {
                    Value::String(text) if key.as_str() == Some("description") => {
                        *text = text.replace("\n\n", "\u{0}").replace('\n', " ").replace('\u{0}', "\n\n");
                    }
                    other => unwrap_lines(other),
                }
            }
        }
        Value::Sequence(values) => values.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

/// Writes it to standard output.
pub fn print() -> ExitCode {
    match yaml() {
        Ok(text) if std::io::stdout().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
