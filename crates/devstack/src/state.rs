//! The folder for data and logs of the processes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rand::distr::{Alphanumeric, SampleString};
use tempfile::TempDir;

/// A folder for data and logs. A temporary folder is deleted on drop; a given folder is kept.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _temporary: Option<TempDir>,
    _lock: Option<fs::File>,
}

impl StateDir {
    /// Creates a temporary folder.
    ///
    /// # Errors
    /// When the folder can't be created.
    pub fn temporary() -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("weft-")
            .tempdir()
            .context("failed to create a temporary folder")?;
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary), _lock: None })
    }

    /// Locks the given folder for this process; creates the folder when it is missing.
    ///
    /// # Errors
    /// When the folder can't be created, or another process uses it.
    pub fn at(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("failed to create the folder {}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = fs::File::create(path.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!(
                "the folder {} is in use by another weft-dev: stop that one, or use another folder",
                path.display()
            );
        }
        Ok(Self { path, _temporary: None, _lock: Some(lock) })
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A subfolder, created when it is missing.
    ///
    /// # Errors
    /// When the subfolder can't be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("failed to create the folder {}", path.display()))?;
        Ok(path)
    }
}

/// A random password of this many letters that is stored in a file, so that kept data is used with the same password.
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
