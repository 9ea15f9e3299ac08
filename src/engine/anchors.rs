//! The journal against what it once wrote elsewhere. A chain cannot show that its tail is gone, nor that it is an older copy, nor that it
//! went two ways; what was written into the target, beside the run and into its report can.

use super::World;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::ports::database::Database;
use crate::ports::journal::Journal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An event of the journal that somebody else remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its place in the journal.
    pub seq: u64,
    /// Its hash, as it is printed.
    pub hash: String,
}

/// Holds what the ledger in the world's target remembers of `journal` against it.
///
/// # Errors
/// [`Code::JournalLostTail`] if an event is not there, or is another one; [`Code::JournalBroken`]; those of the connection.
pub async fn in_ledger(journal: &dyn Journal, world: &World) -> Result<(), Failure> {
    in_ledger_of(journal, world.database.as_ref(), &world.target).await
}

/// As [`in_ledger`], of any target.
///
/// # Errors
/// Those of [`in_ledger`].
pub async fn in_ledger_of(
    journal: &dyn Journal,
    database: &dyn Database,
    target: &ConnectionUrl,
) -> Result<(), Failure> {
    for anchor in database.anchors(target, &journal.origin()).await? {
        let remembered = Remembered { seq: anchor.seq, hash: anchor.hash };
        hold_against(journal, &remembered, &format!("the ledger in {}", target.place()))?;
    }
    Ok(())
}

/// Holds what the files of every run below `artifacts` remember of `journal` against it.
///
/// # Errors
/// As [`in_ledger`].
pub fn in_files(journal: &dyn Journal, artifacts: &Path) -> Result<(), Failure> {
    for (path, remembered) in of_files(journal, artifacts)? {
        hold_against(journal, &remembered, &path.display().to_string())?;
    }
    Ok(())
}

/// What the files of every run below `artifacts` remember of `journal`: each `rollback-state.json`, also of a run that the journal does not
/// know, and the `report.md` of each run that it does. What is not there, or speaks of another journal, says nothing.
///
/// # Errors
/// Those of reading the journal.
pub fn of_files(journal: &dyn Journal, artifacts: &Path) -> Result<Vec<(PathBuf, Remembered)>, Failure> {
    let known: BTreeSet<String> = journal.runs()?.into_iter().map(|head| head.run.to_string()).collect();
    let mut all = Vec::new();
    for entry in fs_err::read_dir(artifacts).into_iter().flatten().flatten() {
        let (folder, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let state = fs_err::read(folder.join("rollback-state.json")).ok();
        let state = state.and_then(|bytes| of_state(&bytes, &journal.origin()));
        // A report does not name its journal.
        let report = known.contains(&name).then(|| fs_err::read_to_string(folder.join("report.md")).ok()).flatten();
        let report = report.and_then(|text| of_report(&text));
        let files = [("rollback-state.json", state), ("report.md", report)].into_iter();
        all.extend(files.filter_map(|(name, remembered)| Some((folder.join(name), remembered?))));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn hold_against(journal: &dyn Journal, remembered: &Remembered, place: &str) -> Result<(), Failure> {
    let found = journal.hash_at(remembered.seq)?;
    if found.as_ref() == Some(&remembered.hash) {
        return Ok(());
    }
    let (last, _) = journal.head()?;
    let seq = remembered.seq;
    let (what, provable) = match found {
        None => (format!("{place} knows event {seq}, and the journal ends with event {last}"), last),
        Some(_) => (format!("{place} knows another event {seq} than the journal has"), seq.saturating_sub(1)),
    };
    Err(Failure::new(Code::JournalLostTail, what)
        .cause(format!("at most events 1 to {provable} are provable; `dbd audit verify` looks at each"))
        .hint("the journal was cut, replaced by an older copy, or is a copy that went its own way; nothing was done")
        .hint("bring the right journal back, with its -wal and .head files, then do it again"))
}

/// The anchor in a `rollback-state.json`, if it is of the journal `origin`.
fn of_state(bytes: &[u8], origin: &str) -> Option<Remembered> {
    let state: Value = serde_json::from_slice(bytes).ok()?;
    let journal = &state["journal"];
    let ours = journal["origin"].as_str() == Some(origin);
    let hash = journal["head"].as_str().filter(|_| ours)?.to_owned();
    Some(Remembered { seq: journal["seq"].as_u64()?, hash })
}

/// The anchor in a `report.md`.
fn of_report(text: &str) -> Option<Remembered> {
    let cell = |name: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("| {name} |")))?;
        Some(row.split('|').nth(2)?.trim().trim_matches('`').to_owned())
    };
    Some(Remembered { seq: cell("head event")?.parse().ok()?, hash: cell("head hash")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anchors_of_files_are_read_and_those_of_another_journal_are_not() {
        let state = br#"{"journal": {"origin": "dbd/a/1", "seq": 7, "head": "b3:aa"}}"#;
        assert_eq!(of_state(state, "dbd/a/1"), Some(Remembered { seq: 7, hash: "b3:aa".into() }));
        assert_eq!(of_state(state, "dbd/a/2"), None);
        assert_eq!(of_state(b"{", "dbd/a/1"), None);
        let report = "# A run\n\n| fact | |\n|---|---|\n| head event | 70 |\n| head hash | `b3:bb` |\n";
        assert_eq!(of_report(report), Some(Remembered { seq: 70, hash: "b3:bb".into() }));
        assert_eq!(of_report("# A run"), None);
    }
}
