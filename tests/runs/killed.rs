//! `kill -9` anywhere: after `dbd resume` the target is whole or fully back, every step counts once, and the journal verifies.
//!
//! At random moments, the resumed process too, as in every gap that has a name is tried in `tests/crash`. The journal is read while dbd
//! writes it, and the process is killed some time after an event appears. A statement that takes a while keeps the windows open;
//! nothing depends on how long.

use crate::support::project::{Event, Project, Running, Snapshot};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// How many processes are killed at the same time. More than there are cores: much of a run is waiting.
const WORKERS: usize = 3;

/// A run's project, and how its target was.
struct Victim {
    project: Project,
    before: Snapshot,
    goes_back: bool,
}

impl Victim {
    /// Three migrations, one of them in several units; the run is verified, or goes back.
    fn new(goes_back: bool) -> Self {
        let mut project = Project::new();
        project.with_sandboxes_on_the_server();
        project
            .migration(
                "0001_slow",
                "create table steps (id int);\ninsert into steps values (1);\nselect pg_sleep(0.3);\n",
            )
            .migration(
                "0002_units",
                "insert into steps values (2);\ncreate index concurrently orders_price on orders (price);\n\
                 insert into customers (name) values ('by 0002');\n",
            )
            .migration(
                "0003_last",
                "insert into steps values (3);\nupdate orders set price = price + 1;\nselect pg_sleep(0.1);\n",
            )
            .config(&format!(
                "[environments.dev]\nverify = {{ command = 'sleep 0.1; {}' }}\n",
                if goes_back { "false" } else { "true" }
            ));
        let before = project.snapshot();
        Self { project, before, goes_back }
    }

    /// Resumes until it is over, and looks whether everything is as it has to be.
    fn recover(&self, how: &str) {
        let mut codes = Vec::new();
        let output = loop {
            let output = self.project.dbd(&["resume", "--last", "--json"]);
            // Killed after the last event: there is nothing left to resume.
            let output = match output.code {
                Some(2) => self.project.dbd(&["resume", &self.project.run_in_journal(), "--json"]),
                _ => output,
            };
            codes.push(output.code);
            assert!(
                codes.len() < 4,
                "{how}: resumed {codes:?} without an end\n{output:?}\n{:#?}",
                self.project.events()
            );
            if output.code != Some(75) {
                break output;
            }
        };
        let outcome = output.json()["outcome"].clone();
        let context = || format!("{how}, resumed {codes:?}\n{output:?}\n{:#?}", self.project.events());
        assert!(matches!(output.code, Some(0 | 4)), "{}", context());
        if self.goes_back {
            assert_eq!(outcome, "rolled_back", "{}", context());
            assert_eq!(self.project.snapshot(), self.before, "{}", context());
            assert!(self.project.tracking().is_empty(), "{}", context());
        } else {
            assert_eq!(outcome, "succeeded", "{}", context());
            self.assert_whole(&context);
        }
        // What the ledger in the target says is done, is done once.
        let twice = self.project.rows(
            "select run_id, step from dbd.ledger where phase <> 'started' group by 1, 2 having count(*) > 1 \
             union all select run_id, step from dbd.ledger where phase = 'started' and step not in (select step from dbd.ledger where phase = 'finished')",
        );
        assert!(twice.is_empty(), "{twice:?} {}", context());
        self.project.assert_sound();
    }

    fn assert_whole(&self, context: &dyn Fn() -> String) {
        let project = &self.project;
        assert_eq!(project.rows("select id from steps order by 1"), ["1", "2", "3"], "{}", context());
        assert_eq!(project.value("select count(*) from customers where name = 'by 0002'"), "1", "{}", context());
        assert_eq!(project.value("select sum(price) from orders"), "7380.00", "{}", context());
        assert_eq!(
            project.value("select indisvalid from pg_index where indexrelid = 'orders_price'::regclass"),
            "t",
            "{}",
            context()
        );
        assert_eq!(project.tracking(), ["0001_slow", "0002_units", "0003_last"], "{}", context());
        // One row for each of the five steps, in order.
        let steps = project.rows("select step from dbd.ledger where phase <> 'started' order by seq");
        let expected = [
            "migration 1, unit 1",
            "migration 2, unit 1",
            "migration 2, unit 2",
            "migration 2, unit 3",
            "migration 3, unit 1",
        ];
        assert_eq!(steps, expected, "{}", context());
    }
}

/// Kills the process once `reached`; says whether it was killed rather than at its end already.
fn kill_when(mut running: Running<'_>, project: &Project, reached: impl Fn(&[Event]) -> bool) -> bool {
    let killed = running.until("its turn to be killed", || reached(&project.events()));
    let killed = killed && running.is_running();
    running.kill();
    killed
}

/// Calls `one` with 0, 1, 2, ... in several threads until it says that it was the last.
fn in_turn(one: impl Fn(usize) -> bool + Sync) -> usize {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let worked = catch_unwind(AssertUnwindSafe(|| {
            while !over.load(Ordering::Relaxed) {
                if !one(next.fetch_add(1, Ordering::Relaxed)) {
                    over.store(true, Ordering::Relaxed);
                }
            }
        }));
        // The others need not go on once one has failed.
        over.store(true, Ordering::Relaxed);
        worked
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().and_then(|worked| worked).unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    next.into_inner()
}

#[test]
fn killed_at_a_dozen_random_moments_it_comes_to_a_good_end() {
    let seed = seed();
    let random = Mutex::new(seed);
    let draw = |below: u64| next(&mut random.lock().unwrap()) % below;
    in_turn(|turn| {
        let goes_back = draw(2) == 0;
        let victim = Victim::new(goes_back);
        let (event, delay, again) = (draw(38), draw(250), draw(12));
        let how =
            format!("seed {seed}, turn {turn}: killed {delay} ms after event {event}, again {again} events later");
        let at_random = |running: Running<'_>, event: usize| {
            kill_when(running, &victim.project, |events| {
                let reached = events.len() > event;
                if reached {
                    // Any moment is as good as another; this is what makes it one.
                    std::thread::sleep(Duration::from_millis(delay));
                }
                reached
            })
        };
        at_random(victim.project.spawn(&["start", "dev", "--json"]), usize::try_from(event).unwrap());
        let seen = victim.project.events().len() + usize::try_from(again).unwrap();
        at_random(victim.project.spawn(&["resume", "--last", "--json"]), seen);
        victim.recover(&how);
        turn + 1 < 12
    });
}

/// Another one each time, unless `DBD_TEST_SEED` names it.
#[allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests read the environment and the clock themselves, and say their seed"
)]
fn seed() -> u64 {
    let named = std::env::var("DBD_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = named.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64)
    });
    println!("DBD_TEST_SEED={seed}");
    seed
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
