//! Reads the built-in templates, and those of a folder, which may be a mounted ConfigMap.

use std::collections::BTreeMap;
use std::path::Path;

use super::TemplateError;

/// One file of a template.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// File name for errors.
    pub(super) file: String,
    pub(super) text: String,
}

/// The files of one template.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) subject: Source,
    pub(super) text: Source,
    /// MJML.
    pub(super) html: Source,
}

#[derive(Debug, Default)]
struct Found {
    subject: Option<Source>,
    text: Option<Source>,
    html: Option<Source>,
}

type Slot = fn(&mut Found) -> &mut Option<Source>;

/// Longer suffixes first, because `.subject.txt` also ends with `.txt`.
const KINDS: [(&str, Slot); 3] = [
    (".subject.txt", |found| &mut found.subject),
    (".txt", |found| &mut found.text),
    (".mjml", |found| &mut found.html),
];

macro_rules! built_in {
    ($($file:literal),+) => {
        [$(($file, include_str!(concat!("../../templates/", $file)))),+]
    };
}

const BUILT_IN: [(&str, &str); 9] = built_in![
    "logout.mjml",
    "logout.subject.txt",
    "logout.txt",
    "message.mjml",
    "message.subject.txt",
    "message.txt",
    "password-reset.mjml",
    "password-reset.subject.txt",
    "password-reset.txt"
];

/// Reads the files of every template.
pub(super) fn read(folder: Option<&Path>) -> Result<BTreeMap<String, Sources>, TemplateError> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (file, text) in BUILT_IN {
        put(&mut found, file, Source { file: format!("{file} (built in)"), text: text.to_owned() });
    }
    if let Some(folder) = folder {
        read_folder(folder, &mut found)?;
    }
    found.into_iter().map(|(name, found)| Ok((name.clone(), complete(&name, found)?))).collect()
}

fn read_folder(folder: &Path, found: &mut BTreeMap<String, Found>) -> Result<(), TemplateError> {
    let error = |source| TemplateError::Folder { folder: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The files of a ConfigMap are links into `..data`, a link that the kubelet replaces atomically.
        if name.starts_with('.') {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|source| TemplateError::Read { file: path.clone(), source })?;
        let source = Source { file: path.display().to_string(), text };
        if !put(found, &name, source) {
            return Err(TemplateError::Stray(path));
        }
    }
    Ok(())
}

/// Returns false when the file name is not that of a template file.
fn put(found: &mut BTreeMap<String, Found>, file: &str, mut source: Source) -> bool {
    for (end, slot) in KINDS {
        let Some(name) = file.strip_suffix(end) else { continue };
        if !is_name(name) {
            return false;
        }
        if end == ".subject.txt" {
            source.text = source.text.trim().to_owned();
        }
        *slot(found.entry(name.to_owned()).or_default()) = Some(source);
        return true;
    }
    false
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name.chars().all(allowed)
}

fn complete(name: &str, found: Found) -> Result<Sources, TemplateError> {
    let Found { subject, text, html } = found;
    let part = |part: Option<Source>, end: &str| {
        part.ok_or_else(|| TemplateError::Incomplete { name: name.to_owned(), file: format!("{name}{end}") })
    };
    Ok(Sources {
        subject: part(subject, ".subject.txt")?,
        text: part(text, ".txt")?,
        html: part(html, ".mjml")?,
    })
}
