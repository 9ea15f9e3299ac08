//! The codes of everything dbd can complain about; each has a page under `docs/errors/`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        /// A code: one kind of failure, for people to look up and for programs to match.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* #[doc = $title] $name,)* }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The printed form, `DBD-0101`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// The page `dbd explain` shows.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self { $(Code::$name => include_str!(concat!("../../docs/errors/", $code, ".md")),)* }
            }
        }
    };
}

codes! {
    // 00xx: how dbd was called, and its configuration
    BadConfig = "DBD-0001", "the configuration cannot be read";
    UnknownKey = "DBD-0002", "an unknown key in the configuration";
    BadValue = "DBD-0003", "a value out of range in the configuration";
    UnknownEnvironment = "DBD-0004", "no such environment";
    NoDatabaseUrl = "DBD-0005", "no database URL for the environment";
    BadDatabaseUrl = "DBD-0006", "the database URL cannot be read";
    NoMigrations = "DBD-0007", "no folder of migrations was found";
    UnknownRun = "DBD-0008", "no such run";
    BadArgument = "DBD-0009", "an argument is not valid";
    SecretInFile = "DBD-0010", "a secret is written in the configuration file";
    AlreadyThere = "DBD-0011", "the file exists already";
    UnknownCode = "DBD-0012", "no such code";
    FileUnreadable = "DBD-0013", "a file or folder cannot be read";
    FileUnwritable = "DBD-0014", "a file or folder cannot be written";
    ConfirmationNeeded = "DBD-0015", "a person has to confirm this";
    // 01xx: preflight
    CannotConnect = "DBD-0101", "the server cannot be reached";
    WrongPassword = "DBD-0102", "the server refused the user or the password";
    NoSuchDatabase = "DBD-0103", "the database does not exist";
    ServerTooOld = "DBD-0104", "the server's version is not supported";
    MissingPrivilege = "DBD-0105", "the role lacks a privilege";
    ToolsMissing = "DBD-0106", "PostgreSQL's programs were not found";
    ToolsTooOld = "DBD-0107", "PostgreSQL's programs are older than the server";
    DiskFull = "DBD-0108", "not enough disk room";
    TargetBusy = "DBD-0109", "another run holds this target";
    ForeignLockHeld = "DBD-0110", "another tool's migration lock is held";
    PoolerInTheWay = "DBD-0111", "the URL leads through a pooler in transaction mode";
    Drifted = "DBD-0112", "the target changed since the last run";
    TlsFailed = "DBD-0113", "the encrypted connection could not be made";
    ReadOnlyTarget = "DBD-0114", "the target takes no writes";
    DirtyTree = "DBD-0115", "the working tree has uncommitted changes";
    QueryFailed = "DBD-0116", "a query of the catalog failed";
    SessionsInTheWay = "DBD-0117", "sessions stand in the way of locks";
    // 02xx: migrations
    UnreadableMigration = "DBD-0201", "a migration cannot be read";
    SyntaxError = "DBD-0202", "a migration does not parse";
    DuplicateMigration = "DBD-0203", "two migrations have the same name or number";
    ChangedAfterApply = "DBD-0204", "a migration was changed after it was applied";
    MissingMigration = "DBD-0205", "an applied migration is missing from the folder";
    OutOfOrder = "DBD-0206", "a pending migration comes before an applied one";
    OrphanFile = "DBD-0207", "a file in the folder is not part of the set";
    UnsupportedFormat = "DBD-0208", "the migration format is not supported";
    TransactionControl = "DBD-0209", "a migration steers its own transaction in a way that cannot be resumed";
    ChangedSincePlan = "DBD-0210", "a migration changed since the plan was made";
    BadMigrationJournal = "DBD-0211", "the migration tool's own journal is not valid";
    EmptyMigration = "DBD-0212", "a migration holds no statement";
    FailedMigration = "DBD-0213", "a migration failed half-way under the tool that owns the folder";
    ForeignTracking = "DBD-0214", "another tool keeps track of migrations here";
    NotProven = "DBD-0215", "the folder does not make the schema the target has";
    // 03xx: dump and sandbox
    DumpFailed = "DBD-0301", "the dump failed";
    DumpDamaged = "DBD-0302", "the dump is damaged";
    RestoreFailed = "DBD-0303", "the dump could not be restored";
    SandboxFailed = "DBD-0304", "the sandbox could not be made";
    CopyDiffers = "DBD-0305", "the copy differs from the target";
    NoOrdinaryUser = "DBD-0306", "no ordinary user to run the scratch server";
    // 04xx: rehearsal, tests, judgement, deployment
    StatementFailed = "DBD-0401", "a statement failed";
    LockTimeout = "DBD-0402", "a lock was not to be had in time";
    MigrationTimeout = "DBD-0403", "the migration took longer than allowed";
    TestsFailed = "DBD-0404", "the tests failed";
    BreakingChange = "DBD-0405", "a finding refuses the run";
    TargetChanged = "DBD-0406", "the target changed since the plan was made";
    LostOwnership = "DBD-0407", "another process took this run over";
    ConnectionLost = "DBD-0408", "the connection was lost";
    CommandFailed = "DBD-0409", "a command could not be run";
    CommandTimeout = "DBD-0410", "a command ran longer than allowed";
    PreviousTestsFailed = "DBD-0420", "the running application's tests failed";
    // 05xx: verification
    SchemaDiffers = "DBD-0501", "the target's schema is not the rehearsed one";
    VerifyFailed = "DBD-0502", "the verification command failed";
    HealthFailed = "DBD-0503", "the application is not healthy";
    // 06xx: rollback
    NotRestored = "DBD-0601", "the target is not back at its checkpoint";
    NothingToRollBack = "DBD-0602", "this run cannot be rolled back";
    WouldLoseRows = "DBD-0603", "rolling back would lose rows";
    CannotCapture = "DBD-0604", "writes cannot be captured";
    WayBlocked = "DBD-0605", "the way back would lose what was written";
    // 07xx: runs
    Busy = "DBD-0701", "the run is being worked on by another process";
    NotAwaiting = "DBD-0702", "the run is not waiting for a decision";
    AlreadySettled = "DBD-0703", "the run is settled";
    Rejected = "DBD-0704", "the run was rejected";
    Cancelled = "DBD-0705", "the run was cancelled";
    InDoubt = "DBD-0706", "it is not known whether an effect happened";
    TooManyTakeovers = "DBD-0707", "the run was taken over too often without progress";
    IllegalHistory = "DBD-0708", "the run's history is not legal";
    // 08xx: journal
    JournalUnusable = "DBD-0801", "the journal cannot be opened or written";
    JournalBroken = "DBD-0802", "the journal's chain is broken";
    JournalLostTail = "DBD-0803", "the journal lost events it once held";
    JournalOnNetwork = "DBD-0804", "the journal is on a network file system";
    JournalNewer = "DBD-0805", "the journal was written by a newer dbd";
    // 09xx: comparison
    CannotCompare = "DBD-0901", "a side of the comparison cannot be read";
    // 10xx: evidence for auditors
    NoBundle = "DBD-1001", "this is no evidence bundle";
    AuditKeyUnusable = "DBD-1002", "the audit key cannot be used";
    BundleFiles = "DBD-1003", "a file of the bundle is missing, unknown or changed";
    BadSignature = "DBD-1004", "a signature does not verify";
    StrangeKey = "DBD-1005", "the bundle is signed by another key";
    EventsChanged = "DBD-1006", "an event was changed, moved, taken out or put in";
    RootDiffers = "DBD-1007", "the events do not give the signed root";
    HistoryRewritten = "DBD-1008", "the journal does not continue an earlier checkpoint";
    WindowDiffers = "DBD-1009", "the bundle does not hold the window it names";
    ReportDiffers = "DBD-1010", "the report is not what the events say";
    LedgerDiffers = "DBD-1011", "the journal and a target's ledger differ";
    // 99xx
    Bug = "DBD-9999", "a bug in dbd";
}

impl Code {
    /// Finds a code by its printed form, in any case, with or without `DBD-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_uppercase();
        Self::ALL.iter().copied().find(|code| code.as_str() == text || code.as_str()[4..] == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("no such code: {text}")))
    }
}
