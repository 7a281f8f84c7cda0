//! `logger dump FILE` writes all entries to a file, `logger restore FILE` inserts them into another store. Dead letters are in two
//! more files, with the collection's name appended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weft_runtime::config::{ConfigError, Environment, Settings};
use weft_runtime::telemetry::chain;

use crate::config::Config;
use crate::store::mongo::COLLECTION;
use crate::store::mongo::archive::{self, ArchiveError, COLLECTIONS, Restored};

/// Why a dump or restore failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The archive could not be opened or renamed.
    #[error("failed to open {}", .0.display())]
    Open(PathBuf, #[source] std::io::Error),
    /// The documents could not be copied.
    #[error("failed to copy {}", .0.display())]
    Copy(PathBuf, #[source] ArchiveError),
}

/// Runs `dump` or `restore`. Returns `None` for any other arguments.
pub fn main(arguments: &[String]) -> Option<ExitCode> {
    let verb = arguments.first().filter(|verb| ["dump", "restore"].contains(&verb.as_str()))?.as_str();
    let [_, file] = arguments else {
        eprintln!("usage: logger {verb} FILE");
        return Some(ExitCode::from(2));
    };
    let file = Path::new(file);
    let work = async {
        match verb {
            "dump" => dump_all(file)
                .await
                .map(|[entries, _, letters]| format!("dumped {entries} entries, {letters} dead letters")),
            _ => restore_all(file).await.map(|[entries, _, letters]| {
                let describe = |Restored { created, existing }, what| {
                    format!("{created} {what} ({existing} already existed)")
                };
                format!("restored {}, {}", describe(entries, "entries"), describe(letters, "dead letters"))
            }),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work).map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    // One plain line: Kubernetes shows a container's last lines as its termination message.
    Some(match done {
        Ok(summary) => {
            println!("logger {verb}: {summary}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("logger {verb}: {reason}");
            ExitCode::FAILURE
        }
    })
}

/// The file of a collection. Entries are in `file` itself.
fn file_of(file: &Path, collection: &str) -> PathBuf {
    if collection == COLLECTION { file.to_owned() } else { file.with_added_extension(OsStr::new(collection)) }
}

/// Returns the number of documents of each collection.
async fn dump_all(file: &Path) -> Result<[u64; 3], CopyError> {
    let config = Config::from_settings(&Settings::new(Environment))?;
    let mut counts = [0; 3];
    // Letters before their contents, and entries last: the file named by the caller exists only when the dump is complete.
    for (count, collection) in counts.iter_mut().zip(COLLECTIONS).rev() {
        *count = dump(&config, &file_of(file, collection), collection).await?;
    }
    Ok(counts)
}

/// A file of dead letters may be missing: loggers without dead letters did not write one.
async fn restore_all(file: &Path) -> Result<[Restored; 3], CopyError> {
    let config = Config::from_settings(&Settings::new(Environment))?;
    let mut restored = [Restored::default(); 3];
    for (restored, collection) in restored.iter_mut().zip(COLLECTIONS) {
        let file = file_of(file, collection);
        if collection == COLLECTION || file.exists() {
            *restored = restore(&config, &file, collection).await?;
        }
    }
    Ok(restored)
}

/// Writes to `<file>.part`, and renames it when it is complete.
async fn dump(config: &Config, file: &Path, collection: &str) -> Result<u64, CopyError> {
    let unfinished = file.with_added_extension("part");
    let open = |source| CopyError::Open(unfinished.clone(), source);
    let mut archive = BufWriter::new(File::create(&unfinished).map_err(open)?);
    let copy = |source| CopyError::Copy(file.to_owned(), source);
    let count = archive::dump(&config.store, collection, &mut archive).await.map_err(copy)?;
    archive.get_ref().sync_all().map_err(|source| copy(source.into()))?;
    std::fs::rename(&unfinished, file).map_err(open)?;
    Ok(count)
}

async fn restore(config: &Config, file: &Path, collection: &str) -> Result<Restored, CopyError> {
    let open = |source| CopyError::Open(file.to_owned(), source);
    let mut archive = BufReader::new(File::open(file).map_err(open)?);
    let restored = archive::restore(&config.store, config.retention, collection, &mut archive).await;
    restored.map_err(|source| CopyError::Copy(file.to_owned(), source))
}
