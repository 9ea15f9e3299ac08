//! What the benchmarks of the journal share: rounds of processes that are measured, and the plain read they are held against.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What `name` says in the environment, as a number.
pub fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

/// The rows of the events, read by SQLite's own program: what a plain read of them is for a person.
const SHELL: &str = "SELECT seq, prev, hash, run_id, run_seq, kind, ts, rec FROM event ORDER BY seq";

/// Runs each case in turn, `rounds` times, beside `sqlite3` where that is installed, and prints the medians of the time on the clock and of
/// processor time, the former as ratios to the first case's and to that of `sqlite3`, with the peak memory.
pub fn compare(journal: &Path, events: u64, rounds: u64, cases: &[(&str, PathBuf, Vec<String>)]) {
    let mut cases = cases.to_vec();
    if Command::new("sqlite3").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let place = journal.to_str().unwrap().to_owned();
        cases.insert(1, ("sqlite3", PathBuf::from("sqlite3"), vec!["-readonly".to_owned(), place, SHELL.to_owned()]));
    }
    let (mut times, mut memory) = (vec![Vec::new(); cases.len()], vec![0; cases.len()]);
    let mut work = times.clone();
    for _ in 0..rounds {
        for (at, (name, program, arguments)) in cases.iter().enumerate() {
            let begun = Instant::now();
            let mut child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().unwrap();
            let (code, took, peak) = wait(&mut child);
            assert_eq!(code, Some(0), "{name}");
            times[at].push(begun.elapsed());
            work[at].push(took);
            memory[at] = memory[at].max(peak);
        }
    }
    println!("{events} events, {} MB", fs_err::metadata(journal).unwrap().len() >> 20);
    let plain = median(times[0].clone());
    let shell = cases.iter().position(|(name, ..)| *name == "sqlite3").map(|at| median(times[at].clone()));
    for (at, (name, ..)) in cases.iter().enumerate() {
        let (took, work) = (median(times[at].clone()), median(work[at].clone()));
        let shell = shell.map_or(String::new(), |shell| format!("   / sqlite3 = {:.2}", took / shell));
        let ratio = took / plain;
        println!(
            "{name:13} {took:8.2} s ({work:.2} s of work)   / SELECT = {ratio:.2}{shell}   peak {} MB",
            memory[at] >> 10
        );
    }
}

pub fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Waits for a child; its status, the processor time it took and its peak memory in KB, both as the kernel counts them.
fn wait(child: &mut std::process::Child) -> (Option<i32>, Duration, u64) {
    let place = format!("/proc/{}", child.id());
    let (mut peak, mut ticks) = (0, 0);
    loop {
        if let Ok(text) = fs_err::read_to_string(format!("{place}/status")) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0).max(peak);
        }
        // Fields 14 and 15 of the line, counted behind the name in parentheses: user and system time in hundredths of a second.
        if let Ok(text) = fs_err::read_to_string(format!("{place}/stat")) {
            let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
            ticks = fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>().max(ticks);
        }
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), Duration::from_millis(ticks * 10), peak);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads every column of every event and does nothing with it.
pub fn select(path: &Path) {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let mut statement =
        conn.prepare("SELECT seq, prev, hash, run_id, run_seq, kind, ts, rec FROM event ORDER BY seq").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next().unwrap() {
        for column in 0..8 {
            bytes += match row.get_ref(column).unwrap() {
                rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => text.len(),
                _ => 8,
            };
        }
    }
    assert!(std::hint::black_box(bytes) > 0);
}
