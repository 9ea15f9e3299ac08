//! `kill -9` in every gap the program passes: whatever the moment, the next process ends whole or fully back.
//!
//! No list of moments is kept here. A drill (`DBD_CRASH_LOG`) goes through a story once and writes down each gap it passes; then the story
//! is told again once for each gap, killed there (`DBD_CRASH_AT`), and resumed. What comes before the command that is killed happens once for
//! several gaps: target and files are kept, and put back before each. The suite fails if a gap that the
//! program has (`Boundary::ALL`) was passed by no story. What came of it all is `docs/crash-testing.md`.

pub mod story;
mod table;

use dbd::ports::boundary::Boundary;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use story::{STORIES, Story};
use table::Row;

/// How many processes are killed at the same time. More than there are cores: much of a run is waiting.
const WORKERS: usize = 4;

/// Has several threads do `work` on each of `items`, in any order; the results are in the order of the items.
fn all<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let worker = || {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            while let Some((at, item)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                items.get(at).filter(|_| !failed.load(Ordering::Relaxed)).map(|item| (at, item))
            } {
                let item = item.lock().unwrap().take().expect("each is taken once");
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

/// How many gaps of a story are told one after the other, in a project that is put back as it was before each.
const AT_A_TIME: usize = 12;

fn told() -> Vec<Row> {
    let known = all(STORIES.iter().collect(), |story: &'static Story| {
        let mut desk = story.desk();
        let cases = story.cases(&mut desk);
        (story, cases, desk)
    });
    let gaps = known.iter().flat_map(|(_, cases, _)| cases.iter().map(|case| case.gap.0.as_str()));
    let passed: BTreeSet<&str> = gaps.collect();
    let never: Vec<&str> =
        Boundary::ALL.iter().map(|boundary| boundary.name()).filter(|name| !passed.contains(name)).collect();
    assert!(never.is_empty(), "no story is killed at: {never:?}");
    let mut rounds = Vec::new();
    for (story, cases, desk) in known {
        let mut desk = Some(desk);
        let mut cases = cases.into_iter().peekable();
        while cases.peek().is_some() {
            rounds.push((story, desk.take(), cases.by_ref().take(AT_A_TIME).collect::<Vec<_>>()));
        }
    }
    let rows = all(rounds, |(story, desk, cases)| {
        let mut desk = desk.unwrap_or_else(|| story.desk());
        cases.iter().map(|case| case.told(&mut desk)).collect::<Vec<_>>()
    });
    rows.into_iter().flatten().collect()
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
