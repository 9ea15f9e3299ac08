//! What a run does to the world, and the three questions each effect answers: what if it runs twice, how do we find out whether
//! it ran, how is it taken back.

use serde::{Deserialize, Serialize};

/// Why a dump is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DumpPurpose {
    /// Before anything else: the backup, and what the sandbox is filled from.
    Checkpoint,
    /// Again, because the run waited for a decision and the first one has grown old.
    Refresh,
    /// Before a restore that would forget rows written since the checkpoint, so that nobody's rows are gone.
    BeforeRollback,
}

/// One thing a run does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Effect {
    /// Look at everything a deployment needs, and freeze the migrations it is about.
    ///
    /// Twice: looks twice. In doubt: looked or not, nothing changed; look again. Undo: nothing to undo.
    Preflight,
    /// Take a restorable copy of the target at one snapshot.
    ///
    /// Twice: a finished dump of this effect is found and kept. In doubt: end the dumping process, then look for the final name
    /// and check the digest beside it. Undo: none; dumps are swept when their retention ends.
    Dump {
        /// What it is for.
        purpose: DumpPurpose,
    },
    /// Make an empty throw-away database.
    ///
    /// Twice: the one before is removed first. In doubt: end what may still be at work and remove it; it is made anew. Undo:
    /// [`Effect::DropSandbox`].
    CreateSandbox,
    /// Restore the dump into the sandbox and compare it with the snapshot the dump was taken at.
    ///
    /// Twice: never into the same sandbox. In doubt: the sandbox is removed and made anew. Undo: [`Effect::DropSandbox`].
    FillSandbox,
    /// Apply the pending migrations to the sandbox and watch what they do.
    ///
    /// Twice: never in the same sandbox. In doubt: the sandbox is removed and made anew. Undo: [`Effect::DropSandbox`].
    Rehearse,
    /// Run the user's tests against the migrated sandbox.
    ///
    /// Twice: never in the same sandbox. In doubt: end its process group; the sandbox is removed and made anew. Undo:
    /// [`Effect::DropSandbox`].
    RunTests,
    /// Remove the sandbox.
    ///
    /// Twice: removing what is gone is no error. In doubt: remove it again. Undo: none.
    DropSandbox,
    /// Have every write to the target noted from now on, so that a rollback forgets none.
    ///
    /// Only of plans whose way back is the swap. Twice: what is there already is kept. In doubt: end its sessions and do it again. Undo:
    /// [`Effect::EndCapture`].
    StartCapture,
    /// Restore the dump taken under the capture into a database beside the target, the shadow, and prove that it is what the target was.
    ///
    /// Twice: the shadow before is removed first. In doubt: end its processes and sessions; it is made anew. Undo:
    /// [`Effect::EndCapture`].
    RaiseShadow,
    /// Remove what notes the writes, and the shadow.
    ///
    /// Twice: removing what is gone is no error. In doubt: remove it again. Undo: none; without it the way back is the backup.
    EndCapture,
    /// Make sure the target is still as planned, install dbd's bookkeeping there and take the lease.
    ///
    /// Twice: every statement in it is conditional. In doubt: end its sessions and do it again. Undo: none; the `dbd` schema and an
    /// empty tracking table stay and are no part of any fingerprint.
    PrepareTarget,
    /// Run one step of the plan on the target.
    ///
    /// Twice: the ledger's primary key refuses it. In doubt: end its sessions, wait until they are gone, then read the ledger; a
    /// statement outside a transaction is looked up in the catalog, a command in schema and rows. Undo: the plan's [`Undo`](super::plan::UndoClass) of the step.
    Migrate {
        /// The step's place in the plan, from 0.
        step: usize,
    },
    /// Compare the target's schema fingerprint with the rehearsed one.
    ///
    /// Twice: looks twice. In doubt: look again. Undo: nothing to undo.
    CheckSchema,
    /// Run the user's verification command against the target.
    ///
    /// Twice: by contract it only looks, so it may; one that is said to change something (`repeatable = false`) never does by itself. In
    /// doubt: end its process group and run it again, or, if it must not be, ask a person. Undo: nothing to undo.
    RunVerify,
    /// Ask the application whether it is healthy.
    ///
    /// Twice: asks twice. In doubt: ask again. Undo: nothing to undo.
    CheckHealth,
    /// Replay what was written since into the shadow, and say whether the way back still loses nothing.
    ///
    /// Twice: what was replayed is not replayed again; how far it came stands in the shadow. In doubt: end its sessions and do it again.
    /// Undo: nothing to undo.
    CheckWay,
    /// Take one committed step back in place, in one transaction.
    ///
    /// Twice: the ledger's primary key refuses it. In doubt: end its sessions, wait until they are gone, then read the ledger. Undo: none;
    /// what it took away is kept in `dbd_keep`.
    UndoStep {
        /// The step's place in the plan, from 0.
        step: usize,
    },
    /// As [`Effect::CheckWay`], on the way back: what cannot be replayed ends the swap before it began.
    CatchUp,
    /// Keep everybody off the target for a moment, replay the rest, and let target and shadow change names.
    ///
    /// Twice: what is swapped is not swapped again. In doubt: end its sessions; the names and settings of the databases tell how far it
    /// came. Undo: none; the deployed database is kept under another name.
    Swap,
    /// Count what a restore of the backup would forget: rows of others, and whether others changed the schema.
    ///
    /// Twice: counts twice. In doubt: count again. Undo: nothing to undo.
    AssessLoss,
    /// Put the target back to the backup, in one transaction that also proves the row counts.
    ///
    /// Twice: the ledger's primary key refuses it. In doubt: end its process and its sessions, wait until they are gone, then read the
    /// ledger. Undo: none; what it replaced was dumped before.
    Restore,
    /// Compare the target's schema fingerprint with the checkpoint's.
    ///
    /// Twice: looks twice. In doubt: look again. Undo: nothing to undo.
    CheckRestored,
}

/// How an effect whose outcome was never recorded is brought to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It only looks, or may be done again as it is: after the fence, the verdict is "not applied".
    Repeat,
    /// It worked in a sandbox: the fence removes the sandbox, the verdict is "not applied", and the run makes a new one.
    Discard,
    /// The dump's final file and the digest beside it tell.
    ProbeDump,
    /// The ledger in the target tells; for a statement outside a transaction, the catalog.
    ProbeLedger,
    /// The names of the databases tell.
    ProbeSwap,
}

impl Effect {
    /// The effect's name within its run: unique, stable, readable.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Effect::Preflight => "preflight".to_owned(),
            Effect::Dump { purpose: DumpPurpose::Checkpoint } => "dump".to_owned(),
            Effect::Dump { purpose: DumpPurpose::Refresh } => "dump again".to_owned(),
            Effect::Dump { purpose: DumpPurpose::BeforeRollback } => "dump before rollback".to_owned(),
            Effect::CreateSandbox => "create sandbox".to_owned(),
            Effect::FillSandbox => "fill sandbox".to_owned(),
            Effect::Rehearse => "rehearse".to_owned(),
            Effect::RunTests => "run tests".to_owned(),
            Effect::DropSandbox => "drop sandbox".to_owned(),
            Effect::StartCapture => "start capture".to_owned(),
            Effect::RaiseShadow => "raise shadow".to_owned(),
            Effect::EndCapture => "end capture".to_owned(),
            Effect::PrepareTarget => "prepare target".to_owned(),
            Effect::Migrate { step } => format!("migrate {}", step.saturating_add(1)),
            Effect::CheckSchema => "check schema".to_owned(),
            Effect::RunVerify => "run verify".to_owned(),
            Effect::CheckHealth => "check health".to_owned(),
            Effect::CheckWay => "check way back".to_owned(),
            Effect::UndoStep { step } => format!("take back {}", step.saturating_add(1)),
            Effect::CatchUp => "catch up".to_owned(),
            Effect::Swap => "swap".to_owned(),
            Effect::AssessLoss => "assess loss".to_owned(),
            Effect::Restore => "restore".to_owned(),
            Effect::CheckRestored => "check restored".to_owned(),
        }
    }

    /// How it is brought to a verdict when its outcome is missing.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        match self {
            Effect::Preflight
            | Effect::DropSandbox
            | Effect::StartCapture
            | Effect::RaiseShadow
            | Effect::EndCapture
            | Effect::PrepareTarget
            | Effect::CheckWay
            | Effect::CatchUp
            | Effect::CheckSchema
            | Effect::RunVerify
            | Effect::CheckHealth
            | Effect::AssessLoss
            | Effect::CheckRestored => Recovery::Repeat,
            Effect::CreateSandbox | Effect::FillSandbox | Effect::Rehearse | Effect::RunTests => Recovery::Discard,
            Effect::Dump { .. } => Recovery::ProbeDump,
            Effect::Migrate { .. } | Effect::UndoStep { .. } | Effect::Restore => Recovery::ProbeLedger,
            Effect::Swap => Recovery::ProbeSwap,
        }
    }

    /// Whether it only tidies up or looks ahead: that it fails is said and stops nothing.
    #[must_use]
    pub fn may_fail(&self) -> bool {
        matches!(self, Effect::DropSandbox | Effect::EndCapture | Effect::CheckWay)
    }

    /// Whether it changes the target (its own bookkeeping apart).
    #[must_use]
    pub fn changes_target(&self) -> bool {
        matches!(self, Effect::Migrate { .. } | Effect::UndoStep { .. } | Effect::Restore | Effect::Swap)
    }

    /// The phase of a deployment it belongs to, in the words of reports and logs.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Effect::Preflight => Phase::Preflight,
            Effect::Dump { purpose: DumpPurpose::BeforeRollback } => Phase::Rollback,
            Effect::Dump { .. } | Effect::StartCapture | Effect::RaiseShadow | Effect::EndCapture => Phase::Backup,
            Effect::CreateSandbox | Effect::FillSandbox | Effect::Rehearse | Effect::RunTests | Effect::DropSandbox => {
                Phase::SandboxValidation
            }
            Effect::PrepareTarget | Effect::Migrate { .. } => Phase::Deployment,
            Effect::CheckSchema | Effect::RunVerify | Effect::CheckHealth | Effect::CheckWay => {
                Phase::PostDeployValidation
            }
            Effect::AssessLoss
            | Effect::UndoStep { .. }
            | Effect::CatchUp
            | Effect::Swap
            | Effect::Restore
            | Effect::CheckRestored => Phase::Rollback,
        }
    }
}

/// A phase of a deployment, as reports and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// The environment is looked at.
    Preflight,
    /// The target is dumped.
    Backup,
    /// The migrations are rehearsed, tested and judged.
    SandboxValidation,
    /// The migrations are applied to the target.
    Deployment,
    /// The target is checked.
    PostDeployValidation,
    /// The target is taken back.
    Rollback,
}

impl Phase {
    /// Lower case with `_`, as the JSON of a run names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Preflight => "preflight",
            Phase::Backup => "backup",
            Phase::SandboxValidation => "sandbox_validation",
            Phase::Deployment => "deployment",
            Phase::PostDeployValidation => "post_deploy_validation",
            Phase::Rollback => "rollback",
        }
    }

    /// Upper case with `_`, as the log names it.
    #[must_use]
    pub fn label(self) -> String {
        self.name().to_ascii_uppercase()
    }
}
