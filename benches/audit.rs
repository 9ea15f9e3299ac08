//! The speed of `dbd audit` as ratios: `cargo bench -p dbd-journal`, which makes the journal of a million events, then `cargo bench --bench audit`.
//!
//! `dbd audit` and `dbd audit verify` beside a plain `SELECT` of the same rows in a process of its own, with the peak memory of each. Rounds
//! are interleaved and medians of the time on the clock compared. `DBD_BENCH_EVENTS` and `DBD_BENCH_ROUNDS` set other sizes.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]

mod harness;

use harness::{number, select};
use std::path::{Path, PathBuf};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "select") {
        return select(Path::new(&arguments[2]));
    }
    let (events, rounds) = (number("DBD_BENCH_EVENTS", 1_000_000), number("DBD_BENCH_ROUNDS", 5));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-journal");
    million(&folder, events, rounds);
}

fn million(folder: &Path, events: u64, rounds: u64) {
    let project = folder.join(format!("{events}"));
    let journal = project.join(".dbd/journal.db");
    assert!(project.join("whole").exists(), "run `cargo bench -p dbd-journal` first: it makes the journal");
    let dbd = env!("CARGO_BIN_EXE_dbd");
    let own = std::env::current_exe().unwrap();
    let at = project.to_str().unwrap();
    let audit = |format: &'static str| {
        ["-C", at, "audit", "--since", "2020-01-01", "--format", format].map(str::to_owned).to_vec()
    };
    let cases: Vec<(&str, PathBuf, Vec<String>)> = vec![
        ("plain SELECT", own, vec!["select".to_owned(), journal.to_str().unwrap().to_owned()]),
        ("audit verify", dbd.into(), ["-C", at, "audit", "verify"].map(str::to_owned).to_vec()),
        ("audit (csv)", dbd.into(), audit("csv")),
    ];
    harness::compare(&journal, events, rounds, &cases);
}
