//! Where the code stands, and the migrations in it.

use crate::domain::event::GitState;
use crate::domain::failure::Failure;
use crate::domain::migration::MigrationSet;
use async_trait::async_trait;

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
}
