//! The user's own commands.

use crate::domain::connection::ConnectionUrl;
use crate::domain::event::CommandReport;
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::secret::Secret;
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use std::path::PathBuf;

/// A command to be run.
#[derive(Clone, Debug)]
pub struct CommandOrder {
    /// The text handed to `sh -c` in the project's root.
    pub command: String,
    /// Milliseconds; then its process group is ended.
    pub timeout_ms: u64,
    /// The database it is to work on: `DATABASE_URL`.
    pub database_url: ConnectionUrl,
    /// The application: `APP_URL`.
    pub app_url: Option<Secret>,
    /// The run: `DBD_RUN_ID`.
    pub run: RunId,
    /// What it is, in messages: `the tests`.
    pub label: &'static str,
    /// The file its output goes to.
    pub output: PathBuf,
    /// The name of that file within the run's folder.
    pub output_name: String,
    /// The effect it belongs to.
    pub effect: EffectId,
    /// What its sessions are to be called, where its tool goes by `PGAPPNAME`.
    pub application_name: Option<String>,
}

/// A command that ran.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it came out.
    pub report: CommandReport,
    /// The last lines of its output.
    pub tail: Vec<String>,
}

/// The user's own commands.
#[async_trait(?Send)]
pub trait Commands {
    /// Runs it to its end.
    ///
    /// # Errors
    /// [`CommandTimeout`](crate::domain::code::Code::CommandTimeout) or [`CommandFailed`](crate::domain::code::Code::CommandFailed) when it could not be
    /// run; a status other than 0 is no error here.
    async fn run(&self, order: &CommandOrder) -> Result<Ran, Failure>;

    /// Ends whatever an earlier process had started for `effect`.
    async fn fence(&self, effect: &EffectId) -> Result<Fenced, Failure>;
}
