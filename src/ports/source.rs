//! Where the code stands, and the migrations in it.

use crate::domain::event::GitState;
use crate::domain::failure::Failure;
use crate::domain::migration::{MigrationSet, NewName};
use async_trait::async_trait;
use std::path::PathBuf;

/// The project's repository.
#[async_trait(?Send)]
pub trait Source {
    /// Where the code stands; `None` outside a repository.
    async fn state(&self) -> Result<Option<GitState>, Failure>;
}

/// The project's migrations folder.
pub trait Migrations {
    /// The folder as it is now.
    ///
    /// # Errors
    /// A [`Failure`] that names the file and the place in it.
    fn read(&self) -> Result<MigrationSet, Failure>;

    /// The table that keeps track of them, as SQL, where it is not the usual one of their tool.
    ///
    /// # Errors
    /// A [`Failure`] if that cannot be told.
    fn table(&self) -> Result<Option<String>, Failure>;

    /// Makes the files of a new, empty migration as the tool that owns the folder would; the paths, the migration's own first. A folder
    /// that is not there is made.
    ///
    /// # Errors
    /// A [`Failure`] if the folder cannot be read, or a file is there already or cannot be written.
    fn make(&self, name: NewName<'_>) -> Result<Vec<PathBuf>, Failure>;
}
