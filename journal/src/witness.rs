//! The head, remembered in a file beside the journal.
//!
//! A chain cannot show that its tail is gone: one flipped bit in the `-wal` file silently drops every event after it, and an older copy
//! of the file is a valid journal. What was acknowledged is therefore also written down as `<journal>.head`, after the commit and without
//! a sync of its own: it can be older than the journal, never newer, so that a journal which does not hold the event it names has lost it.

use crate::chain::{self, Hash};
use crate::entry::Head;
use crate::store::Journal;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a file beside a journal remembers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The journal's origin.
    pub origin: String,
    /// Its last event, or an earlier one.
    pub head: Head,
}

/// The file beside the journal at `path`.
#[must_use]
pub fn witness_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    PathBuf::from(name)
}

impl Witness {
    /// What is remembered of the journal at `path`; `None` if nothing is, or nothing that can be read: a file that was being made when
    /// the power failed may be empty.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs_err::read_to_string(witness_path(path)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.splitn(3, ' ');
        let seq = words.next()?.parse().ok()?;
        let hash: Hash = chain::parse(words.next()?)?;
        Some(Self { origin: words.next()?.to_owned(), head: Head { seq, hash } })
    }

    /// One line, as long for one journal whatever the event: written over the last one in one go.
    fn text(&self) -> String {
        format!("{:020} {} {}\n", self.head.seq, chain::printed(&self.head.hash), self.origin)
    }

    /// Remembers it beside the journal at `path`.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        self.write_to(&open(path)?)
    }

    fn write_to(&self, file: &fs_err::File) -> std::io::Result<()> {
        let text = self.text();
        file.file().write_all_at(text.as_bytes(), 0)?;
        if file.metadata()?.len() != text.len() as u64 {
            file.set_len(text.len() as u64)?;
        }
        Ok(())
    }
}

/// The file beside the journal at `path`, made if it is not there.
fn open(path: &Path) -> std::io::Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().mode(0o600);
    options.write(true).create(true).truncate(false).open(witness_path(path))
}

impl Journal {
    /// What is remembered beside this journal.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        Witness::read(&self.path)
    }

    /// The event that is remembered beside this journal, if this journal does not hold it.
    ///
    /// `known` is what was remembered before the journal was looked at: whoever writes meanwhile only adds.
    ///
    /// # Errors
    /// Those of reading.
    pub fn missing(&self, known: &Witness) -> Result<Option<Head>, crate::error::ReadError> {
        if known.origin != self.origin() {
            return Ok(Some(known.head));
        }
        let hash = match known.head.seq {
            0 => Some(self.identity.genesis),
            seq => self.event(seq)?.map(|entry| entry.hash),
        };
        Ok((hash != Some(known.head.hash)).then_some(known.head))
    }

    /// Remembers `head`. That it could not be written costs an anchor and no event.
    pub(crate) fn remember(&mut self, head: Head) {
        // Kept open from one event to the next, unless somebody took it away meanwhile.
        let there = |file: &fs_err::File| file.metadata().is_ok_and(|about| about.nlink() > 0);
        let file = self.beside.take().filter(there).or_else(|| open(&self.path).ok());
        if let Some(file) = &file {
            let _ = Witness { origin: self.origin().to_owned(), head }.write_to(file);
        }
        self.beside = file;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_back_and_a_torn_line_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        assert_eq!(Witness::read(&path), None);
        let one = Witness { origin: "dbd/host of mine/1".into(), head: Head { seq: 7, hash: [3; 32] } };
        one.write(&path).unwrap();
        let other = Witness { head: Head { seq: 1_000_000, hash: [4; 32] }, ..one };
        other.write(&path).unwrap();
        assert_eq!(Witness::read(&path), Some(other.clone()));
        let text = other.text();
        for cut in 0..text.len() {
            assert_eq!(Witness::parse(&text[..cut]), None, "{cut}");
        }
        assert_eq!(Witness::parse(&"\0".repeat(text.len())), None);
    }
}
