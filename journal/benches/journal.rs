//! The journal's speed as ratios, measured side by side in one run: `cargo bench -p dbd-journal`.
//!
//! - an append beside a raw `write` and `fdatasync` of as many bytes;
//! - the verification and a scan of a million events beside a plain `SELECT` of the same rows, each in a process of its own, with its peak
//!   memory.
//!
//! Rounds are interleaved, so that whatever else the machine does falls on all of them alike; medians of the time on the clock are compared. `DBD_BENCH_EVENTS` and
//! `DBD_BENCH_ROUNDS` set other sizes. The journal is made once, below the target folder, and kept; `benches/audit.rs` beside the program
//! reads it too.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../../benches/harness/mod.rs"]
mod harness;

use dbd_journal::{Journal, NewEvent, OpenOptions, RawValue, chain};
use harness::{median, number, select};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// One run of a deployment, event by event, as it stands in a journal.
const RUN: &str = include_str!("../../benches/run.jsonl");

/// When the first run begins, in milliseconds since 1970.
const START: i64 = 1_728_149_445_123;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("select") => return select(Path::new(&arguments[2])),
        Some("verify") => return assert!(Journal::open_read_only(&arguments[2]).unwrap().verify().unwrap().is_sound()),
        Some("scan") => {
            let journal = Journal::open_read_only(&arguments[2]).unwrap();
            return journal.scan(1, |_| ControlFlow::Continue(())).unwrap();
        }
        _ => {}
    }
    let (events, rounds) = (number("DBD_BENCH_EVENTS", 1_000_000), number("DBD_BENCH_ROUNDS", 5));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-journal");
    fs_err::create_dir_all(&folder).unwrap();
    appends(&folder, rounds);
    million(&folder, events, rounds);
}

/// 100 appends beside 100 raw writes with fdatasync, each round.
fn appends(folder: &Path, rounds: u64) {
    let place = tempfile::tempdir_in(folder).unwrap();
    let mut journal = Journal::open(place.path().join("journal.db"), &OpenOptions::new("bench", START)).unwrap();
    let mut raw = fs_err::File::create(place.path().join("raw")).unwrap();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(500));
    let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let (mut ours, mut plain, mut rseq) = (Vec::new(), Vec::new(), 0);
    for at in 0..rounds * 200 {
        // In stretches of 25, so that neither rides on the other's trip to the disk.
        if at / 25 % 2 == 1 {
            let begun = Instant::now();
            raw.write_all(body.as_bytes()).unwrap();
            raw.sync_data().unwrap();
            plain.push(begun.elapsed());
            continue;
        }
        let begun = Instant::now();
        journal
            .append(NewEvent {
                run: "deploy-dev-1".to_owned(),
                expected_rseq: rseq,
                ts_ms: START,
                kind: "step.succeeded".to_owned(),
                v: 1,
                cause: None,
                epoch: 0,
                actor: json("{}"),
                by: json("{}"),
                body: json(&body),
                blobs: Vec::new(),
            })
            .unwrap();
        ours.push(begun.elapsed());
        rseq += 1;
    }
    let (ours, plain) = (median(ours), median(plain));
    println!("append        {:8.3} ms", ours * 1e3);
    println!("raw fdatasync {:8.3} ms   append / raw = {:.2}", plain * 1e3, ours / plain);
}

fn million(folder: &Path, events: u64, rounds: u64) {
    let project = folder.join(format!("{events}"));
    let journal = project.join(".dbd/journal.db");
    if !project.join("whole").exists() {
        fill(&journal, events);
        fs_err::write(project.join("dbd.toml"), "").unwrap();
        fs_err::write(project.join("whole"), "").unwrap();
    }
    let own = std::env::current_exe().unwrap();
    let place = journal.to_str().unwrap().to_owned();
    let cases = [("plain SELECT", "select"), ("verify", "verify"), ("scan", "scan")];
    let cases = cases.map(|(name, argument)| (name, own.clone(), vec![argument.to_owned(), place.clone()]));
    harness::compare(&journal, events, rounds, &cases);
}

/// A journal of `events` events: the same run again and again, a minute apart. Written without waiting for the disk, in one transaction.
fn fill(path: &Path, events: u64) {
    let _ = fs_err::remove_dir_all(path.parent().unwrap());
    let journal = Journal::open(path, &OpenOptions::new("bench/million", START)).unwrap();
    let (mut head, origin) = (journal.genesis(), journal.origin().to_owned());
    drop(journal);
    let mut conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; PRAGMA cache_size = -200000").unwrap();
    let template: Vec<serde_json::Value> = RUN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tx = conn.transaction().unwrap();
    {
        let mut insert = tx.prepare("INSERT INTO event (seq, prev, hash, rec) VALUES (?1, ?2, ?3, ?4)").unwrap();
        for at in 0..events {
            let (round, step) = (at as i64 / template.len() as i64, at as usize % template.len());
            let event = &template[step];
            let raw = |name: &str| serde_json::to_string(&event[name]).unwrap();
            let rec = format!(
                "{{\"ev\":1,\"seq\":{},\"origin\":\"{origin}\",\"run\":\"{{run}}\",\"rseq\":{},\"ts\":{},\"kind\":{},\"v\":1,\"cause\":null,\"epoch\":{},\"actor\":{},\"by\":{},\"body\":{},\"refs\":[]}}",
                at + 1,
                step + 1,
                event["ts"].as_i64().unwrap() + round * 60_000,
                raw("kind"),
                raw("epoch"),
                raw("actor"),
                raw("by"),
                raw("body"),
            )
            .replace("{run}", &format!("deploy-prod-{}", START + round * 60_000));
            let hash = chain::link(&head, rec.as_bytes());
            insert.execute((at as i64 + 1, head, hash, &rec)).unwrap();
            head = hash;
        }
    }
    tx.commit().unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
}
