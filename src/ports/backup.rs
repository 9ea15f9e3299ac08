//! Dumps: taking, checking and restoring them.

use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::ids::EffectId;
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use std::path::{Path, PathBuf};

/// A dump to be taken.
#[derive(Clone, Debug)]
pub struct DumpOrder {
    /// The database.
    pub url: ConnectionUrl,
    /// The exported snapshot it is taken at.
    pub snapshot: Option<String>,
    /// The server's major version, which the programs must not be older than.
    pub server_major: u32,
    /// The finished file.
    pub path: PathBuf,
    /// The effect it belongs to.
    pub effect: EffectId,
    /// The size of the database in bytes, for the progress.
    pub expected_bytes: u64,
}

/// A finished dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// The digest of the file.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
}

/// A restore of a dump into an empty database.
#[derive(Clone, Debug)]
pub struct FillOrder {
    /// The dump.
    pub dump: PathBuf,
    /// The empty database.
    pub url: ConnectionUrl,
    /// The major version of its server.
    pub server_major: u32,
    /// The major version of the server the dump is of.
    pub target_major: u32,
    /// Every role the dump may name.
    pub roles: Vec<String>,
    /// Whether roles that are missing may be made: not on a server that is not ours.
    pub may_create_roles: bool,
    /// Whether the target has no schema `public`.
    pub drop_public: bool,
    /// Whether the rows are left out.
    pub schema_only: bool,
    /// The part that is restored; everything without one.
    pub section: Option<Section>,
    /// Whether foreign keys are left out, with their comments.
    pub without_foreign_keys: bool,
    /// The effect it belongs to.
    pub effect: EffectId,
}

/// A part of a dump that is restored by itself, so that rows may come from elsewhere in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Tables and what they need.
    PreData,
    /// Indexes, constraints, triggers and whatever else comes after the rows.
    PostData,
}

/// How a copy came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Whether owners and privileges are those of the target.
    pub roles_kept: bool,
    /// What is not as in the target, in sentences.
    pub notes: Vec<String>,
}

/// A restore of a dump over the database it came from.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The database.
    pub url: ConnectionUrl,
    /// The server's major version.
    pub server_major: u32,
    /// The dump.
    pub dump: PathBuf,
    /// Its digest, which is checked first.
    pub digest: Digest,
    /// SQL that runs first, in the same transaction.
    pub prologue: String,
    /// SQL that runs last, in the same transaction.
    pub epilogue: String,
    /// The effect it belongs to.
    pub effect: EffectId,
    /// Schemas that are not dropped first, so that the dump must not make them.
    pub keep_schemas: Vec<String>,
    /// How long one try for a lock waits, in milliseconds.
    pub lock_timeout_ms: u64,
}

/// How far something has come.
pub type Progress<'a> = &'a dyn Fn(u64, Option<u64>);

/// Dumps.
#[async_trait(?Send)]
pub trait Backups {
    /// Which programs would be used against a server of `server_major`, for people: `pg_dump 15.18 in /usr/lib/postgresql/15/bin`.
    ///
    /// # Errors
    /// [`ToolsMissing`](crate::domain::code::Code::ToolsMissing) or [`ToolsTooOld`](crate::domain::code::Code::ToolsTooOld).
    async fn programs(&self, server_major: u32) -> Result<String, Failure>;

    /// Takes a dump: to a partial name, read back whole, digested, made durable, renamed.
    async fn dump(&self, order: &DumpOrder, progress: Progress<'_>) -> Result<Dumped, Failure>;

    /// Ends whatever an earlier process had started for `effect`.
    async fn fence(&self, effect: &EffectId) -> Result<Fenced, Failure>;

    /// The finished dump of the fenced effect, if there is one and its digest holds.
    async fn finished(&self, fenced: &Fenced, path: &Path) -> Result<Option<Dumped>, Failure>;

    /// Reads the dump whole and compares its digest.
    ///
    /// # Errors
    /// [`DumpDamaged`](crate::domain::code::Code::DumpDamaged).
    async fn verify(&self, path: &Path, digest: &Digest) -> Result<(), Failure>;

    /// Restores a dump into an empty database. The progress counts tables.
    async fn fill(&self, order: &FillOrder, progress: Progress<'_>) -> Result<Filled, Failure>;

    /// Restores the dump over the database it came from, in one transaction.
    ///
    /// # Errors
    /// Transient when a lock was not to be had in time; in doubt when the connection was lost.
    async fn restore(&self, order: &RestoreOrder) -> Result<(), Failure>;
}
