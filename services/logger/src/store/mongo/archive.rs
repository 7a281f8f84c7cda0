//! Every document of the collection as it stands: one BSON document after the other, as mongodump writes a collection.

use std::io::{self, Read, Write};
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};

use super::{COLLECTION, REPLY_DOCUMENTS, error, insert_once, letters, schema};
use crate::config::StoreConfig;
use crate::store::{Inserted, StoreError};

/// A document that the server takes has at most this, and its length before it.
const LARGEST: usize = 16 << 20;
/// An empty document has a length and an end.
const SMALLEST: usize = 5;
/// Documents that share an insert, as long as they are small.
const TOGETHER: usize = 512;
/// The bytes that make an insert full before that: a message to the server may have 48 MB.
const FULL: usize = 8 << 20;

/// Why the documents could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file is none of ours, or was cut.
    #[error("at byte {at}: {problem}")]
    Malformed {
        /// Where the document begins that can't be read.
        at: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The store does not take a document.
    #[error("the store refused the document at byte {at}")]
    Refused {
        /// Where it begins.
        at: u64,
        /// Why.
        #[source]
        source: weft_runtime::store::Cause,
    },
}

/// What became of the documents of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// So many are new.
    pub created: u64,
    /// So many were there already.
    pub there: u64,
}

/// The collections of the logger, in the order in which they are restored: a letter comes after its content.
pub const COLLECTIONS: [&str; 3] = [COLLECTION, letters::CONTENTS, letters::LETTERS];

/// Writes every document of a collection, and returns how many there are. What is written meanwhile may be missing.
///
/// # Errors
/// When the store can't be read, or the archive not written.
pub async fn dump(
    config: &StoreConfig,
    collection: &str,
    archive: &mut impl Write,
) -> Result<u64, ArchiveError> {
    let collection = beside(&super::connect(config).await.map_err(error::classify)?, collection);
    let mut found = collection.find(doc! {}).batch_size(REPLY_DOCUMENTS).await.map_err(error::classify)?;
    let mut count = 0;
    while let Some(document) = found.try_next().await.map_err(error::classify)? {
        archive.write_all(document.as_bytes())?;
        count += 1;
    }
    archive.flush()?;
    Ok(count)
}

/// Inserts every document whose id is not there yet, after the indexes. It may be repeated.
///
/// # Errors
/// When the archive can't be read, or the store does not take what is in it. Then a part may be there.
pub async fn restore(
    config: &StoreConfig,
    retention: Option<Duration>,
    collection: &str,
    archive: &mut impl Read,
) -> Result<Restored, ArchiveError> {
    let logs = super::connect(config).await.map_err(error::classify)?;
    schema::migrate(&logs, retention).await.map_err(error::classify)?;
    letters::migrate(&logs).await.map_err(error::classify)?;
    let collection = beside(&logs, collection);
    let mut documents = Documents { archive, at: 0 };
    let (mut batch, mut bytes, mut restored) = (Vec::new(), 0, Restored::default());
    while let Some((at, document)) = documents.next()? {
        bytes += document.as_bytes().len();
        batch.push((at, document));
        if batch.len() == TOGETHER || bytes >= FULL {
            insert(&collection, std::mem::take(&mut batch), &mut restored).await?;
            bytes = 0;
        }
    }
    insert(&collection, batch, &mut restored).await?;
    Ok(restored)
}

/// A collection of the same database.
fn beside(logs: &Collection<RawDocumentBuf>, name: &str) -> Collection<RawDocumentBuf> {
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
            Inserted::AlreadyThere | Inserted::Conflict => restored.there += 1,
            Inserted::Refused(source) => return Err(ArchiveError::Refused { at, source }),
        }
    }
    Ok(())
}

/// What an archive holds, and where each begins.
struct Documents<'a, R> {
    archive: &'a mut R,
    at: u64,
}

impl<R: Read> Documents<'_, R> {
    fn next(&mut self) -> Result<Option<(u64, RawDocumentBuf)>, ArchiveError> {
        let at = self.at;
        let malformed = |problem: String| ArchiveError::Malformed { at, problem };
        let cut = || malformed("the file ends within a document: it was cut".to_owned());
        let mut bytes = self.take(4)?;
        let Some(length) = bytes.first_chunk().copied() else {
            return if bytes.is_empty() { Ok(None) } else { Err(cut()) };
        };
        let length = usize::try_from(i32::from_le_bytes(length)).unwrap_or(0);
        if !(SMALLEST..=LARGEST).contains(&length) {
            return Err(malformed(format!("no BSON document is {length} bytes long: it is another file")));
        }
        bytes.extend(self.take(length - bytes.len())?);
        if bytes.len() < length {
            return Err(cut());
        }
        let document = RawDocumentBuf::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        Ok(Some((at, document)))
    }

    /// So many bytes, or fewer where the archive ends.
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
    fn documents_come_back_with_their_places() {
        let [one, two] = [rawdoc! { "_id": "1" }, rawdoc! { "_id": "2", "data": "größer" }];
        let archive = [one.as_bytes(), two.as_bytes()].concat();
        let place = one.as_bytes().len() as u64;
        assert_eq!(read(&archive).unwrap(), [(0, one), (place, two)]);
        assert_eq!(read(&[]).unwrap(), []);
    }

    #[test]
    fn a_cut_or_foreign_file_is_told_with_its_place() {
        let one = rawdoc! { "_id": "1" };
        let place = one.as_bytes().len();
        for cut in [1, 4, place - 1] {
            let archive = [one.as_bytes(), &one.as_bytes()[..cut]].concat();
            let told = read(&archive).unwrap_err();
            assert!(told.contains(&format!("at byte {place}")) && told.contains("cut"), "{cut}: {told}");
        }
        for foreign in [&b"-- PostgreSQL database dump"[..], &[0; 16], &[255; 16]] {
            assert!(read(foreign).unwrap_err().contains("another file"), "{foreign:?}");
        }
        let mut broken = one.as_bytes().to_vec();
        broken[place - 1] = 1;
        assert!(read(&broken).unwrap_err().contains("at byte 0"));
    }
}
