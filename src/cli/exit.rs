//! The status dbd ends with. A promise: scripts branch on these numbers.

use crate::domain::code::Code;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Done as asked. Since 0.1.0.
    Ok = 0,
    /// An unexpected error; nothing is known to be wrong with the target. Since 0.1.0.
    Failed = 1,
    /// A bad flag, a bad or missing configuration, an unknown environment or run. Since 0.1.0.
    Usage = 2,
    /// Stopped before the target was touched: preflight, rehearsal, tests, a breaking change, no approval. Since 0.1.0.
    Refused = 3,
    /// The deployment failed and the target is back at its checkpoint, proven by fingerprint. Since 0.1.0.
    RolledBack = 4,
    /// Halted with the target possibly changed; the output says what is known and what to decide. Since 0.1.0.
    NeedsOperator = 5,
    /// A comparison or a check found something. Since 0.1.0.
    Differences = 6,
    /// Another run holds this target. Since 0.1.0.
    Busy = 7,
    /// The journal could not be written or cannot be trusted; no effect was started. Since 0.1.0.
    Journal = 74,
    /// Interrupted; `dbd resume <id>` continues. Since 0.1.0.
    Resumable = 75,
}

impl ExitCode {
    /// Every status, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Refused,
        Self::RolledBack,
        Self::NeedsOperator,
        Self::Differences,
        Self::Busy,
        Self::Journal,
        Self::Resumable,
    ];

    /// The number the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name the documentation uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::RolledBack => "rolled back",
            Self::NeedsOperator => "needs operator",
            Self::Differences => "differences",
            Self::Busy => "busy",
            Self::Journal => "journal",
            Self::Resumable => "resumable",
        }
    }

    /// The status of a command that ends with a failure of this code and knows nothing more.
    ///
    /// A run knows more: the same failed statement refuses it in the rehearsal and takes it back on the target. There the run's outcome
    /// decides, not its failure. Without a run, a code of 04xx is taken to come from a rehearsal, as nothing else runs
    /// statements, and one of 05xx or 06xx to be about a target that may have changed.
    #[must_use]
    pub const fn of(code: Code) -> Self {
        match code {
            Code::FileUnreadable
            | Code::FileUnwritable
            | Code::QueryFailed
            | Code::DumpFailed
            | Code::DumpDamaged
            | Code::CannotCompare
            | Code::BundleFiles
            | Code::BadSignature
            | Code::StrangeKey
            | Code::EventsChanged
            | Code::RootDiffers
            | Code::HistoryRewritten
            | Code::WindowDiffers
            | Code::ReportDiffers
            | Code::LedgerDiffers
            | Code::Bug => Self::Failed,

            Code::BadConfig
            | Code::UnknownKey
            | Code::BadValue
            | Code::UnknownEnvironment
            | Code::NoDatabaseUrl
            | Code::BadDatabaseUrl
            | Code::NoMigrations
            | Code::UnknownRun
            | Code::BadArgument
            | Code::SecretInFile
            | Code::AlreadyThere
            | Code::NoBundle
            | Code::AuditKeyUnusable
            | Code::UnknownCode
            | Code::NotAwaiting
            | Code::AlreadySettled => Self::Usage,

            Code::ConfirmationNeeded
            | Code::CannotCapture
            | Code::CannotConnect
            | Code::WrongPassword
            | Code::NoSuchDatabase
            | Code::ServerTooOld
            | Code::MissingPrivilege
            | Code::ToolsMissing
            | Code::ToolsTooOld
            | Code::DiskFull
            | Code::ForeignLockHeld
            | Code::SessionsInTheWay
            | Code::FailedMigration
            | Code::ForeignTracking
            | Code::NotProven
            | Code::PoolerInTheWay
            | Code::Drifted
            | Code::TlsFailed
            | Code::ReadOnlyTarget
            | Code::DirtyTree
            | Code::UnreadableMigration
            | Code::SyntaxError
            | Code::DuplicateMigration
            | Code::ChangedAfterApply
            | Code::MissingMigration
            | Code::OutOfOrder
            | Code::OrphanFile
            | Code::EmptyMigration
            | Code::UnsupportedFormat
            | Code::TransactionControl
            | Code::ChangedSincePlan
            | Code::BadMigrationJournal
            | Code::RestoreFailed
            | Code::SandboxFailed
            | Code::CopyDiffers
            | Code::NoOrdinaryUser
            | Code::StatementFailed
            | Code::LockTimeout
            | Code::MigrationTimeout
            | Code::TestsFailed
            | Code::PreviousTestsFailed
            | Code::BreakingChange
            | Code::TargetChanged
            | Code::CommandFailed
            | Code::CommandTimeout
            | Code::NothingToRollBack
            | Code::WouldLoseRows
            | Code::Rejected
            | Code::Cancelled => Self::Refused,

            Code::SchemaDiffers
            | Code::VerifyFailed
            | Code::HealthFailed
            | Code::NotRestored
            | Code::WayBlocked
            | Code::InDoubt
            | Code::TooManyTakeovers => Self::NeedsOperator,

            Code::TargetBusy | Code::Busy | Code::LostOwnership => Self::Busy,

            Code::IllegalHistory
            | Code::JournalUnusable
            | Code::JournalBroken
            | Code::JournalLostTail
            | Code::JournalOnNetwork
            | Code::JournalNewer => Self::Journal,

            Code::ConnectionLost => Self::Resumable,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_were_promised() {
        let numbers: Vec<_> = ExitCode::ALL.iter().map(|code| (code.number(), code.name())).collect();
        let promised = [
            (0, "ok"),
            (1, "failed"),
            (2, "usage"),
            (3, "refused"),
            (4, "rolled back"),
            (5, "needs operator"),
            (6, "differences"),
            (7, "busy"),
            (74, "journal"),
            (75, "resumable"),
        ];
        assert_eq!(numbers, promised);
    }

    #[test]
    fn no_failure_ends_as_done_or_as_taken_back() {
        for code in Code::ALL {
            let exit = ExitCode::of(*code);
            assert!(!matches!(exit, ExitCode::Ok | ExitCode::RolledBack | ExitCode::Differences), "{code}");
            assert!(ExitCode::ALL.contains(&exit));
        }
    }

    #[test]
    fn families_of_codes_end_alike() {
        for code in Code::ALL {
            let exit = ExitCode::of(*code);
            match &code.as_str()[4..6] {
                "02" => assert_eq!(exit, ExitCode::Refused, "{code}"),
                "08" => assert_eq!(exit, ExitCode::Journal, "{code}"),
                _ => {}
            }
        }
        assert_eq!(ExitCode::of(Code::UnknownEnvironment), ExitCode::Usage);
        assert_eq!(ExitCode::of(Code::TargetBusy), ExitCode::Busy);
        assert_eq!(ExitCode::of(Code::ConnectionLost), ExitCode::Resumable);
    }
}
