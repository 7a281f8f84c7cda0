//! Checks the structure of the workspace: allowed dependencies, use of drivers, and the files of a service.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Drivers, and the packages that may depend on them.
const OWNERS: [(&str, &[&str]); 6] = [
    ("sqlx", &["weft-authentication"]),
    ("mongodb", &["weft-logger"]),
    ("lettre", &["weft-mail"]),
    ("lapin", &["weft-events"]),
    ("kube", &["weft-operator", "weft-operator-api", "weft-cli"]),
    ("rustls", &["weft-mesh"]),
];

/// A crate without code, which only sets the features of shared dependencies. Every crate may depend on it.
const FEATURES: &str = "weft-features";

/// Crates for tests and benchmarks. Shipped crates must not depend on them.
const TEST_CRATES: [&str; 2] = ["weft-devcluster", "weft-devstack"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".into()])
        .exec()
        .unwrap()
}

fn workspace_dependencies(package: &Package, kinds: &[DependencyKind]) -> BTreeSet<String> {
    let wanted = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
    let names = wanted.map(|dependency| dependency.name.clone());
    names.filter(|name| name.starts_with("weft-") && name != FEATURES).collect()
}

/// The workspace packages that a package may depend on; none if the package is not listed, which fails the test.
fn may_import(package: &str, folder: &str) -> Option<Vec<&'static str>> {
    Some(match (package, folder) {
        ("weft-proto" | "weft-runtime" | "weft-values" | "weft-operator-api" | FEATURES, _) => vec![],
        ("weft-devstack" | "weft-devcluster", _) => vec![],
        ("weft-mesh" | "weft-events", _) => vec!["weft-runtime", "weft-proto"],
        (_, folder) if folder.starts_with("services/") => {
            vec!["weft-proto", "weft-runtime", "weft-values", "weft-mesh", "weft-events"]
        }
        ("weft-operator" | "weft-cli", _) => {
            vec!["weft-operator-api", "weft-proto", "weft-runtime", "weft-values", "weft-mesh"]
        }
        ("weft-bench", _) => vec!["weft-proto", "weft-runtime", "weft-devstack", "weft-devcluster"],
        _ => return None,
    })
}

fn folder_of(package: &Package) -> String {
    let manifest = package.manifest_path.as_std_path().canonicalize().unwrap();
    manifest.parent().unwrap().strip_prefix(root()).unwrap().display().to_string()
}

fn services() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("services")).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = entries.filter(|path| path.join("Cargo.toml").is_file()).collect();
    assert!(found.len() >= 3, "expected at least three services, found {found:?}");
    found
}

#[test]
fn each_driver_is_used_by_one_crate() {
    let metadata = metadata();
    let mut named = BTreeSet::new();
    for package in metadata.packages.iter().filter(|package| package.name.as_str() != FEATURES) {
        for dependency in &package.dependencies {
            let Some((driver, owners)) = OWNERS.iter().find(|(driver, _)| *driver == dependency.name) else {
                continue;
            };
            named.insert(*driver);
            assert!(
                owners.contains(&package.name.as_str()),
                "{} must not depend on {driver}; only {owners:?} may",
                package.name
            );
        }
    }
    // A driver with another name would not be checked.
    for driver in ["mongodb", "lapin", "kube"] {
        assert!(
            named.contains(driver),
            "no package depends on {driver}: does this test still find the dependencies?"
        );
    }
}

#[test]
fn the_features_crate_has_no_code() {
    let code = fs::read_to_string(root().join("crates/features/src/lib.rs")).unwrap();
    let comment =
        |line: &str| line.trim().is_empty() || line.trim_start().starts_with("//") || line.starts_with("#![");
    assert!(
        code.lines().all(comment),
        "weft-features may depend on drivers only as long as it has no code:\n{code}"
    );
}

#[test]
fn crates_depend_only_on_allowed_crates() {
    for package in &metadata().packages {
        let folder = folder_of(package);
        if package.name.as_str() == "weft-e2e" {
            continue;
        }
        let allowed = may_import(&package.name, &folder);
        let allowed = allowed.unwrap_or_else(|| {
            panic!("{} ({folder}) has no allowed dependencies: add it to may_import", package.name)
        });
        for import in workspace_dependencies(package, &[DependencyKind::Normal, DependencyKind::Build]) {
            assert!(allowed.contains(&import.as_str()), "{} must not depend on {import}", package.name);
        }
        for import in workspace_dependencies(package, &[DependencyKind::Development]) {
            let fine = allowed.contains(&import.as_str()) || TEST_CRATES.contains(&import.as_str());
            assert!(fine, "the tests of {} must not depend on {import}", package.name);
        }
    }
}

#[test]
fn no_crate_depends_on_the_end_to_end_tests() {
    let metadata = metadata();
    assert!(metadata.packages.iter().any(|package| package.name.as_str() == "weft-e2e"));
    for package in &metadata.packages {
        let named = package.dependencies.iter().any(|dependency| dependency.name == "weft-e2e");
        assert!(!named, "{} depends on weft-e2e", package.name);
    }
}

#[test]
fn every_service_has_the_required_files() {
    for service in services() {
        for file in
            ["README.md", "src/main.rs", "src/lib.rs", "src/config.rs", "src/app.rs", "tests/it/main.rs"]
        {
            assert!(service.join(file).is_file(), "{} has no {file}", service.display());
        }
        let main = fs::read_to_string(service.join("src/main.rs")).unwrap();
        assert!(main.lines().count() < 40, "{}/src/main.rs has 40 or more lines", service.display());
        let lib = fs::read_to_string(service.join("src/lib.rs")).unwrap();
        assert!(
            lib.contains("include_str!(\"../README.md\")"),
            "{}/src/lib.rs does not include the README as crate docs",
            service.display()
        );
    }
}

#[test]
fn a_package_is_named_after_its_folder() {
    for package in &metadata().packages {
        let folder = folder_of(package);
        let wanted = match folder.as_str() {
            "operator/controller" => "weft-operator".to_owned(),
            "operator/api" => "weft-operator-api".to_owned(),
            other => format!("weft-{}", other.rsplit('/').next().unwrap_or_default()),
        };
        assert_eq!(package.name.as_str(), wanted, "in {folder}");
        assert!(
            package.publish.as_ref().is_some_and(Vec::is_empty),
            "{} must not be publishable",
            package.name
        );
    }
}

/// All text files except build output, lock files and hidden folders other than `.ci`.
fn texts() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped =
                name == "target" || name == "node_modules" || (name.starts_with('.') && name != ".ci");
            if path.is_symlink()
                || skipped
                || ["Cargo.lock", "go.sum", "go.mod", "package-lock.json"].contains(&name.as_str())
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "expected more files in the checkout than {}", found.len());
    found
}

#[test]
fn no_file_has_registry_urls_or_machine_paths() {
    // Split, so that this file does not contain them.
    let unwanted = [
        concat!("proxy.golang", ".org"),
        concat!("sum.golang", ".org"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("registry.npmjs", ".org"),
        concat!("pypi", ".org"),
        concat!("deb.debian", ".org"),
        concat!("/work", "/main"),
        concat!("/work", "/shared"),
        concat!("/root", "/"),
    ];
    for (path, text) in texts() {
        for unwanted in unwanted {
            assert!(!text.contains(unwanted), "{} has {unwanted}", path.display());
        }
    }
}

#[test]
fn no_file_is_named_mod_rs() {
    for (path, _) in texts() {
        assert!(!path.ends_with("mod.rs"), "{}: name the file after its folder", path.display());
    }
}
