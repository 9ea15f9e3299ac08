//! The gaps between two steps of the protocol, each with a name, and the drill that kills the process in one of them.
//!
//! A process can be killed anywhere; where it matters is between two things that change something: an append and an effect, a file
//! and its name, a statement and its commit. Each such gap calls [`passed`]. In a drill (`DBD_CRASH_AT`) the process kills itself in the
//! gap with that number, as `kill -9` would; otherwise nothing happens. The code is always there, so that what is drilled is what is
//! shipped (`docs/decisions/0016-crash-drill.md`); the crash tests enumerate what a run passes and kill in each place.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! boundaries {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// One gap.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Boundary { $($(#[doc = $doc])* $name,)* }

        impl Boundary {
            /// Every gap there is.
            pub const ALL: &'static [Boundary] = &[$(Boundary::$name,)*];

            /// Its name, as `DBD_CRASH_LOG` and `docs/crash-testing.md` have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Boundary::$name => $text,)* }
            }
        }
    };
}

boundaries! {
    /// An event is about to be appended: of an outcome, the effect is over and nothing tells.
    BeforeAppend = "before append";
    /// An event was appended: of an intent, the effect has not begun.
    AfterAppend = "after append";
    /// The journal handed out an epoch, and the take-over is not recorded.
    EpochTaken = "epoch taken";
    /// A file of the run is written and durable under a temporary name.
    FileTemporary = "file temporary";
    /// A file of the run has its name.
    FileNamed = "file named";
    /// A dump is written whole, under its temporary name; the one before it is still there.
    DumpWritten = "dump written";
    /// The dump's description is there, and the dump has not its name.
    DumpDescribed = "dump described";
    /// The dump has its name.
    DumpNamed = "dump named";
    /// A child is recorded and not started.
    ChildRecorded = "child recorded";
    /// A child is at work.
    ChildStarted = "child started";
    /// A child and its group are gone; how it ended is known to nobody else.
    ChildEnded = "child ended";
    /// The folder of a scratch server is there.
    SandboxFolder = "sandbox folder";
    /// A scratch server takes connections.
    SandboxStarted = "sandbox started";
    /// The sandbox's database is there, and on a shared server nothing says whose it is.
    SandboxCreated = "sandbox created";
    /// The sandbox is gone.
    SandboxRemoved = "sandbox removed";
    /// Within the transaction that installs the ledger, before its commit.
    PrepareOpen = "prepare open";
    /// The ledger and the lease are in the target.
    Prepared = "prepared";
    /// The lease in the target is this process's.
    LeaseWritten = "lease written";
    /// The session of a step is there and marked.
    SessionMarked = "session marked";
    /// Within a step's transaction: its ledger row is written.
    RowWritten = "ledger row written";
    /// A statement of the user's ran.
    StatementRan = "statement ran";
    /// Within a step's transaction: all is said but the commit.
    BeforeCommit = "before commit";
    /// A step is committed.
    AfterCommit = "after commit";
    /// The row that a statement outside a transaction was started is committed.
    AloneStarted = "alone started";
    /// A statement outside a transaction is done, and its row does not say so.
    AloneDone = "alone done";
    /// The sessions of an effect in doubt are gone.
    SessionsEnded = "sessions ended";
    /// The ledger and the catalog were asked.
    Probed = "probed";
    /// The target is closed, and sessions may still be open in it.
    TargetClosed = "target closed";
    /// The target is closed and nobody is in it.
    TargetEmpty = "target empty";
    /// The shadow is level with the closed target.
    ShadowLevel = "shadow level";
    /// The shadow is ready to take the target's name.
    ShadowDressed = "shadow dressed";
    /// Within the transaction that swaps the names.
    SwapOpen = "swap open";
    /// The names are swapped.
    Swapped = "swapped";
    /// Replayed rows are in the shadow, and the slot or the captured rows do not know it.
    RowsReplayed = "rows replayed";
    /// A capture is half taken away.
    CaptureHalfEnded = "capture half ended";
}

impl Boundary {
    /// Those of a capture: `tests/capture` kills in each of them.
    pub const OF_CAPTURE: &'static [Boundary] = &[
        Boundary::TargetClosed,
        Boundary::TargetEmpty,
        Boundary::ShadowLevel,
        Boundary::ShadowDressed,
        Boundary::SwapOpen,
        Boundary::Swapped,
        Boundary::RowsReplayed,
        Boundary::CaptureHalfEnded,
    ];
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A drill: what `DBD_CRASH_AT` and `DBD_CRASH_LOG` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// The number of the gap to be killed in, from 1; `None` to go through all of them.
    pub at: Option<u64>,
    /// The file that each gap is written to as it is passed: its number, its name, and what it is about, parted by tabs.
    pub log: Option<PathBuf>,
}

struct Armed {
    drill: Drill,
    passed: AtomicU64,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Begins a drill, for as long as the process lives. The first call counts.
pub fn arm(drill: Drill) {
    let _ = ARMED.set(Armed { drill, passed: AtomicU64::new(0) });
}

/// Passes a gap; `about` says of which event, file, child or place. Does not return if this is where the drill ends.
pub fn passed(boundary: Boundary, about: &str) {
    let Some(armed) = ARMED.get() else { return };
    let number = armed.passed.fetch_add(1, Ordering::Relaxed) + 1;
    if let Some(path) = &armed.drill.log {
        // A drill whose log cannot be written is noticed by whoever reads it.
        let log = fs_err::OpenOptions::new().create(true).append(true).open(path);
        let _ = log.and_then(|mut log| log.write_all(format!("{number}\t{boundary}\t{about}\n").as_bytes()));
    }
    if armed.drill.at == Some(number) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is pending; nothing more of this process is to happen.
        loop {
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_gap_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Boundary::ALL.iter().map(|boundary| boundary.name()).collect();
        assert_eq!(names.len(), Boundary::ALL.len());
        assert!(names.iter().all(|name| !name.contains('\t')));
    }

    #[test]
    fn without_a_drill_a_gap_is_nothing() {
        passed(Boundary::BeforeAppend, "run.requested");
    }
}
