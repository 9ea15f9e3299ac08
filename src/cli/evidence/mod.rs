//! Evidence for auditors: bundles that hold a period of the journal, and the verification of bundles and of the journal itself.
//!
//! A bundle is a folder of plain files. Everything in it follows from its events, the events follow from signed roots, and the manifest
//! over all files is signed too, so that whoever gets it needs nothing but the public key. Why it holds what it holds:
//! `docs/decisions/0014-evidence-bundles.md`.

pub(crate) mod anchors;
pub(crate) mod export;
pub(crate) mod keys;
pub(crate) mod period;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

use crate::domain::code::Code;
use crate::domain::ledger::{Difference, LedgerRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The events of the window, every one, in order.
pub(crate) const EVENTS: &str = "events.jsonl";
/// Events outside the window that are needed to understand it.
pub(crate) const CONTEXT: &str = "context.jsonl";
/// The Merkle leaves of the events before the window, one a line.
pub(crate) const BEFORE: &str = "leaves-before.txt";
/// The Merkle leaves of the events after the window.
pub(crate) const AFTER: &str = "leaves-after.txt";
/// The signed checkpoint over the events before the window.
pub(crate) const FIRST: &str = "checkpoint-first.note";
/// The signed checkpoint over all events there were at the export.
pub(crate) const LAST: &str = "checkpoint-last.note";
/// The proof that the journal of the first checkpoint is the beginning of that of the last.
pub(crate) const CONSISTENCY: &str = "consistency.json";
/// What was asked for, and what that came to.
pub(crate) const PARAMETERS: &str = "parameters.json";
/// The ledgers of the targets, as they were at the export.
pub(crate) const LEDGER: &str = "ledger.json";
/// The public key.
pub(crate) const KEY: &str = "audit.pub";
/// The report, in three forms.
pub(crate) const REPORT_MD: &str = "report.md";
/// See [`REPORT_MD`].
pub(crate) const REPORT_CSV: &str = "report.csv";
/// See [`REPORT_MD`].
pub(crate) const REPORT_JSON: &str = "report.json";
/// How to verify it without dbd.
pub(crate) const VERIFY: &str = "VERIFY.md";
/// The digests again, as `sha256sum` reads them.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The digests of all other files.
pub(crate) const MANIFEST: &str = "MANIFEST.json";
/// The signature over the manifest.
pub(crate) const SEAL: &str = "MANIFEST.note";

/// Every file that a bundle holds besides its manifest and the seal on that.
pub(crate) const FILES: &[&str] = &[
    EVENTS,
    CONTEXT,
    BEFORE,
    AFTER,
    FIRST,
    LAST,
    CONSISTENCY,
    PARAMETERS,
    LEDGER,
    KEY,
    REPORT_MD,
    REPORT_CSV,
    REPORT_JSON,
    VERIFY,
    SUMS,
];

/// A file as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// `MANIFEST.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// `dbd.manifest/1`.
    pub schema: String,
    /// The journal.
    pub origin: String,
    /// Every other file.
    pub files: BTreeMap<String, Listed>,
    /// The BLAKE3 chain of the events: the hash before the first of them and that of the last.
    pub chain: Option<(String, String)>,
}

/// The text under the seal: what is signed for the manifest with this SHA-256.
pub(crate) fn seal_text(origin: &str, sha256: &str) -> String {
    format!("dbd evidence bundle\n{origin}\n{sha256}\n")
}

/// `parameters.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parameters {
    /// `dbd.evidence/1`.
    pub schema: String,
    /// The arguments, as they were typed.
    pub arguments: BTreeMap<String, Option<String>>,
    /// The window's beginning, RFC 3339.
    pub since: String,
    /// The window's end, RFC 3339.
    pub until: String,
    /// The window's beginning, in milliseconds since 1970: events at or after it are in.
    pub since_ms: i64,
    /// The window's end, in milliseconds since 1970: events before it are in.
    pub until_ms: i64,
    /// When the bundle was made, in milliseconds since 1970.
    pub now_ms: i64,
    /// The only environment that is reported on, if there is only one.
    pub environment: Option<String>,
    /// The version that made it.
    pub dbd: String,
    /// The journal's name.
    pub origin: String,
    /// When the journal was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// The hash before the journal's first event.
    pub genesis: String,
    /// The first event of the window.
    pub first_seq: u64,
    /// The last event of the window; one less than the first if it is empty.
    pub last_seq: u64,
    /// How many events the journal had.
    pub size: u64,
    /// The hash of the journal's last event then.
    pub head: String,
    /// How many runs the report tells of.
    pub runs: u64,
}

/// The ledger of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetLedger {
    /// The target, `host:port/database`.
    pub target: String,
    /// The environment whose URL leads there.
    pub environment: String,
    /// Whether it could be asked.
    pub reached: bool,
    /// Why not.
    pub why: Option<String>,
    /// The rows of this window's runs.
    pub rows: Vec<LedgerRow>,
    /// How many rows have their event.
    pub matched: u64,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// `ledger.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerFile {
    /// `dbd.ledger-match/1`.
    pub schema: String,
    /// When they were asked, in milliseconds since 1970.
    pub checked_ms: i64,
    /// Every target of the window's runs.
    pub targets: Vec<TargetLedger>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// The event it is about, if it is about one.
    pub seq: Option<u64>,
    /// The file it is about, if it is about one.
    pub file: Option<String>,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Finding {
    /// A finding about nothing in particular.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, seq: None, file: None, message: message.into() }
    }

    /// The same, about an event.
    pub(crate) fn at(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// The same, about a file.
    pub(crate) fn of(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({"code": self.code, "seq": self.seq, "file": self.file, "message": self.message})
    }
}
