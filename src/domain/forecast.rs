//! What the target will see while the migrations run: which object is locked, for how long, and who waits; from what the sandbox saw.
//!
//! A lock lasts from the statement that took it to the end of its transaction. Reads wait behind ACCESS EXCLUSIVE, writes behind everything
//! from SHARE up, and whoever wants to write a row that an UPDATE or DELETE changed waits for that transaction's end as well, though no lock
//! on the table says so. A statement outside a transaction lets go of its locks before it ends: there the moments count in which somebody
//! saw it hold them.

use super::rehearsal::{StatementTrace, blocks, strength};
use super::sql;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What waits behind rows that were changed and not yet committed.
pub const CHANGED_ROWS: &str = "writes to the rows it changes";

/// Bytes a second on ordinary disks, for what the sandbox has no rows to show: rewriting and building, as the hazards guess it.
const WRITING: f64 = 60_000_000.0;

/// Bytes a second, reading alone.
const READING: f64 = 400_000_000.0;

/// A sandbox table below this many bytes says nothing about how long a statement takes for each byte.
const TELLING_BYTES: u64 = 512 * 1024;

/// How many statements, and how many locks, a timeline shows.
const SHOWN: usize = 40;

/// What one object will see while the migration runs on the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The object.
    pub object: String,
    /// The lock held on it.
    pub lock: String,
    /// For how long at a stretch, from taking it to the end of its transaction, in milliseconds, on the target.
    pub held_ms: u64,
    /// What waits meanwhile: `reads and writes`, `writes`, [`CHANGED_ROWS`], `schema changes` or `nothing`.
    pub blocks: String,
    /// It is not likely to be held for less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_ms: Option<u64>,
    /// It is not likely to be held for longer, the wait for the lock included: whoever comes after a waiting lock waits too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_ms: Option<u64>,
    /// What it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// The statement that takes the lock: migration, line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The statement during which most of that time passes, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// The step of the plan, from 0, and the statement in it, from 0, whose lock it is: what is measured there is held beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<(usize, usize)>,
}

/// What a forecast was measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// On a copy with all rows.
    #[default]
    Copy,
    /// On a copy with some of the rows, scaled by the size of the tables: a guess.
    Sample,
    /// On a copy without rows, from the size of the tables alone: a guess.
    Schema,
}

impl Basis {
    /// From what the configuration says is copied.
    #[must_use]
    pub fn of(data: &str) -> Self {
        match data {
            "schema" => Self::Schema,
            "sample" => Self::Sample,
            _ => Self::Copy,
        }
    }

    /// How much less and how much more it may be, as the trials showed.
    #[must_use]
    pub fn band(self) -> (f64, f64) {
        match self {
            Self::Copy => (1.0 / 1.3, 1.3),
            Self::Sample | Self::Schema => (0.7, 2.0),
        }
    }

    /// In words, as the end of "foretold from".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Copy => "a copy with all rows",
            Self::Sample => "a sample of the rows, scaled by the size of the tables: a guess",
            Self::Schema => "the size of the tables, as the copy has no rows: a guess",
        }
    }
}

/// How far earlier forecasts for this target were off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// What a forecast is multiplied by, in percent.
    pub percent: u32,
    /// How many runs say so.
    pub runs: u32,
}

impl Correction {
    /// The median of what earlier runs showed (measured by foretold), within bounds: one odd run must not spoil the next forecast.
    #[must_use]
    pub fn of(mut ratios: Vec<f64>) -> Option<Self> {
        ratios.retain(|ratio| ratio.is_finite() && *ratio > 0.0);
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        let median = match ratios.len() {
            0 => return None,
            odd if odd % 2 == 1 => ratios[middle],
            _ => f64::midpoint(ratios[middle - 1], ratios[middle]),
        };
        let runs = u32::try_from(ratios.len()).unwrap_or(u32::MAX);
        Some(Self { percent: rounded((median * 100.0).clamp(50.0, 400.0)).try_into().unwrap_or(100), runs })
    }

    fn factor(correction: Option<Self>) -> f64 {
        correction.map_or(1.0, |one| f64::from(one.percent) / 100.0)
    }
}

/// What the target is like, beside the sandbox.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// What was copied.
    pub basis: Basis,
    /// Bytes of each table in the sandbox, before the migrations.
    pub sandbox: BTreeMap<String, u64>,
    /// Bytes of each table in the target.
    pub target: BTreeMap<String, u64>,
    /// How long a lock may have to be waited for at most, in milliseconds.
    pub wait_ms: u64,
    /// What earlier runs taught.
    pub correction: Option<Correction>,
}

/// The statements of one transaction, or one statement outside, as they ran in the sandbox.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// The step of the plan, from 0.
    pub step: usize,
    /// Which statement of the step is the first, from 0.
    pub first: usize,
    /// The migration's name.
    pub migration: String,
    /// The statements.
    pub statements: Vec<StatementTrace>,
}

/// One statement on the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Where it stands and how it begins.
    pub label: String,
    /// When it begins, in milliseconds from the first statement.
    pub from_ms: u64,
    /// When it ends.
    pub to_ms: u64,
    /// Its transaction, from 0: what stands together commits together.
    pub transaction: usize,
}

/// One lock on the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The object.
    pub object: String,
    /// The lock.
    pub lock: String,
    /// What waits.
    pub blocks: String,
    /// From when on.
    pub from_ms: u64,
    /// Until when.
    pub to_ms: u64,
}

/// Statements and locks as they are expected on the target, in milliseconds from the first statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// How long everything takes.
    pub total_ms: u64,
    /// The statements, the longest if there are too many.
    pub acts: Vec<Act>,
    /// The locks that keep somebody waiting, the longest if there are too many.
    pub held: Vec<Held>,
    /// How many statements and locks are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn rounded(number: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = number.max(0.0).round() as u64;
    whole
}

#[allow(clippy::cast_precision_loss)]
fn real(number: u64) -> f64 {
    number as f64
}

impl Scale {
    /// How long a statement takes on the target, in milliseconds.
    fn on_target(&self, one: &StatementTrace) -> f64 {
        let measured = real(one.duration_ms);
        let guess = if self.basis == Basis::Copy { measured } else { self.guess(one, measured) };
        guess * Correction::factor(self.correction)
    }

    /// What works through rows takes as much longer as the table is larger; what only changes the catalog does not.
    fn guess(&self, one: &StatementTrace, measured: f64) -> f64 {
        let writes = !one.rewrites.is_empty() || !one.index_builds.is_empty() || !one.changed.is_empty();
        let reads = !one.table_scans.is_empty() || !one.fk_validations.is_empty();
        if !writes && !reads {
            return measured;
        }
        let touched = one.locks.iter().map(|(object, _)| object).chain(&one.rewrites).chain(&one.table_scans);
        let touched = touched.chain(one.changed.iter().map(|(object, _)| object));
        let bytes = |sizes: &BTreeMap<String, u64>, object: &str| sizes.get(object).copied().unwrap_or(0);
        let Some(largest) = touched.max_by_key(|object| bytes(&self.target, object)) else { return measured };
        let (here, there) = (bytes(&self.sandbox, largest), bytes(&self.target, largest));
        if here >= TELLING_BYTES && there > here && measured >= 2.0 {
            return measured * real(there) / real(here);
        }
        measured + real(there.saturating_sub(here)) / (if writes { WRITING } else { READING }) * 1000.0
    }

    /// The whole of a forecast's numbers, from how long a lock is held in the middle of the expectations.
    fn numbers(&self, held: f64) -> (u64, u64, u64) {
        let (less, more) = self.basis.band();
        (rounded(held * less), rounded(held), rounded((held * more).ceil()) + self.wait_ms)
    }
}

/// One stretch of time in which an object is locked.
struct Stretch<'a> {
    object: &'a str,
    lock: &'a str,
    blocks: &'static str,
    from: f64,
    to: f64,
    by: String,
    through: Option<String>,
    at: Option<(usize, usize)>,
}

/// Foretells, from transactions as they ran, what each object that was there before is locked by and for how long.
///
/// An object has an entry for reads that wait; one more for writes if they wait longer than the reads, or for some rows of it if those wait
/// longest; and one for schema changes if nothing else waits. The longest stretch of its kind counts. Returns the picture too.
#[must_use]
pub fn foretell(transactions: &[Ran], scale: &Scale, existed: &dyn Fn(&str) -> bool) -> (Vec<Forecast>, Timeline) {
    let mut stretches: Vec<Stretch<'_>> = Vec::new();
    let mut acts = Vec::new();
    let mut now = 0.0;
    for (number, ran) in transactions.iter().enumerate() {
        let took: Vec<f64> = ran.statements.iter().map(|one| scale.on_target(one)).collect();
        let commit: f64 = ran.statements.iter().map(|one| real(one.commit_ms)).sum();
        let added = ran.statements.first().map_or(0.0, |one| real(one.added_ms));
        let end = now + added + took.iter().sum::<f64>() + commit;
        let mut begin = now + added;
        for (place, (one, took)) in ran.statements.iter().zip(&took).enumerate() {
            let label = |at: usize| format!("{}:{}", ran.migration, ran.statements[at].line);
            acts.push(Act {
                label: format!("{} {}", label(place), sql::summary(&one.sql)),
                from_ms: rounded(begin),
                to_ms: rounded(begin + took),
                transaction: number,
            });
            let longest = (place..ran.statements.len())
                .max_by(|a, b| scale.on_target(&ran.statements[*a]).total_cmp(&scale.on_target(&ran.statements[*b])));
            let through = longest.filter(|at| *at != place && scale.on_target(&ran.statements[*at]) > *took).map(label);
            let stretch = |object, lock, blocks, from, to, at| Stretch {
                object,
                lock,
                blocks,
                from,
                to,
                by: label(place),
                through: through.clone(),
                at,
            };
            let at = Some((ran.step, ran.first + place));
            for (object, lock) in one.locks.iter().filter(|(object, _)| existed(object)) {
                let windows: Vec<_> =
                    one.windows.iter().filter(|seen| seen.object == *object && seen.lock == *lock).collect();
                if windows.is_empty() {
                    // What dbd's own statements locked before the first was first seen there.
                    let from = if place == 0 { now } else { begin };
                    stretches.push(stretch(object, lock, blocks(lock), from, end, at));
                }
                for seen in windows {
                    // What it holds to its end is measured on the target; what it lets go of before is not.
                    let whole = seen.to_ms + 5 >= one.duration_ms && seen.from_ms <= 5;
                    let factor = took / real(one.duration_ms.max(1));
                    let (from, to) = (begin + real(seen.from_ms) * factor, begin + real(seen.to_ms) * factor);
                    let to = if whole { end } else { to };
                    stretches.push(stretch(object, lock, blocks(lock), from, to, at.filter(|_| whole)));
                }
            }
            for (object, rows) in one.changed.iter().filter(|(object, _)| existed(object)) {
                let (to, at) = match one.batch {
                    // Each batch is a transaction of its own.
                    Some(size) if *rows > u64::from(size) => (begin + took * f64::from(size) / real(*rows), None),
                    _ => (end, at),
                };
                stretches.push(stretch(object, "RowExclusiveLock", CHANGED_ROWS, begin, to, at));
            }
            begin += took;
        }
        now = end;
    }
    let forecast = of_objects(&stretches, scale);
    (forecast, timeline(acts, &stretches, now))
}

fn of_objects(stretches: &[Stretch<'_>], scale: &Scale) -> Vec<Forecast> {
    let mut objects: BTreeMap<&str, Vec<&Stretch<'_>>> = BTreeMap::new();
    for one in stretches {
        objects.entry(one.object).or_default().push(one);
    }
    let mut all = Vec::new();
    for (object, held) in objects {
        let longest = |what: &str| {
            let ours = held.iter().filter(|one| one.blocks == what);
            ours.max_by(|a, b| {
                (a.to - a.from).total_cmp(&(b.to - b.from)).then(strength(a.lock).cmp(&strength(b.lock)))
            })
        };
        let mut waited: Option<f64> = None;
        for what in ["reads and writes", "writes", CHANGED_ROWS, "schema changes"] {
            let Some(one) = longest(what) else { continue };
            let held = one.to - one.from;
            let said = match waited {
                Some(_) if what == "schema changes" => true,
                Some(longer) => held <= longer,
                None => false,
            };
            if said {
                continue;
            }
            waited = Some(held);
            let (low, middle, high) = scale.numbers(held);
            all.push(Forecast {
                object: object.to_owned(),
                lock: one.lock.to_owned(),
                held_ms: middle,
                blocks: what.to_owned(),
                low_ms: Some(low),
                high_ms: Some(high),
                basis: Some(scale.basis),
                by: Some(one.by.clone()),
                through: one.through.clone(),
                at: one.at,
            });
        }
    }
    let rank = |one: &Forecast| if one.blocks == CHANGED_ROWS { 4 } else { strength(&one.lock) };
    all.sort_by(|a, b| rank(b).cmp(&rank(a)).then(b.held_ms.cmp(&a.held_ms)).then(a.object.cmp(&b.object)));
    all
}

fn timeline(mut acts: Vec<Act>, stretches: &[Stretch<'_>], total: f64) -> Timeline {
    let waits = stretches.iter().filter(|one| !["nothing", "schema changes"].contains(&one.blocks));
    let mut held: Vec<Held> = waits
        .map(|one| Held {
            object: one.object.to_owned(),
            lock: one.lock.to_owned(),
            blocks: one.blocks.to_owned(),
            from_ms: rounded(one.from),
            to_ms: rounded(one.to),
        })
        .collect();
    let before = acts.len() + held.len();
    if acts.len() > SHOWN {
        acts.sort_by_key(|one| std::cmp::Reverse(one.to_ms - one.from_ms));
        acts.truncate(SHOWN);
        acts.sort_by_key(|one| (one.from_ms, one.to_ms));
    }
    if held.len() > SHOWN {
        held.sort_by_key(|one| std::cmp::Reverse(one.to_ms - one.from_ms));
        held.truncate(SHOWN);
    }
    held.sort_by(|a, b| {
        a.object.cmp(&b.object).then(a.from_ms.cmp(&b.from_ms)).then(strength(&b.lock).cmp(&strength(&a.lock)))
    });
    let left_out = before - acts.len() - held.len();
    Timeline { total_ms: rounded(total), acts, held, left_out }
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::Window;
    use super::*;

    fn ran(duration_ms: u64, locks: &[(&str, &str)]) -> StatementTrace {
        StatementTrace {
            line: 1,
            duration_ms,
            locks: locks.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ..StatementTrace::default()
        }
    }

    fn transaction(step: usize, statements: Vec<StatementTrace>) -> Ran {
        let statements = statements.into_iter().enumerate();
        let statements =
            statements.map(|(at, one)| StatementTrace { line: u32::try_from(at).unwrap() + 1, ..one }).collect();
        Ran { step, first: 0, migration: format!("{:04}", step + 1), statements }
    }

    fn told(transactions: &[Ran], scale: &Scale) -> Vec<(String, String, u64, String)> {
        let (forecast, _) = foretell(transactions, scale, &|_| true);
        forecast.into_iter().map(|one| (one.object, one.lock, one.held_ms, one.blocks)).collect()
    }

    fn row(object: &str, lock: &str, held: u64, blocks: &str) -> (String, String, u64, String) {
        (object.to_owned(), lock.to_owned(), held, blocks.to_owned())
    }

    const AE: &str = "AccessExclusiveLock";

    #[test]
    fn a_lock_lasts_to_the_end_of_its_transaction_and_its_commit() {
        let last = StatementTrace { commit_ms: 20, ..ran(100, &[("public.b", "ShareLock")]) };
        let one = transaction(0, vec![ran(5, &[("public.a", AE)]), last]);
        let found = told(std::slice::from_ref(&one), &Scale::default());
        assert_eq!(found, [row("public.a", AE, 125, "reads and writes"), row("public.b", "ShareLock", 120, "writes")]);
        let (forecast, timeline) = foretell(&[one], &Scale::default(), &|name| name == "public.a");
        assert_eq!(forecast.len(), 1, "what the migration itself made keeps nobody waiting");
        assert_eq!((forecast[0].by.as_deref(), forecast[0].through.as_deref()), (Some("0001:1"), Some("0001:2")));
        assert_eq!((forecast[0].low_ms, forecast[0].high_ms), (Some(96), Some(163)));
        assert_eq!((timeline.total_ms, timeline.acts.len(), timeline.held.len()), (125, 2, 1));
    }

    #[test]
    fn reads_and_writes_are_told_apart_where_writes_wait_longer() {
        let both = [
            transaction(0, vec![ran(3, &[("t", AE)])]),
            transaction(1, vec![ran(800, &[("t", "ShareLock")])]),
            transaction(2, vec![ran(50, &[("t", "AccessShareLock"), ("u", "ShareUpdateExclusiveLock")])]),
        ];
        let found = told(&both, &Scale::default());
        assert_eq!(
            found,
            [
                row("t", AE, 3, "reads and writes"),
                row("t", "ShareLock", 800, "writes"),
                row("u", "ShareUpdateExclusiveLock", 50, "schema changes")
            ]
        );
        let shorter = transaction(3, vec![ran(900, &[("t", AE)])]);
        assert_eq!(told(&[both[1].clone(), shorter], &Scale::default()), [row("t", AE, 900, "reads and writes")]);
    }

    #[test]
    fn changed_rows_are_waited_for_to_the_end_of_the_transaction_and_to_the_end_of_a_batch() {
        let update =
            StatementTrace { changed: vec![("t".to_owned(), 1_000)], ..ran(3_000, &[("t", "RowExclusiveLock")]) };
        let found = told(&[transaction(0, vec![update.clone(), ran(10, &[])])], &Scale::default());
        assert_eq!(found, [row("t", "RowExclusiveLock", 3_010, CHANGED_ROWS)]);
        let batched = StatementTrace { batch: Some(100), ..update };
        assert_eq!(
            told(&[transaction(0, vec![batched])], &Scale::default()),
            [row("t", "RowExclusiveLock", 300, CHANGED_ROWS)]
        );
    }

    #[test]
    fn a_statement_outside_a_transaction_holds_what_it_was_seen_to_hold_as_long_as_it_was_seen() {
        let seen =
            |lock: &str, from_ms, to_ms| Window { object: "t".to_owned(), lock: lock.to_owned(), from_ms, to_ms };
        let alone = StatementTrace {
            windows: vec![seen("ShareUpdateExclusiveLock", 0, 1_000), seen(AE, 900, 912)],
            ..ran(1_000, &[("t", "ShareUpdateExclusiveLock"), ("t", AE)])
        };
        let (forecast, _) = foretell(&[transaction(0, vec![alone])], &Scale::default(), &|_| true);
        assert_eq!(
            (forecast[0].held_ms, forecast[0].at),
            (12, None),
            "it is over before the statement is: nothing is measured"
        );
        let full = StatementTrace { windows: vec![seen(AE, 1, 998)], ..ran(1_000, &[("t", AE)]) };
        let (forecast, _) = foretell(&[transaction(4, vec![full])], &Scale::default(), &|_| true);
        assert_eq!((forecast[0].held_ms, forecast[0].at), (999, Some((4, 0))));
    }

    #[test]
    fn a_sample_is_scaled_where_a_statement_works_through_rows_and_says_how_wide_the_guess_is() {
        let sizes = |bytes| BTreeMap::from([("t".to_owned(), bytes)]);
        let scale = Scale {
            basis: Basis::Sample,
            sandbox: sizes(1_000_000),
            target: sizes(40_000_000),
            wait_ms: 500,
            correction: None,
        };
        let rewrite = StatementTrace { rewrites: vec!["t".to_owned()], ..ran(25, &[("t", AE)]) };
        let (forecast, _) = foretell(&[transaction(0, vec![rewrite.clone()])], &scale, &|_| true);
        let one = &forecast[0];
        assert_eq!((one.low_ms, one.held_ms, one.high_ms), (Some(700), 1_000, Some(2_500)));
        assert_eq!(
            told(&[transaction(0, vec![ran(25, &[("t", AE)])])], &scale),
            [row("t", AE, 25, "reads and writes")]
        );
        // Without rows the size alone tells: 40 MB at 60 MB/s.
        let empty = Scale { basis: Basis::Schema, sandbox: sizes(8_192), ..scale };
        assert_eq!(told(&[transaction(0, vec![rewrite])], &empty), [row("t", AE, 692, "reads and writes")]);
    }

    #[test]
    fn what_earlier_runs_showed_counts_by_its_median_and_within_bounds() {
        assert_eq!(Correction::of(vec![]), None);
        assert_eq!(Correction::of(vec![1.2, 9.0, 1.4]), Some(Correction { percent: 140, runs: 3 }));
        assert_eq!(Correction::of(vec![90.0]), Some(Correction { percent: 400, runs: 1 }));
        assert_eq!(Correction::of(vec![0.001, f64::NAN]), Some(Correction { percent: 50, runs: 1 }));
        let scale = Scale { correction: Correction::of(vec![1.5]), ..Scale::default() };
        assert_eq!(
            told(&[transaction(0, vec![ran(100, &[("t", AE)])])], &scale),
            [row("t", AE, 150, "reads and writes")]
        );
    }

    #[test]
    fn a_picture_of_very_many_statements_shows_the_longest_in_their_order() {
        let many: Vec<_> = (0..100_u64).map(|at| transaction(0, vec![ran(at % 50 + 1, &[("t", AE)])])).collect();
        let (_, timeline) = foretell(&many, &Scale::default(), &|_| true);
        assert_eq!((timeline.acts.len(), timeline.held.len(), timeline.left_out), (SHOWN, SHOWN, 120));
        assert!(timeline.acts.is_sorted_by_key(|one| one.from_ms));
        assert!(timeline.acts.iter().all(|one| one.to_ms - one.from_ms > 25));
    }
}
