//! [`Source`](crate::ports::source::Source) by git.

use crate::domain::event::GitState;
use crate::domain::failure::Failure;
use crate::ports::source::Source;
use async_trait::async_trait;
use std::path::PathBuf;

/// The working tree a project lies in.
#[derive(Clone, Debug)]
pub struct GitTree {
    /// The project's root.
    pub root: PathBuf,
}

#[async_trait(?Send)]
impl Source for GitTree {
    async fn state(&self) -> Result<Option<GitState>, Failure> {
        // A tree without a commit has nothing to record either.
        Ok(super::state(&self.root).await.and_then(|state| {
            state.commit.map(|commit| GitState {
                commit,
                branch: state.branch,
                dirty: state.dirty,
                dirty_files: state.dirty_files,
                author: state.author,
            })
        }))
    }
}
