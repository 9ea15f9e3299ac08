//! Applies a folder of numbered SQL files through dbd's apply step and nothing else: a contender beside `psql` and other tools.
//!
//! `cargo bench --no-run --bench apply` makes it; `target/release/deps/apply-<hash> URL FOLDER [JOURNAL]` runs it. It takes the target's lock, installs the
//! ledger, and then applies each pending migration as the loop does, in a transaction that begins with the lease and the ledger's row. With the path of a journal it
//! also appends the intent before and the outcome after it, each synced to disk. No dump, no rehearsal, no look at the catalog.

#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, clippy::unwrap_used)]

use dbd::adapters::journal::SqliteJournal;
use dbd::adapters::postgres::Postgres;
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::decide;
use dbd::domain::effect::Effect;
use dbd::domain::event::{Actor, Event, Outcome, Pending};
use dbd::domain::failure::Failure;
use dbd::domain::ids::{EffectId, RunId};
use dbd::domain::migration::{Folder, Format, FormatChoice, read_folder, standing};
use dbd::ports::database::{Anchor, ApplyOrder, Around, Database, Holder};
use dbd::ports::journal::{Journal, NewEvent};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [url, folder, journal @ ..] = arguments.as_slice() else {
        // `cargo bench` runs it without a target.
        println!("usage: apply URL FOLDER [JOURNAL]");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(apply(url, Path::new(folder), journal.first().map(Path::new)));
    match done {
        Ok((applied, steps)) => println!("{applied} applied, the steps in {} us", steps.as_micros()),
        Err(failure) => {
            eprintln!("{failure}: {}", failure.causes.join("; "));
            std::process::exit(1);
        }
    }
}

/// The events of one run, made durable one by one.
struct Record {
    journal: SqliteJournal,
    run: RunId,
    actor: Actor,
    epoch: u64,
    rseq: u64,
}

impl Record {
    fn append(&mut self, event: &Event) {
        let new = NewEvent {
            run: &self.run,
            expected_rseq: self.rseq,
            now_ms: now(),
            epoch: self.epoch,
            actor: &self.actor,
            event,
            blobs: Vec::new(),
        };
        self.rseq = self.journal.append(new).unwrap_or_else(|_| panic!("the journal takes no event")).rseq;
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// The files whose names are numbers, in order.
fn numbered(folder: &Path) -> Folder {
    let mut found = Folder { dir: folder.to_str().unwrap().to_owned(), ..Folder::default() };
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".sql") {
            found.files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

async fn apply(url: &str, folder: &Path, journal: Option<&Path>) -> Result<(usize, Duration), Failure> {
    let url = ConnectionUrl::parse(url)?;
    let reader = Format::Sql.reader();
    let tracking = reader.tracking();
    let database = Postgres::default();
    // Both at once, as a run's preflight looks at all there is at once.
    let folder = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || read_folder(&numbered(&folder), FormatChoice::Given(Format::Sql)));
    let (rows, set) = tokio::join!(database.applied(&url, &tracking), read);
    let (rows, set) = (rows?.unwrap_or_default(), set.unwrap()?);
    let standing = standing(&set, &rows);
    if standing.pending.is_empty() {
        return Ok((0, Duration::ZERO));
    }
    let run = RunId::parse(&format!("deploy-bench-{}", now())).unwrap();
    let actor =
        Actor { kind: "system".to_owned(), id: "bench".to_owned(), via: "os".to_owned(), host: "localhost".to_owned() };
    let mut record = journal.map(|path| {
        let mut journal = SqliteJournal::open(path, "localhost", std::process::id(), now()).unwrap();
        let epoch = journal.take_epoch("bench", &run, "bench", now()).unwrap();
        Record { journal, run: run.clone(), actor, epoch, rseq: 0 }
    });
    let _hold = database.hold(&url, &run, "bench").await?;
    let origin = "bench".to_owned();
    let holder = Holder::new(run.clone(), origin.clone(), 1, "b3:0123456789abcdef", "bench".to_owned());
    database.prepare(&url, Some(&tracking), &holder).await?;
    let pending: Vec<Pending> =
        standing.pending.iter().map(|place| Pending { migration: set.migrations[*place].clone(), blob: 0 }).collect();
    let begun = Instant::now();
    for (place, step) in decide::steps(&pending).into_iter().enumerate() {
        let migration = &pending[step.migration].migration;
        let effect = EffectId::derive(&origin, &run, &format!("migrate {place}"), step.digest.as_str().as_bytes());
        if let Some(record) = &mut record {
            record.append(&Event::Intended { effect: Effect::Migrate { step: place }, id: effect.clone(), attempt: 1 });
        }
        let anchor = Anchor { origin: origin.clone(), seq: place as u64, hash: format!("b3:{:064}", place) };
        let order = ApplyOrder {
            url: &url,
            holder: &holder,
            effect: &effect,
            anchor: &anchor,
            step: &step,
            units: &migration.units,
            file: &migration.file,
            text: &migration.text,
            bookkeeping: step.last.then(|| reader.record_sql(migration, &migration.text, &run)),
            around: Around::default(),
            lock_timeout_ms: 500,
            lock_budget_ms: 60_000,
            statement_timeout_ms: None,
            timeout_ms: 300_000,
            pooled: false,
            // As their rehearsal would say.
            brief: true,
            watch: false,
            progress: &|_| {},
        };
        let applied = database.apply(order).await.map_err(|not| not.failure)?;
        if let Some(record) = &mut record {
            let duration_ms = applied.report.duration_ms;
            record.append(&Event::Succeeded { id: effect, outcome: Outcome::Step(applied.report), duration_ms });
        }
    }
    let steps = begun.elapsed();
    database.rest().await;
    Ok((pending.len(), steps))
}
