//! The folder that has a process's data and logs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rand::distr::{Alphanumeric, SampleString};
use tempfile::TempDir;

/// A folder that is erased with this value when it is temporary, and stays when it was given.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _temporary: Option<TempDir>,
    _lock: Option<fs::File>,
}

impl StateDir {
    /// A new temporary folder.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn temporary() -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("weft-")
            .tempdir()
            .context("failed to make a temporary folder")?;
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary), _lock: None })
    }

    /// The given folder, made when it is missing, for this process alone.
    ///
    /// # Errors
    /// When it can't be made, or another process uses it.
    pub fn at(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("failed to make the folder {}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = fs::File::create(path.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!(
                "the folder {} is in use by another weft-dev: end that one, or give another folder",
                path.display()
            );
        }
        Ok(Self { path, _temporary: None, _lock: Some(lock) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside it, made when it is missing.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to make the folder {}", path.display()))?;
        Ok(path)
    }
}

/// A random password of this many letters that is kept in a file: data that is kept keeps its password too.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn kept_password(folder: &Path, name: &str, letters: usize) -> Result<String> {
    let file = folder.join(name);
    if let Ok(password) = fs::read_to_string(&file) {
        return Ok(password);
    }
    let password = Alphanumeric.sample_string(&mut rand::rng(), letters);
    fs::write(&file, &password).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(password)
}
