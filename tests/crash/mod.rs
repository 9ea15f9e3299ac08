//! `kill -9` in every gap the program passes: whatever the moment, the next process ends whole or fully back.
//!
//! No list of moments is kept here. A drill (`DBD_CRASH_LOG`) goes through a story once and writes down each gap it passes; then the story
//! is told again, on a target of its own, once for each gap, killed there (`DBD_CRASH_AT`), and resumed. The suite fails if a gap that the
//! program has (`Boundary::ALL`) was passed by no story. What came of it all is `docs/crash-testing.md`.

pub mod story;
mod table;

use dbd::ports::boundary::Boundary;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use story::{Case, STORIES};
use table::Row;

/// How many processes are killed at the same time. More than there are cores: much of a run is waiting.
const WORKERS: usize = 4;

/// Has several threads do `work` on each of `items`, in any order; the results are in the order of the items.
fn all<'t, T: Sync, R: Send>(items: &'t [T], work: impl Fn(&'t T) -> R + Sync) -> Vec<R> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let worker = || {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            while let Some((at, item)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                items.get(at).filter(|_| !failed.load(Ordering::Relaxed)).map(|item| (at, item))
            } {
                *done[at].lock().unwrap() = Some(work(item));
            }
        }));
        // The others need not go on once one has failed.
        failed.fetch_or(worked.is_err(), Ordering::Relaxed);
        worked
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().and_then(|worked| worked).unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    done.into_iter().map(|one| one.into_inner().unwrap().expect("it was done")).collect()
}

/// Every gap of every story, as drills pass them.
fn cases() -> Vec<Case> {
    all(STORIES, |story| story.cases()).into_iter().flatten().collect()
}

fn told() -> Vec<Row> {
    let cases = cases();
    let passed: BTreeSet<&str> = cases.iter().map(|case| case.gap.0.as_str()).collect();
    // Those of a capture are `tests/capture`'s to kill in.
    let never: Vec<&str> = Boundary::ALL
        .iter()
        .filter(|boundary| !Boundary::OF_CAPTURE.contains(boundary))
        .map(|boundary| boundary.name())
        .filter(|name| !passed.contains(name))
        .collect();
    assert!(never.is_empty(), "no story is killed at: {never:?}");
    all(&cases, Case::told)
}

#[test]
fn killed_in_any_gap_every_story_comes_to_a_good_end_as_the_page_says() {
    let rows = told();
    table::check(&rows);
}

#[test]
#[ignore = "writes docs/crash-testing.md; run it after a change to the gaps or the stories"]
fn write_the_crash_table() {
    table::write(&told());
}
