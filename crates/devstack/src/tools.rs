//! Finds programs, and says how to install a missing one.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// The path of a tool that `k8s/local/tools/build.sh` builds.
///
/// # Errors
/// When the tool is not found; the message has the command that builds it.
pub fn tool(name: &str, family: &str) -> Result<PathBuf> {
    let folders =
        env::var_os("WEFT_TOOLS_BIN").map(PathBuf::from).into_iter().chain(cache_bin()).chain(path_folders());
    if let Some(found) = first_with(folders, name) {
        return Ok(found);
    }
    bail!(
        "tool {name} not found in $WEFT_TOOLS_BIN, the tool cache or PATH: \
         build it with `k8s/local/tools/build.sh {family}` (needs Go; maildev needs Node and npm)"
    )
}

/// The path of a program of a Debian package.
pub(crate) fn packaged(path: &str, package: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    bail!(
        "{} not found: install it with `apt-get install {package}` (it need not run as a service)",
        path.display()
    )
}

/// The path of one of Weft's binaries.
///
/// # Errors
/// When the binary is not found; the message has the command that builds it.
pub fn our_binary(name: &str) -> Result<PathBuf> {
    let given = env::var_os("WEFT_BIN_DIR").map(PathBuf::from);
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    // Tests and examples run from a subfolder of the one with the binaries.
    let above = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    if let Some(found) = first_with(given.into_iter().chain(own).chain(above), name) {
        return Ok(found);
    }
    bail!(
        "binary {name} not found in $WEFT_BIN_DIR or next to this executable: \
         build it with `cargo build --release --bin {name}`"
    )
}

fn first_with(folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn cache_bin() -> Option<PathBuf> {
    if let Some(cache) = env::var_os("WEFT_CACHE") {
        return Some(PathBuf::from(cache).join("bin"));
    }
    let caches = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| env::home_dir().map(|home| home.join(".cache")))?;
    Some(caches.join("weft/bin"))
}

fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}
