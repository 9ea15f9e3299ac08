//! Making a bundle: everything is written to a folder beside the wanted one, signed, recorded in the journal, and renamed.

use super::keys;
use super::period::{Asked, Period, Within, each_run, filters};
use super::{
    AFTER, BEFORE, CONSISTENCY, CONTEXT, EVENTS, FIRST, KEY, LAST, LEDGER, LedgerFile, Listed, MANIFEST, Manifest,
    PARAMETERS, Parameters, REPORT_CSV, REPORT_JSON, REPORT_MD, SEAL, SUMS, TargetLedger, VERIFY, seal_text,
};
use crate::cli::commands::journal_problem;
use crate::cli::render;
use crate::config::Config;
use crate::domain::audit::{self, AuditEvent};
use crate::domain::code::Code;
use crate::domain::event::Actor;
use crate::domain::failure::Failure;
use crate::domain::ids::EnvironmentName;
use crate::domain::ledger::{Steps, compare};
use crate::domain::time::rfc3339;
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;
use data_encoding::{BASE64, HEXLOWER};
use dbd_journal::chain;
use dbd_journal::export::Line;
use dbd_journal::merkle::{Prover, Tree, leaf};
use dbd_journal::note::{Checkpoint, SigningKey};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A bundle that was made.
pub(crate) struct Made {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub parameters: Parameters,
    /// The public key.
    pub key: String,
    /// The last checkpoint.
    pub checkpoint: Checkpoint,
    /// The ledgers of the targets.
    pub ledger: LedgerFile,
    /// The SHA-256 of its manifest.
    pub manifest: String,
}

/// What the runs of a period come to.
#[derive(Default)]
struct Population {
    entries: Vec<render::audit::Entry>,
    steps: Vec<Steps>,
    /// The targets that are reported on, each with the environment it was reached by.
    targets: BTreeMap<String, EnvironmentName>,
    /// Every run of the window, reported on or not.
    runs: BTreeSet<String>,
    /// Events from before the window.
    context: BTreeMap<u64, Line>,
}

/// Makes a bundle of the period `asked` means in the folder `out`, which must not be there.
///
/// # Errors
/// [`AlreadyThere`](Code::AlreadyThere), [`JournalBroken`](Code::JournalBroken) if the journal does not verify, or what goes wrong on the way;
/// then nothing is left behind.
pub(crate) async fn export(
    config: &Config,
    journal: &mut OpenJournal,
    actor: &Actor,
    asked: &Asked,
    out: &Path,
) -> Result<Made, Failure> {
    let there =
        || Failure::new(Code::AlreadyThere, format!("{} is there already", out.display())).hint("name another folder");
    if fs_err::symlink_metadata(out).is_ok() {
        return Err(there());
    }
    let key = keys::signer(config, journal, actor)?;
    sound(journal)?;
    let period = Period::resolve(asked, Some(journal), crate::wire::now_ms())?;
    let population = population(journal, &period, asked.env.as_deref())?;
    let ledger = ledgers(config, journal, &period, &population).await;

    let partial = beside(out)?;
    let guard = Folder::make(&partial)?;
    let mut made = write(&guard, journal, &period, asked, population, ledger, &key)?;
    // Before anybody can have the bundle, the journal knows what was signed: later checkpoints are held against it.
    record(journal, actor, &period, asked, &made, &key)?;
    guard.sync()?;
    if fs_err::symlink_metadata(out).is_ok() {
        return Err(there());
    }
    fs_err::rename(&partial, out).map_err(|error| unwritable(out, &error))?;
    guard.keep();
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let _ = fs_err::File::open(parent).and_then(|folder| folder.sync_all());
    }
    out.clone_into(&mut made.folder);
    Ok(made)
}

/// Nothing is signed over a journal that does not verify, or that does not continue what was signed before.
fn sound(journal: &OpenJournal) -> Result<(), Failure> {
    let verdict = journal.store().verify_against(&signed_roots(journal)?).map_err(|error| journal_problem(&error))?;
    let why = verdict.first_bad.as_ref().map(ToString::to_string).or(verdict.damage);
    why.map_or(Ok(()), |why| {
        Err(Failure::new(Code::JournalBroken, "the journal does not verify, so nothing was signed")
            .cause(why)
            .hint("`dbd audit verify` says what is still provable"))
    })
}

/// The roots that were signed at earlier exports.
pub(crate) fn signed_roots(journal: &OpenJournal) -> Result<Vec<(u64, [u8; 32])>, Failure> {
    let root = |text: &str| BASE64.decode(text.as_bytes()).ok()?.try_into().ok();
    // A root that cannot be one is over nothing, and so is never right.
    Ok(journal.trail()?.signed.iter().map(|one| (one.size, root(&one.root).unwrap_or_default())).collect())
}

fn population(journal: &OpenJournal, period: &Period, env: Option<&str>) -> Result<Population, Failure> {
    let trail = journal.trail()?;
    let mut all = Population::default();
    each_run(journal, period, &trail, |within: Within| {
        let environment = within.run.id.environment();
        let steps = Steps::of(&within.run, &within.events);
        all.runs.insert(within.run.id.as_str().to_owned());
        if within.events.first().is_some_and(|event| event.seq < period.first) {
            let stored = journal.store().events(within.run.id.as_str()).map_err(|error| journal_problem(&error))?;
            let earlier = stored.iter().filter(|entry| entry.seq < period.first);
            all.context.extend(earlier.map(|entry| (entry.seq, Line::from(entry))));
        }
        if env.is_none_or(|name| environment.as_str() == name) {
            all.targets.entry(steps.target.clone()).or_insert(environment);
            all.entries.push(within.told());
        }
        all.steps.push(steps);
        Ok(())
    })?;
    Ok(all)
}

/// What the targets have to say. One that cannot be asked is said to be so.
async fn ledgers(config: &Config, journal: &OpenJournal, period: &Period, population: &Population) -> LedgerFile {
    let mut targets = Vec::new();
    for (target, environment) in &population.targets {
        let mut one = TargetLedger {
            target: target.clone(),
            environment: environment.as_str().to_owned(),
            reached: false,
            why: None,
            rows: Vec::new(),
            matched: 0,
            differences: Vec::new(),
        };
        match config.environment(environment.as_str()) {
            Ok(known) if known.database_url.place() == *target => {
                match crate::wire::database().ledger(&known.database_url, &journal.origin()).await {
                    Ok(rows) => {
                        one.reached = true;
                        one.rows = rows
                            .into_iter()
                            .filter(|row| period.holds(row.seq) || population.runs.contains(&row.run))
                            .filter(|row| row.seq <= period.last)
                            .collect();
                        let steps: Vec<Steps> =
                            population.steps.iter().filter(|steps| steps.target == *target).cloned().collect();
                        let comparison = compare(&one.rows, &steps, period.first..=period.last);
                        (one.matched, one.differences) = (comparison.matched, comparison.differences);
                    }
                    Err(failure) => one.why = Some(failure.message),
                }
            }
            Ok(known) => {
                one.why = Some(format!("the URL of `{environment}` leads to {} now", known.database_url.place()));
            }
            Err(failure) => one.why = Some(failure.message),
        }
        targets.push(one);
    }
    LedgerFile { schema: "dbd.ledger-match/1".to_owned(), checked_ms: period.now_ms, targets }
}

fn write(
    folder: &Folder,
    journal: &OpenJournal,
    period: &Period,
    asked: &Asked,
    population: Population,
    ledger: LedgerFile,
    key: &SigningKey,
) -> Result<Made, Failure> {
    let origin = journal.origin();
    let mut files = BTreeMap::new();
    let walked = events(folder, journal, period, population.context, &mut files)?;
    let sign = |size, root| key.sign(&Checkpoint { origin: origin.clone(), size, root }.text());
    let parameters = Parameters {
        schema: "dbd.evidence/1".to_owned(),
        arguments: [("since", Some(asked.since.clone())), ("until", asked.until.clone()), ("env", asked.env.clone())]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        since: rfc3339(period.since_ms),
        until: rfc3339(period.until_ms),
        since_ms: period.since_ms,
        until_ms: period.until_ms,
        now_ms: period.now_ms,
        environment: asked.env.clone(),
        dbd: env!("CARGO_PKG_VERSION").to_owned(),
        origin: origin.clone(),
        created_ms: journal.store().created_ms(),
        genesis: chain::printed(&journal.store().genesis()),
        first_seq: period.first,
        last_seq: period.last,
        size: period.size,
        head: walked.head.clone(),
        runs: population.entries.len() as u64,
    };
    let window = period.window(origin.clone(), (period.size, walked.head.clone()), filters(asked.env.as_deref(), None));
    let entries = &population.entries;
    let texts = [
        (FIRST, sign(period.first - 1, walked.first)),
        (LAST, sign(period.size, walked.last)),
        (
            CONSISTENCY,
            pretty(&json!({
                "schema": "dbd.consistency/1", "first": period.first - 1, "second": period.size,
                "proof": walked.proof.iter().map(|hash| BASE64.encode(hash)).collect::<Vec<_>>(),
            })),
        ),
        (PARAMETERS, pretty(&parameters)),
        (LEDGER, pretty(&ledger)),
        (KEY, format!("{}\n", key.public())),
        (REPORT_MD, render::audit::markdown(entries, &window)),
        (REPORT_CSV, render::audit::csv(entries, &window)),
        (REPORT_JSON, pretty(&render::audit::json(entries, &window))),
        (VERIFY, include_str!("VERIFY.md").replace("{key}", &key.public().to_string())),
    ];
    for (name, text) in texts {
        files.insert(name.to_owned(), folder.put(name, text.as_bytes())?);
    }
    let sums = files.iter().fold(String::new(), |sums, (name, file)| format!("{sums}{}  {name}\n", file.sha256));
    files.insert(SUMS.to_owned(), folder.put(SUMS, sums.as_bytes())?);
    let manifest = Manifest { schema: "dbd.manifest/1".to_owned(), origin: origin.clone(), files, chain: walked.chain };
    let manifest = folder.put(MANIFEST, pretty(&manifest).as_bytes())?.sha256;
    folder.put(SEAL, key.sign(&seal_text(&origin, &manifest)).as_bytes())?;
    Ok(Made {
        folder: PathBuf::new(),
        parameters,
        key: key.public().to_string(),
        checkpoint: Checkpoint { origin, size: period.size, root: walked.last },
        ledger,
        manifest,
    })
}

/// What one walk through the journal gives.
struct Walked {
    first: [u8; 32],
    last: [u8; 32],
    proof: Vec<[u8; 32]>,
    head: String,
    chain: Option<(String, String)>,
}

/// Writes the events of the window, what belongs to them from outside it, and the leaves of the rest, in one walk through the journal.
fn events(
    folder: &Folder,
    journal: &OpenJournal,
    period: &Period,
    mut context: BTreeMap<u64, Line>,
    files: &mut BTreeMap<String, Listed>,
) -> Result<Walked, Failure> {
    let (mut before, mut inside, mut after) = (folder.begin(BEFORE)?, folder.begin(EVENTS)?, folder.begin(AFTER)?);
    let (mut tree, mut prover) = (Tree::default(), Prover::new(period.first - 1, period.size));
    let mut first = tree.root();
    let (mut head, mut chain) = (chain::printed(&journal.store().genesis()), None);
    let mut failed = None;
    let scanned = journal.store().scan(1, |entry| {
        if entry.seq > period.size {
            return ControlFlow::Break(());
        }
        let hash = leaf(entry.rec.as_bytes());
        prover.see(entry.seq - 1, hash);
        tree.push(hash);
        let written = if period.holds(entry.seq) {
            let line = Line::from(&entry);
            let (from, to) = chain.take().unwrap_or_else(|| (line.prev.clone(), String::new()));
            drop(to);
            chain = Some((from, line.hash.clone()));
            inside.line(&line.text())
        } else {
            // The neighbours of the window show that it ends where it says; the audit stream says which keys are right.
            let neighbour = entry.seq + 1 == period.first || entry.seq == period.last + 1;
            if neighbour || entry.run == audit::STREAM {
                context.insert(entry.seq, Line::from(&entry));
            }
            let side = if entry.seq < period.first { &mut before } else { &mut after };
            side.line(&HEXLOWER.encode(&hash))
        };
        if entry.seq + 1 == period.first {
            first = tree.root();
        }
        head = chain::printed(&entry.hash);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    scanned.map_err(|error| journal_problem(&error))?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    let mut aside = folder.begin(CONTEXT)?;
    for line in context.values() {
        aside.line(&line.text())?;
    }
    for (name, file) in [(BEFORE, before), (EVENTS, inside), (AFTER, after), (CONTEXT, aside)] {
        files.insert(name.to_owned(), file.end()?);
    }
    Ok(Walked { first, last: tree.root(), proof: prover.finish(), head, chain })
}

fn record(
    journal: &mut OpenJournal,
    actor: &Actor,
    period: &Period,
    asked: &Asked,
    made: &Made,
    key: &SigningKey,
) -> Result<(), Failure> {
    let event = AuditEvent::Exported {
        size: made.checkpoint.size,
        root: BASE64.encode(&made.checkpoint.root),
        key: key.public().to_string(),
        manifest: made.manifest.clone(),
        since_ms: period.since_ms,
        until_ms: period.until_ms,
        environment: asked.env.clone(),
    };
    let mut trail = journal.trail()?;
    match keys::append(journal, &mut trail, &event, actor)? {
        Some(_) => Ok(()),
        None => Err(Failure::new(Code::Busy, "somebody else changed the audit stream meanwhile").hint("try again")),
    }
}

/// Where the bundle grows until it is whole: beside its place, so that a rename is all that is left to do.
fn beside(out: &Path) -> Result<PathBuf, Failure> {
    let name = out.file_name().ok_or_else(|| {
        Failure::new(Code::BadArgument, format!("{} names no folder that could be made", out.display()))
    })?;
    let parent = out.parent().unwrap_or(Path::new(""));
    Ok(parent.join(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id())))
}

/// A folder that is gone again unless it is kept.
struct Folder {
    path: PathBuf,
    kept: std::cell::Cell<bool>,
}

impl Folder {
    fn make(path: &Path) -> Result<Self, Failure> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs_err::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
        }
        // What a killed process of the same number left behind.
        let _ = fs_err::remove_dir_all(path);
        fs_err::create_dir(path).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), kept: std::cell::Cell::new(false) })
    }

    fn begin(&self, name: &str) -> Result<Growing, Failure> {
        let path = self.path.join(name);
        let file = fs_err::File::create_new(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(Growing { file: BufWriter::new(file), path, digest: Sha256::new(), bytes: 0 })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Listed, Failure> {
        let mut file = self.begin(name)?;
        file.bytes(bytes)?;
        file.end()
    }

    fn sync(&self) -> Result<(), Failure> {
        fs_err::File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(&self.path, &error))
    }

    fn keep(&self) {
        self.kept.set(true);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept.get() {
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}

/// A file being written, and its digest.
struct Growing {
    file: BufWriter<fs_err::File>,
    path: PathBuf,
    digest: Sha256,
    bytes: u64,
}

impl Growing {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| unwritable(&self.path, &error))
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    fn end(self) -> Result<Listed, Failure> {
        let Self { file, path, digest, bytes } = self;
        let file = file.into_inner().map_err(|error| unwritable(&path, error.error()))?;
        file.sync_all().map_err(|error| unwritable(&path, &error))?;
        Ok(Listed { sha256: HEXLOWER.encode(&digest.finalize()), bytes })
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let code = if error.kind() == std::io::ErrorKind::StorageFull { Code::DiskFull } else { Code::FileUnwritable };
    Failure::new(code, format!("{} cannot be written", path.display())).source(error)
}
