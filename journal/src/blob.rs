//! Content kept beside the events and named in them by digest.
//!
//! `digest = BLAKE3(salt ‖ data)` with 32 random bytes of salt for every write. A purge forgets data and salt together, so that
//! nobody can later confirm a guess at what a purged blob said; the event still verifies, since it covers the digest alone.

use crate::chain;
use crate::error::{BlobError, PurgeError};
use crate::store::{Journal, Stop};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The largest blob, in bytes: 256 MiB. SQLite itself ends at about 1 GB.
pub const MAX_BLOB_LEN: usize = 256 << 20;

/// The name of one stored blob: its salted BLAKE3 digest, printed `b3:<hex>`.
///
/// Two blobs of the same content have different names, because each has its own salt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef([u8; 32]);

impl BlobRef {
    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain::printed(&self.0))
    }
}

impl fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobRef {
    type Err = NotABlobRef;

    fn from_str(text: &str) -> Result<Self, NotABlobRef> {
        chain::parse(text).map(Self).ok_or(NotABlobRef)
    }
}

/// The text is not `b3:` and 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a blob is named by `b3:` and 64 lower-case hexadecimal digits")]
pub struct NotABlobRef;

impl Serialize for BlobRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Content with its salt, ready to be stored.
pub(crate) struct Sealed {
    pub(crate) name: BlobRef,
    salt: [u8; 32],
    data: Vec<u8>,
}

impl Sealed {
    pub(crate) fn new(data: Vec<u8>) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        Ok(Self { name: digest(&salt, &data), salt, data })
    }

    pub(crate) fn insert(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.prepare_cached("INSERT INTO blob (digest, salt, len, data) VALUES (?1, ?2, ?3, ?4)")?
            .execute((self.name.0, self.salt, self.data.len() as i64, &self.data))
            .map(drop)
    }
}

fn digest(salt: &[u8], data: &[u8]) -> BlobRef {
    BlobRef(blake3::Hasher::new().update(salt).update(data).finalize().into())
}

/// What the file says about a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Missing,
    Purged,
    Altered,
    Sound,
}

/// Looks `name` up, hands sound content to `take`, and says how it stands.
pub(crate) fn look(conn: &Connection, name: &BlobRef, take: impl FnOnce(&[u8])) -> rusqlite::Result<Condition> {
    conn.prepare_cached("SELECT salt, data FROM blob WHERE digest = ?1")?
        .query_row([name.0], |row| {
            Ok(match (row.get_ref(0)?, row.get_ref(1)?) {
                (ValueRef::Null, ValueRef::Null) => Condition::Purged,
                (ValueRef::Blob(salt), ValueRef::Blob(data)) if digest(salt, data) == *name => {
                    take(data);
                    Condition::Sound
                }
                _ => Condition::Altered,
            })
        })
        .optional()
        .map(|found| found.unwrap_or(Condition::Missing))
}

impl Journal {
    /// The content of a blob, or `None` if it was purged. The content is checked against its digest.
    ///
    /// # Errors
    /// [`BlobError::Missing`] when the journal never had it or lost it, [`BlobError::Altered`] when its content does not match.
    pub fn blob(&self, name: &BlobRef) -> Result<Option<Vec<u8>>, BlobError> {
        self.readable()?;
        let mut content = None;
        match look(&self.conn, name, |data| content = Some(data.to_vec()))
            .map_err(|source| BlobError::Sqlite { source })?
        {
            Condition::Sound | Condition::Purged => Ok(content),
            Condition::Missing => Err(BlobError::Missing { blob: *name }),
            Condition::Altered => Err(BlobError::Altered { blob: *name }),
        }
    }

    /// Forgets the content of a blob for good, keeping its digest and its length. `false` if it had been purged before.
    ///
    /// The freed pages are overwritten. Older copies of them may remain in the `-wal` file until [`Journal::checkpoint`], and in
    /// whatever copies of the file were made. Who purged what, and why, is for the caller to journal as an event.
    ///
    /// # Errors
    /// See [`PurgeError`].
    pub fn purge_blob(&mut self, name: &BlobRef) -> Result<bool, PurgeError> {
        self.write(|conn, _| match look(conn, name, |_| ())? {
            Condition::Missing => Err(Stop::Because(PurgeError::Missing { blob: *name })),
            Condition::Purged => Ok(false),
            Condition::Sound | Condition::Altered => {
                conn.prepare_cached("UPDATE blob SET data = NULL, salt = NULL WHERE digest = ?1")?.execute([name.0])?;
                Ok(true)
            }
        })
    }
}
