//! Named templates: compiled once at the start, filled with values for each mail.
//!
//! A template is three files: `<name>.mjml`, `<name>.txt` and `<name>.subject.txt`. MJML becomes HTML with every style
//! on its element, placeholders and all; only then values come in, escaped, so that none can add an element.

mod compile;
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, ErrorKind, HtmlEscape, UndefinedBehavior, Value};

use folder::Sources;

/// Parts of one template, by the end of their names in the environment.
const PARTS: [&str; 3] = [SUBJECT, TEXT, HTML];
const SUBJECT: &str = ".subject.txt";
const TEXT: &str = ".txt";
const HTML: &str = ".html";

/// A template that can't be used; the process does not start with it.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder can't be read.
    #[error("failed to read the folder {} that MAIL_TEMPLATES_DIR names", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file can't be read, or is not UTF-8.
    #[error("failed to read the template file {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that is part of no template.
    #[error(
        "{} is part of no template: a template `name` is name.mjml, name.txt and name.subject.txt, its name of a-z, 0-9, - and _",
        .0.display()
    )]
    Stray(PathBuf),
    /// A file is missing.
    #[error("the template `{name}` lacks its file {file}")]
    Incomplete {
        /// The template.
        name: String,
        /// What it lacks.
        file: String,
    },
    /// A file does not read as what it should be.
    #[error("the template file {file} is broken at {position}: {reason}")]
    Broken {
        /// The file.
        file: String,
        /// Where, as far as it is known.
        position: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why a template can't be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is none of this name.
    #[error("template: `{name}` is unknown; known are: {known}")]
    Unknown {
        /// As asked for, shortened.
        name: String,
        /// All names.
        known: String,
    },
    /// Values that it asks for are not there.
    #[error("values: the template `{template}` asks for {lacking}, which is lacking")]
    Lacking {
        /// The template.
        template: String,
        /// The values' names.
        lacking: String,
    },
    /// It can't be filled with these values.
    #[error("values: the template `{template}` can't be filled with them: {reason}")]
    Failed {
        /// The template.
        template: String,
        /// Why.
        reason: String,
    },
}

/// A filled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The plain part, as it is.
    pub text: String,
    /// The HTML part, with values escaped.
    pub html: String,
}

/// All templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    /// What each of them can't be filled without.
    required: BTreeMap<String, BTreeSet<String>>,
}

impl Templates {
    /// Compiles the built-in templates, and those in this folder, which go before them file by file.
    ///
    /// # Errors
    /// Names the first file that is missing or broken, and the place in it.
    pub fn load(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut templates = Self { environment: environment(), required: BTreeMap::new() };
        for (name, sources) in folder::read(folder)? {
            templates.add(&name, &sources)?;
        }
        Ok(templates)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.required.keys().map(String::as_str)
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.required.contains_key(name)
    }

    /// Fills a template.
    ///
    /// # Errors
    /// When there is none of this name, or it asks for what is not there.
    pub fn render(&self, name: &str, values: &BTreeMap<String, String>) -> Result<Rendered, RenderError> {
        let required = self.required.get(name).ok_or_else(|| self.unknown(name))?;
        let lacking: Vec<_> = required.iter().filter(|value| !values.contains_key(*value)).collect();
        if !lacking.is_empty() {
            let lacking = lacking.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(RenderError::Lacking { template: name.to_owned(), lacking });
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

    /// Fills a new template once with everything, which must work, and once without each value: what it then fails on
    /// is required.
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

/// Lines of a text as lines of HTML, the text escaped.
fn linebreaksbr(text: &str) -> Value {
    let escaped = HtmlEscape(text).to_string().replace("\r\n", "\n");
    Value::from_safe_string(escaped.replace(['\r', '\n'], "<br>"))
}

#[cfg(test)]
mod tests;
