//! Named templates: compiled once at start, rendered with values for each mail.
//!
//! A template is three files: `<name>.mjml`, `<name>.txt` and `<name>.subject.txt`. The MJML, with its placeholders, is compiled to
//! HTML with inline styles. Values are inserted into that HTML and escaped, so that no value can add an element.

mod compile;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, ErrorKind, HtmlEscape, UndefinedBehavior, Value};

use folder::Sources;

/// Parts of a template: suffixes of their names in the environment.
const PARTS: [&str; 3] = [SUBJECT, TEXT, HTML];
const SUBJECT: &str = ".subject.txt";
const TEXT: &str = ".txt";
const HTML: &str = ".html";

/// An invalid template. The process does not start.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder can't be read.
    #[error("MAIL_TEMPLATES_DIR: failed to read folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file can't be read, or is not UTF-8.
    #[error("failed to read template file {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not part of a template.
    #[error(
        "{} is not part of a template: expected <name>.mjml, <name>.txt or <name>.subject.txt, with a name of a-z, 0-9, - and _",
        .0.display()
    )]
    Stray(PathBuf),
    /// A file is missing.
    #[error("template `{name}`: file {file} is missing")]
    Incomplete {
        /// The template.
        name: String,
        /// The missing file.
        file: String,
    },
    /// A file is invalid.
    #[error("invalid template {file} at {position}: {reason}")]
    Broken {
        /// The file.
        file: String,
        /// Line and column, if known.
        position: String,
        /// Why.
        reason: String,
    },
}

/// Why a template can't be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Unknown template.
    #[error("template: unknown template `{name}`; expected one of {known}")]
    Unknown {
        /// The requested name, shortened.
        name: String,
        /// The names of all templates.
        known: String,
    },
    /// Required values are missing.
    #[error("values: missing {missing}, required by template `{template}`")]
    Missing {
        /// The template.
        template: String,
        /// The names of the missing values.
        missing: String,
    },
    /// Rendering failed with these values.
    #[error("values: failed to render template `{template}`: {reason}")]
    Failed {
        /// The template.
        template: String,
        /// Why.
        reason: String,
    },
}

/// A rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The subject, on one line.
    pub subject: String,
    /// The plain text part, unescaped.
    pub text: String,
    /// The HTML part, with values escaped.
    pub html: String,
}

/// All templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    /// Required values by template.
    required: BTreeMap<String, BTreeSet<String>>,
}

impl Templates {
    /// Compiles the built-in templates and those in this folder, whose files override built-in ones.
    ///
    /// # Errors
    /// Names the first file that is missing or invalid, and the position in it.
    pub fn load(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut templates = Self { environment: environment(), required: BTreeMap::new() };
        for (name, sources) in folder::read(folder)? {
            templates.add(&name, &sources)?;
        }
        Ok(templates)
    }

    /// The names of all templates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.required.keys().map(String::as_str)
    }

    /// Whether a template exists.
    pub fn has(&self, name: &str) -> bool {
        self.required.contains_key(name)
    }

    /// Renders a template.
    ///
    /// # Errors
    /// When the template is unknown, or a required value is missing.
    pub fn render(&self, name: &str, values: &BTreeMap<String, String>) -> Result<Rendered, RenderError> {
        let required = self.required.get(name).ok_or_else(|| self.unknown(name))?;
        let missing: Vec<_> = required.iter().filter(|value| !values.contains_key(*value)).collect();
        if !missing.is_empty() {
            let missing = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(RenderError::Missing { template: name.to_owned(), missing });
        }
        let part = |part: &str| {
            self.fill(name, part, values).map_err(|error| RenderError::Failed {
                template: name.to_owned(),
                reason: compile::reason(&error),
            })
        };
        Ok(Rendered { subject: part(SUBJECT)?, text: part(TEXT)?, html: part(HTML)? })
    }

    fn unknown(&self, name: &str) -> RenderError {
        const SHOWN_CHARS: usize = 64;
        RenderError::Unknown {
            name: name.chars().take(SHOWN_CHARS).collect(),
            known: self.names().collect::<Vec<_>>().join(", "),
        }
    }

    fn add(&mut self, name: &str, sources: &Sources) -> Result<(), TemplateError> {
        let broken = |file: &str, error: &minijinja::Error| compile::broken(file, error);
        let html = compile::html(&self.environment, &sources.html)?;
        let texts = [(SUBJECT, &sources.subject), (TEXT, &sources.text)];
        for (part, source) in texts {
            self.environment
                .add_template_owned(format!("{name}{part}"), source.text.clone())
                .map_err(|error| broken(&source.file, &error))?;
        }
        self.environment
            .add_template_owned(format!("{name}{HTML}"), html)
            .map_err(|error| broken(&sources.html.file, &error))?;
        let required = self.try_out(name, sources)?;
        self.required.insert(name.to_owned(), required);
        Ok(())
    }

    /// Finds the required values of a new template. Renders it with all values, which must succeed, then without each one: a value
    /// is required if rendering fails without it.
    fn try_out(&self, name: &str, sources: &Sources) -> Result<BTreeSet<String>, TemplateError> {
        let mut required = BTreeSet::new();
        for (part, file) in PARTS.into_iter().zip([&sources.subject, &sources.text, &sources.html]) {
            let asked = self
                .environment
                .get_template(&format!("{name}{part}"))
                .map(|template| template.undeclared_variables(false))
                .map_err(|error| compile::broken(&file.file, &error))?;
            let all: BTreeMap<String, String> =
                asked.into_iter().map(|value| (value.clone(), value)).collect();
            self.fill(name, part, &all).map_err(|error| compile::broken(&file.file, &error))?;
            for value in all.keys() {
                let mut others = all.clone();
                others.remove(value);
                let outcome = self.fill(name, part, &others);
                if outcome.is_err_and(|error| error.kind() == ErrorKind::UndefinedError) {
                    required.insert(value.clone());
                }
            }
        }
        Ok(required)
    }

    fn fill(
        &self,
        name: &str,
        part: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<String, minijinja::Error> {
        self.environment.get_template(&format!("{name}{part}"))?.render(values)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(HTML) { AutoEscape::Html } else { AutoEscape::None }
    });
    environment.add_filter("linebreaksbr", linebreaksbr);
    environment
}

/// Escapes a text and turns its line breaks into `<br>`.
fn linebreaksbr(text: &str) -> Value {
    let escaped = HtmlEscape(text).to_string().replace("\r\n", "\n");
    Value::from_safe_string(escaped.replace(['\r', '\n'], "<br>"))
}

#[cfg(test)]
mod tests;
