//! Dumps and restores collections as concatenated BSON documents, the format of mongodump.

use std::io::{self, Read, Write};
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};

use super::{COLLECTION, REPLY_DOCUMENTS, error, insert_once, letters, schema};
use crate::config::StoreConfig;
use crate::store::{Inserted, StoreError};

/// Maximum size of a BSON document.
const MAX_DOCUMENT_BYTES: usize = 16 << 20;
/// Size of an empty document: length and terminator.
const MIN_DOCUMENT_BYTES: usize = 5;
/// Maximum number of documents in an insert.
const BATCH_DOCUMENTS: usize = 512;
/// Size from which an insert is sent earlier. A message to the server may have 48 MB.
const BATCH_BYTES: usize = 8 << 20;

/// Why a dump or restore failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading or writing the file failed.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file is not an archive, or is truncated.
    #[error("at byte {at}: {problem}")]
    Malformed {
        /// Offset of the invalid document.
        at: u64,
        /// What is wrong.
        problem: String,
    },
    /// The store refused a document.
    #[error("the store refused the document at byte {at}")]
    Refused {
        /// Offset of the document.
        at: u64,
        /// The cause.
        #[source]
        source: weft_runtime::store::Cause,
    },
}

/// Number of restored documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Documents that were inserted.
    pub created: u64,
    /// Documents that already existed.
    pub existing: u64,
}

/// The logger's collections, in the order of restoring: a letter after its content.
pub const COLLECTIONS: [&str; 3] = [COLLECTION, letters::CONTENTS, letters::LETTERS];

/// Writes every document of a collection. Returns their number. Documents stored meanwhile may be missing.
///
/// # Errors
/// When reading the store or writing the archive fails.
pub async fn dump(
    config: &StoreConfig,
    collection: &str,
    archive: &mut impl Write,
) -> Result<u64, ArchiveError> {
    let collection = sibling(&super::connect(config).await.map_err(error::classify)?, collection);
    let mut found = collection.find(doc! {}).batch_size(REPLY_DOCUMENTS).await.map_err(error::classify)?;
    let mut count = 0;
    while let Some(document) = found.try_next().await.map_err(error::classify)? {
        archive.write_all(document.as_bytes())?;
        count += 1;
    }
    archive.flush()?;
    Ok(count)
}

/// Creates the indexes, then inserts every document whose id does not exist yet. Idempotent.
///
/// # Errors
/// When reading the archive fails, or the store fails or refuses a document. Some documents may then be inserted.
pub async fn restore(
    config: &StoreConfig,
    retention: Option<Duration>,
    collection: &str,
    archive: &mut impl Read,
) -> Result<Restored, ArchiveError> {
    let logs = super::connect(config).await.map_err(error::classify)?;
    schema::migrate(&logs, retention).await.map_err(error::classify)?;
    letters::migrate(&logs).await.map_err(error::classify)?;
    let collection = sibling(&logs, collection);
    let mut documents = Documents { archive, at: 0 };
    let (mut batch, mut bytes, mut restored) = (Vec::new(), 0, Restored::default());
    while let Some((at, document)) = documents.next()? {
        bytes += document.as_bytes().len();
        batch.push((at, document));
        if batch.len() == BATCH_DOCUMENTS || bytes >= BATCH_BYTES {
            insert(&collection, std::mem::take(&mut batch), &mut restored).await?;
            bytes = 0;
        }
    }
    insert(&collection, batch, &mut restored).await?;
    Ok(restored)
}

/// A collection of the same database.
fn sibling(logs: &Collection<RawDocumentBuf>, name: &str) -> Collection<RawDocumentBuf> {
    logs.client().database(&logs.namespace().db).collection(name)
}

async fn insert(
    collection: &Collection<RawDocumentBuf>,
    batch: Vec<(u64, RawDocumentBuf)>,
    restored: &mut Restored,
) -> Result<(), ArchiveError> {
    if batch.is_empty() {
        return Ok(());
    }
    let (places, documents): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let outcome = insert_once(collection, &documents).await;
    for (at, inserted) in places.into_iter().zip(error::inserted(documents.len(), outcome)?) {
        match inserted {
            Inserted::Created => restored.created += 1,
            Inserted::AlreadyThere | Inserted::Conflict => restored.existing += 1,
            Inserted::Refused(source) => return Err(ArchiveError::Refused { at, source }),
        }
    }
    Ok(())
}

/// Reads the documents of an archive, with their offsets.
struct Documents<'a, R> {
    archive: &'a mut R,
    at: u64,
}

impl<R: Read> Documents<'_, R> {
    fn next(&mut self) -> Result<Option<(u64, RawDocumentBuf)>, ArchiveError> {
        let at = self.at;
        let malformed = |problem: String| ArchiveError::Malformed { at, problem };
        let truncated = || malformed("the file is truncated: it ends within a document".to_owned());
        let mut bytes = self.take(4)?;
        let Some(length) = bytes.first_chunk().copied() else {
            return if bytes.is_empty() { Ok(None) } else { Err(truncated()) };
        };
        let length = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
        if !(MIN_DOCUMENT_BYTES..=MAX_DOCUMENT_BYTES).contains(&length) {
            return Err(malformed(format!("not an archive: a BSON document can't have {length} bytes")));
        }
        bytes.extend(self.take(length - bytes.len())?);
        if bytes.len() < length {
            return Err(truncated());
        }
        let document = RawDocumentBuf::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        Ok(Some((at, document)))
    }

    /// Reads `count` bytes, or fewer at the end of the archive.
    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.archive.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    fn read(mut archive: &[u8]) -> Result<Vec<(u64, RawDocumentBuf)>, String> {
        let mut documents = Documents { archive: &mut archive, at: 0 };
        std::iter::from_fn(|| documents.next().transpose())
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn reads_documents_with_their_offsets() {
        let [one, two] = [rawdoc! { "_id": "1" }, rawdoc! { "_id": "2", "data": "größer" }];
        let archive = [one.as_bytes(), two.as_bytes()].concat();
        let offset = one.as_bytes().len() as u64;
        assert_eq!(read(&archive).unwrap(), [(0, one), (offset, two)]);
        assert_eq!(read(&[]).unwrap(), []);
    }

    #[test]
    fn reports_the_offset_in_a_truncated_or_foreign_file() {
        let one = rawdoc! { "_id": "1" };
        let offset = one.as_bytes().len();
        for cut in [1, 4, offset - 1] {
            let archive = [one.as_bytes(), &one.as_bytes()[..cut]].concat();
            let error = read(&archive).unwrap_err();
            assert!(
                error.contains(&format!("at byte {offset}")) && error.contains("truncated"),
                "{cut}: {error}"
            );
        }
        for foreign in [&b"-- PostgreSQL database dump"[..], &[0; 16], &[255; 16]] {
            assert!(read(foreign).unwrap_err().contains("not an archive"), "{foreign:?}");
        }
        let mut broken = one.as_bytes().to_vec();
        broken[offset - 1] = 1;
        assert!(read(&broken).unwrap_err().contains("at byte 0"));
    }
}
