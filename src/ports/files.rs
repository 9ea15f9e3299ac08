//! The files written beside a run.

use crate::domain::event::Artifact;
use crate::domain::failure::Failure;
use std::path::PathBuf;

/// The folder of one run.
pub trait Files {
    /// Writes `name` to a temporary name, makes it durable and renames it.
    ///
    /// # Errors
    /// [`FileUnwritable`](crate::domain::code::Code::FileUnwritable) or [`DiskFull`](crate::domain::code::Code::DiskFull).
    fn write(&self, name: &str, bytes: &[u8]) -> Result<Artifact, Failure>;

    /// Removes what a killed process left half written. Only for who alone writes there: the one that holds the target's lock.
    fn remove_leftovers(&self);

    /// The digest and length of `name` as it is now, if it is there.
    fn look(&self, name: &str) -> Option<Artifact>;

    /// The whole path of `name`, which need not exist.
    fn path(&self, name: &str) -> PathBuf;

    /// The path as it is shown and recorded: relative to the project's root where it lies below it.
    fn shown(&self, name: &str) -> String;

    /// The bytes that may still be written there.
    fn free_bytes(&self) -> Option<u64>;
}
