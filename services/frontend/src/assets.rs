//! The embedded files of the console. Their URLs have one hash over all files: browsers can cache them indefinitely, modules can
//! import each other by relative names, and a new build has new URLs.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::resource::Resource;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, content type and content.
type File = (&'static str, &'static str, &'static [u8]);

macro_rules! files {
    ($($name:literal: $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../assets/", $name)).as_slice())),*]
    };
}

const FILES: &[File] = files! {
    "account.js": JAVASCRIPT,
    "api.js": JAVASCRIPT,
    "app.js": JAVASCRIPT,
    "confirm.js": JAVASCRIPT,
    "console.css": "text/css; charset=utf-8",
    "dead-letters.js": JAVASCRIPT,
    "dom.js": JAVASCRIPT,
    "errors.js": JAVASCRIPT,
    "exchange.js": JAVASCRIPT,
    "format.js": JAVASCRIPT,
    "http.js": JAVASCRIPT,
    "logs.js": JAVASCRIPT,
    "mark.svg": "image/svg+xml",
    "navigation.js": JAVASCRIPT,
    "passwords.js": JAVASCRIPT,
    "roles.js": JAVASCRIPT,
    "send.js": JAVASCRIPT,
    "session.js": JAVASCRIPT,
    "spans.js": JAVASCRIPT,
    "trace.js": JAVASCRIPT,
    "users.js": JAVASCRIPT,
};

/// The embedded files by name.
#[derive(Debug)]
pub(crate) struct Assets {
    version: String,
    files: BTreeMap<&'static str, Resource>,
}

impl Assets {
    pub(crate) fn embedded() -> Self {
        let mut all = Sha256::new();
        for (name, _, content) in FILES {
            all.update(name);
            all.update([0]);
            all.update(content);
        }
        let version: String = all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let files = FILES.iter().map(|(name, kind, content)| (*name, Resource::new(kind, content))).collect();
        Self { version, files }
    }

    /// The hash in the URLs.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The names of all modules, which pages preload.
    pub(crate) fn modules() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _, _)| *name).filter(|name| name.ends_with(".js"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Resource> {
        self.files.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk() -> Vec<(String, String)> {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).unwrap();
        let files = folder.map(|entry| entry.unwrap().path());
        let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
        files.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
    }

    #[test]
    fn embeds_every_file_except_those_for_the_type_check() {
        for (name, _) in on_disk() {
            let for_check = name == "tsconfig.json" || name.ends_with(".d.ts");
            assert_eq!(Assets::embedded().get(&name).is_some(), !for_check, "{name}");
        }
    }

    #[test]
    fn no_file_creates_markup_or_code_from_text() {
        let sinks = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "createContextualFragment",
            "DOMParser",
            "setAttribute('style'",
            "setAttribute('on",
            "javascript:",
        ];
        for (name, text) in on_disk() {
            for sink in sinks {
                assert!(!text.contains(sink), "{name} has {sink}");
            }
        }
    }

    #[test]
    fn every_module_is_type_checked() {
        for (name, text) in on_disk().iter().filter(|(name, _)| name.ends_with(".js")) {
            assert!(text.starts_with("// @ts-check\n"), "{name}");
            assert!(!text.contains("@ts-ignore") && !text.contains("@ts-nocheck"), "{name}");
        }
    }
}
