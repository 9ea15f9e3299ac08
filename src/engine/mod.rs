//! The only loop: what is next, record the intent, do it, record the outcome.
//!
//! ```text
//!  next(run) ──► Perform(effect) ── append step.intended ──► port ──► append step.succeeded | step.failed
//!      ▲                                                      │ (killed, or in doubt: nothing is appended)
//!      │                                                      ▼
//!      ├────── Reconcile ──► fence ── append step.fenced ──► probe ── append step.reconciled
//!      ├────── Record(decision) ── append
//!      └────── AwaitApproval | Halted | Settled ──► the loop ends
//! ```
//!
//! Nothing leaves before its intent is durable; if the journal cannot be written, the effect does not start. An event that the fold
//! would refuse is never appended.

pub mod anchors;
pub mod capture;
pub mod fill;
mod foretell;
mod gone;
pub mod keep;
pub mod observe;
mod perform;
mod piecemeal;
mod preflight;
mod reconcile;
mod rehearse;
mod reverse;
pub mod runner;
mod soften;
pub mod stop;
pub mod watch;
pub mod window;

use crate::domain::connection::ConnectionUrl;
use crate::domain::secret::Secret;
use crate::ports::backup::Backups;
use crate::ports::capture::Captures;
use crate::ports::clock::Clock;
use crate::ports::command::Commands;
use crate::ports::database::Database;
use crate::ports::files::Files;
use crate::ports::health::Health;
use crate::ports::sandbox::Sandboxes;
use crate::ports::source::{Migrations, Source};

/// Everything outside, for one run.
pub struct World {
    /// PostgreSQL.
    pub database: Box<dyn Database>,
    /// Dumps.
    pub backups: Box<dyn Backups>,
    /// Writes captured, and ways back that keep them.
    pub captures: Box<dyn Captures>,
    /// Throw-away copies.
    pub sandboxes: Box<dyn Sandboxes>,
    /// The user's commands.
    pub commands: Box<dyn Commands>,
    /// The application.
    pub health: Box<dyn Health>,
    /// The repository.
    pub source: Box<dyn Source>,
    /// The migrations folder.
    pub migrations: Box<dyn Migrations>,
    /// The run's own folder.
    pub files: Box<dyn Files>,
    /// Time.
    pub clock: Box<dyn Clock>,
    /// The target.
    pub target: ConnectionUrl,
    /// A comparison as it is written beside the run.
    pub comparison_json: fn(&crate::domain::schema::comparison::Comparison) -> serde_json::Value,
    /// The hazards that the configuration lets pass everywhere, and why.
    pub waivers: Option<crate::domain::finding::Allowance>,
    /// The application's address, handed to the user's commands.
    pub app_url: Option<Secret>,
    /// The address that is asked whether the application is healthy.
    pub health_url: Option<Secret>,
    /// The host this process runs on.
    pub host: String,
    /// This process.
    pub pid: u32,
}
