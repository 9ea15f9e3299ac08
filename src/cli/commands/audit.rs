//! `dbd audit`: the change record of a period, from the journal alone; bundles of evidence, their verification and the journal's own; the key
//! that signs; reviews after the fact.

use super::{find_run, journal_there, journal_to_write};
use crate::cli::evidence::period::{Asked, Period, each_run, filters, spoken};
use crate::cli::evidence::verify::{Against, Verified};
use crate::cli::evidence::{Finding, anchors, export, keys, verify};
use crate::cli::exit::ExitCode;
use crate::cli::render::words::plural;
use crate::cli::shell::Shell;
use crate::cli::{Context, Outcome, render};
use crate::config::Config;
use crate::domain::audit::{AuditEvent, Trail};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::Recorded;
use crate::domain::evolve::advance;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::run::Run;
use crate::domain::time::rfc3339;
use crate::ports::journal::Journal;
use clap::ValueEnum;
use dbd_journal::note::PublicKey;
use dbd_journal::{Pace, Seen};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// The change record of a period: every run, who, what, when, why, with what outcome
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    window: WindowArgs,
}

#[derive(Debug, clap::Args)]
struct WindowArgs {
    #[command(flatten)]
    asked: Asked,
    /// Only runs this person asked for or decided about
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write it to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How the change record is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Markdown,
    Html,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Make a bundle of evidence: the events of a period, signed, with the record and all that is needed to verify it offline
    Export(ExportArgs),
    /// Check a bundle of evidence; without one, the journal itself and what was written down of it elsewhere
    Verify(VerifyArgs),
    /// Record that somebody looked at a run after the fact
    Review(ReviewArgs),
    /// The key that signs bundles
    #[command(subcommand)]
    Key(KeySub),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    asked: Asked,
    /// The folder to make; it must not be there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The bundle; the journal itself if left out
    dir: Option<PathBuf>,
    /// A checkpoint of an earlier bundle: the journal must continue it
    #[arg(long, value_name = "NOTE", requires = "dir")]
    prev: Option<PathBuf>,
    /// A target of the bundle's runs, to compare its ledger as it is now; `env:NAME` reads the URL from that variable
    #[arg(long, value_name = "URL", requires = "dir")]
    db: Option<String>,
    /// The public key the bundle must be signed by, or a file that holds it
    #[arg(long, value_name = "PUBKEY", requires = "dir")]
    key: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ReviewArgs {
    /// The run
    run: String,
    /// What you found, or why it was right
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Subcommand)]
enum KeySub {
    /// Print the public key, and the keys before it
    Show,
    /// Make another key; the one before vouches for it
    Rotate {
        /// Why; needed if the old key is lost
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    match args.command {
        Some(Sub::Export(args)) => export(context, args).await,
        Some(Sub::Verify(VerifyArgs { dir: None, .. })) => verify_journal(context).await,
        Some(Sub::Verify(args)) => verify_bundle(context, args).await,
        Some(Sub::Review(args)) => review(context, &args),
        Some(Sub::Key(KeySub::Show)) => show_key(context),
        Some(Sub::Key(KeySub::Rotate { reason })) => rotate_key(context, reason.as_deref()),
        None => record(context, &args.window),
    }
}

fn record(context: &Context, args: &WindowArgs) -> Outcome {
    let config = context.load()?;
    let journal = crate::wire::journal_for_reading(&config)?;
    let period = Period::resolve(&args.asked, journal.as_ref(), crate::wire::now_ms())?;
    let mut shell = context.shell.borrow_mut();
    let format = if shell.is_json() { Format::Json } else { args.format };
    let mut sink = Sink::open(context, args.output.as_deref())?;
    if format == Format::Csv {
        sink.write(&mut shell, &render::audit::csv_head())?;
    }
    let (mut entries, mut count) = (Vec::new(), 0_u64);
    let (origin, head) = match &journal {
        None => ("none".to_owned(), (0, String::new())),
        Some(journal) => {
            each_run(journal, &period, &journal.trail()?, |within| {
                let env = args.asked.env.as_deref().is_none_or(|name| within.run.id.environment().as_str() == name);
                let actor = args.actor.as_deref().is_none_or(|name| {
                    let acted = within.events.iter().map(|event| event.actor.id.as_str());
                    acted.chain(within.reviews.iter().map(|review| review.by.as_str())).any(|id| id.contains(name))
                });
                if env && actor {
                    count += 1;
                    // A row needs no other row: nothing is held, however long the period.
                    if format == Format::Csv {
                        return sink.write(&mut shell, &render::audit::csv_row(&within.told()));
                    }
                    entries.push(within.told());
                }
                Ok(())
            })?;
            (journal.origin(), journal.head()?)
        }
    };
    let window = period.window(origin, head, filters(args.asked.env.as_deref(), args.actor.as_deref()));
    let color = shell.out_has_color() && args.output.is_none();
    match format {
        Format::Csv => {}
        Format::Json if args.output.is_none() => shell.result_json(&render::audit::json(&entries, &window))?,
        Format::Json => {
            let document = render::audit::json(&entries, &window);
            sink.write(&mut shell, &serde_json::to_string_pretty(&document).unwrap_or_default())?;
        }
        Format::Table => {
            sink.write(&mut shell, &render::audit::table(&entries, &window, context.width(), color))?;
        }
        Format::Markdown => sink.write(&mut shell, &render::audit::markdown(&entries, &window))?,
        Format::Html => sink.write(&mut shell, &render::audit::html(&entries, &window))?,
    }
    if let Some(path) = sink.close()? {
        shell.status("wrote", &format!("{count} runs of {} to {}", spoken(&period), path.display()));
    }
    Ok(ExitCode::Ok)
}

/// Where the record goes: stdout, or a file.
struct Sink {
    file: Option<(PathBuf, std::io::BufWriter<fs_err::File>)>,
}

impl Sink {
    fn open(context: &Context, path: Option<&std::path::Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { file: None }) };
        let path = context.directory.join(path);
        let file = fs_err::File::create(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(Self { file: Some((path, std::io::BufWriter::new(file))) })
    }

    fn write(&mut self, shell: &mut Shell, text: &str) -> Result<(), Failure> {
        match &mut self.file {
            Some((path, file)) => {
                std::io::Write::write_all(file, text.as_bytes()).map_err(|error| unwritable(path, &error))
            }
            None => shell.result(text),
        }
    }

    /// Writes what is left, and gives the file's name.
    fn close(self) -> Result<Option<PathBuf>, Failure> {
        let Some((path, file)) = self.file else { return Ok(None) };
        match file.into_inner() {
            Ok(_) => Ok(Some(path)),
            Err(error) => Err(unwritable(&path, error.error())),
        }
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnwritable, format!("{} cannot be written", path.display())).source(error)
}

async fn export(context: &Context, args: ExportArgs) -> Outcome {
    let config = context.load()?;
    let mut journal = journal_to_write(&config)?;
    let actor = context.actor(&config);
    let out = context.directory.join(&args.out);
    let made = export::export(&config, &mut journal, &actor, &args.asked, &out).await?;
    journal.checkpoint();
    let parameters = &made.parameters;
    let mut shell = context.shell.borrow_mut();
    for one in &made.ledger.targets {
        for difference in &one.differences {
            shell.warn(&Failure::new(Code::LedgerDiffers, difference.message.clone()));
        }
        if let Some(why) = &one.why {
            shell.note(&format!("the ledger of {} could not be asked, and the bundle says so: {why}", one.target));
        }
    }
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.export/1",
            "bundle": config.shown(&made.folder),
            "runs": parameters.runs,
            "window": {
                "since": parameters.since,
                "until": parameters.until,
                "first_seq": parameters.first_seq,
                "last_seq": parameters.last_seq,
            },
            "events": parameters.last_seq + 1 - parameters.first_seq,
            "checkpoint": {
                "origin": made.checkpoint.origin,
                "size": made.checkpoint.size,
                "root": data_encoding::BASE64.encode(&made.checkpoint.root),
            },
            "key": made.key,
            "manifest": made.manifest,
            "ledgers": made.ledger.targets.iter().map(|one| json!({
                "target": one.target, "environment": one.environment, "reached": one.reached, "why": one.why,
                "matched": one.matched, "differences": one.differences,
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        shell.result(&format!(
            "{}: {} and {} of {}\nsigned by {}\n",
            made.folder.display(),
            plural(parameters.last_seq + 1 - parameters.first_seq, "event", "events"),
            plural(parameters.runs, "run", "runs"),
            parameters.origin,
            made.key
        ))?;
        shell.note("give the public key to whoever verifies it by another way than the bundle");
    }
    Ok(ExitCode::Ok)
}

async fn verify_bundle(context: &Context, args: VerifyArgs) -> Outcome {
    let dir = context.directory.join(args.dir.unwrap_or_default());
    let earlier = args.prev.map(|path| readable(&context.directory.join(path))).transpose()?;
    let key = args.key.as_deref().map(|text| public_key(context, text)).transpose()?;
    let against = Against { earlier, key };
    let mut verified = verify::verify(&dir, &against)?;
    if let Some(url) = &args.db {
        live(context, url, &mut verified).await?;
    }
    let shown = dir.display().to_string();
    let parameters = verified.parameters.as_ref();
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.verify/1",
            "bundle": shown,
            "sound": verified.findings.is_empty(),
            "events": verified.events,
            "runs": verified.runs,
            "window": parameters.map(|one| json!({
                "since": one.since, "until": one.until, "first_seq": one.first_seq, "last_seq": one.last_seq,
            })),
            "journal": parameters.map(|one| json!({"origin": one.origin, "seq": one.size, "head": one.head})),
            "checkpoint": verified.checkpoint.as_ref().map(|one| json!({
                "origin": one.origin, "size": one.size, "root": data_encoding::BASE64.encode(&one.root),
            })),
            "key": verified.key,
            "first_bad": first_bad(&verified.findings),
            "findings": verified.findings.iter().map(Finding::json).collect::<Vec<_>>(),
            "notes": verified.notes,
        }))?;
    } else {
        if verified.findings.is_empty() {
            let of = parameters.map(|one| format!(", {} to {}", one.since, one.until)).unwrap_or_default();
            shell.result(&format!(
                "sound: {} and {}{of}\nsigned by {}\n",
                plural(verified.events, "event", "events"),
                plural(verified.runs, "run", "runs"),
                verified.key.as_deref().unwrap_or("nobody")
            ))?;
        } else {
            shell.result(&unsound(&verified.findings))?;
        }
        for note in &verified.notes {
            shell.note(note);
        }
        if against.key.is_none() && verified.findings.is_empty() {
            shell.note("whose key that is, the bundle cannot prove: compare it, or give it with --key");
        }
    }
    Ok(ending(&verified.findings))
}

/// The ledger of a target as it is now.
async fn live(context: &Context, text: &str, verified: &mut Verified) -> Result<(), Failure> {
    let Some(parameters) = &verified.parameters else { return Ok(()) };
    let named = text.strip_prefix("env:");
    let held = named.map_or(Some(text), |name| context.variables.get(name).map(String::as_str)).ok_or_else(|| {
        Failure::new(Code::BadArgument, format!("the variable {} of --db is not set", named.unwrap_or_default()))
    })?;
    let user = context.variables.get(crate::config::env::USER).map(String::as_str);
    let url = ConnectionUrl::parse_with_default_user(held, user)?;
    let place = url.place();
    if !verified.steps.iter().any(|steps| steps.target == place) {
        let known: std::collections::BTreeSet<&str> =
            verified.steps.iter().map(|steps| steps.target.as_str()).collect();
        return Err(Failure::new(Code::BadArgument, format!("no run that could be verified is about {place}"))
            .hint(format!("the bundle's runs are about: {}", known.into_iter().collect::<Vec<_>>().join(", ")))
            .hint("name the host as the run did, as the ledger is found by it"));
    }
    let rows = crate::wire::database().ledger(&url, &parameters.origin).await?;
    for finding in verify::held_against(&rows, &place, &verified.steps, parameters) {
        if !verified.findings.contains(&finding) {
            verified.findings.push(finding);
        }
    }
    Ok(())
}

fn public_key(context: &Context, text: &str) -> Result<PublicKey, Failure> {
    let parsed = PublicKey::parse(text)
        .or_else(|| fs_err::read_to_string(context.directory.join(text)).ok().and_then(|text| PublicKey::parse(&text)));
    parsed.ok_or_else(|| {
        Failure::new(Code::BadArgument, "--key is neither a public key nor a file that holds one")
            .hint("it is written name+id+data; `dbd audit key show` prints it where the journal is")
    })
}

fn readable(path: &std::path::Path) -> Result<String, Failure> {
    fs_err::read_to_string(path)
        .map_err(|error| Failure::new(Code::BadArgument, format!("{} cannot be read", path.display())).source(&error))
}

fn first_bad(findings: &[Finding]) -> serde_json::Value {
    let first = findings.iter().filter(|finding| finding.seq.is_some()).min_by_key(|finding| finding.seq);
    first.map_or(serde_json::Value::Null, |one| json!({"seq": one.seq, "why": one.message}))
}

fn unsound(findings: &[Finding]) -> String {
    let lines: String = findings.iter().map(|finding| format!("  {}: {}\n", finding.code, finding.message)).collect();
    format!("not sound\n{lines}")
}

fn ending(findings: &[Finding]) -> ExitCode {
    if findings.is_empty() { ExitCode::Ok } else { ExitCode::Differences }
}

/// How many runs are followed at a time: as many as are likely to be at work side by side, and few enough to be held.
const FOLLOWED: usize = 64;

/// The histories of runs, folded while the journal is read from end to end. Whatever does not come out is looked at again by itself.
#[derive(Default)]
struct Histories {
    /// The runs that are followed, each with the place of its last event.
    open: HashMap<String, (Run, u64)>,
    /// Runs that were not legal, or went on when nobody followed them any more.
    again: BTreeSet<RunId>,
    /// How many runs there are.
    runs: u64,
}

impl Histories {
    /// Takes the event `rseq` of the run, at the place `seq` in the journal; none if it cannot be read.
    fn take(&mut self, name: &str, (seq, rseq, event): (u64, u64, Option<Recorded>)) {
        let known = self.open.get_mut(name);
        if let Some((run, last)) = known {
            if event.is_some_and(|event| advance(run, &event).is_ok()) {
                *last = seq;
            } else if let Some((run, _)) = self.open.remove(name) {
                self.again.insert(run.id);
            }
            return;
        }
        let Some(id) = RunId::parse(name) else { return };
        if rseq > 1 {
            self.again.insert(id);
            return;
        }
        self.runs += 1;
        if self.open.len() >= FOLLOWED
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (_, last))| *last).map(|(name, _)| name.clone())
        {
            self.open.remove(&oldest);
        }
        self.open.insert(name.to_owned(), (Run::blank(id), 0));
        self.take(name, (seq, rseq, event));
    }
}

async fn verify_journal(context: &Context) -> Outcome {
    let config = context.load()?;
    let journal = journal_there(&config)?;
    // What the trail says is only worth comparing with if it can be read; whether it can is found out by the same walk.
    let trail = journal.trail();
    let roots = export::signed_roots(&journal).unwrap_or_default();
    let mut histories = Histories::default();
    let read = |_: &str, seen: Seen<'_>| (seen.seq, seen.rseq, crate::wire::recorded(seen).ok());
    let looked = journal.store().verify_each(&roots, Pace::default(), read, |run, event| histories.take(run, event));
    let verdict = looked.map_err(|error| {
        Failure::new(Code::JournalUnusable, format!("{} cannot be read", config.shown(&config.journal.path)))
            .source(&error)
    })?;
    let mut findings: Vec<Finding> = Vec::new();
    let mut notes = Vec::new();
    if let Some(bad) = &verdict.first_bad {
        let rewritten = matches!(bad.why, dbd_journal::Why::Root | dbd_journal::Why::Short { .. });
        let code = if rewritten { Code::HistoryRewritten } else { Code::JournalBroken };
        findings.push(Finding::new(code, format!("event {}: {}", bad.seq, bad.why)).at(bad.seq));
    }
    if let Some(damage) = &verdict.damage {
        findings.push(Finding::new(Code::JournalBroken, format!("the file is damaged: {damage}")));
    }
    let (mut runs, mut anchored) = (0, 0);
    if findings.is_empty() {
        runs = histories.runs;
        for run in histories.again {
            if let Err(failure) = super::story(&journal, &run) {
                let message = format!("{}: {}", failure.message, failure.causes.join("; "));
                findings.push(Finding::new(failure.code, message));
            }
        }
        match &trail {
            Err(failure) => {
                findings.push(Finding::new(failure.code, format!("{}: {}", failure.message, failure.causes.join("; "))))
            }
            Ok(trail) if findings.is_empty() => {
                // What is whole in itself may still be shorter than it was, or another one.
                if let Err(failure) = journal.beside() {
                    findings.push(Finding::new(failure.code, failure.message));
                }
                let held = anchors::hold(&config, &journal, trail).await?;
                anchored = held.fits;
                findings.extend(held.findings);
                notes.extend(held.notes);
            }
            Ok(_) => {}
        }
    }
    let head = dbd_journal::chain::printed(&verdict.head.hash);
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.verify/1", "sound": findings.is_empty(), "events": verdict.events, "runs": runs, "purged": verdict.purged,
            "anchors": anchored, "checkpoints": roots.len(),
            "first_bad": verdict.first_bad.as_ref().map_or_else(|| first_bad(&findings), |bad| json!({"seq": bad.seq, "why": bad.why.to_string()})),
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(), "notes": notes,
            "journal": {"origin": journal.origin(), "seq": verdict.head.seq, "head": head},
        }))?;
    } else {
        if findings.is_empty() {
            let anchors = plural(anchored, "anchor fits", "anchors fit");
            shell.result(&format!(
                "sound: {} of {}, {anchors}, head {} {head}",
                plural(verdict.events, "event", "events"),
                plural(runs, "run", "runs"),
                verdict.head.seq
            ))?;
        } else {
            shell.result(&unsound(&findings))?;
            if let Some(bad) = &verdict.first_bad {
                shell.note(&format!("everything before event {} is still provable", bad.seq));
            }
        }
        for note in &notes {
            shell.note(note);
        }
    }
    Ok(ending(&findings))
}

fn review(context: &Context, args: &ReviewArgs) -> Outcome {
    let config = context.load()?;
    if args.reason.trim().is_empty() {
        return Err(Failure::new(Code::BadArgument, "a review needs a reason")
            .hint("say what you found: --reason \"...\"")
            .into());
    }
    let mut journal = journal_to_write(&config)?;
    let story = find_run(&journal, &args.run)?;
    let id = story.run.id.clone();
    if !story.run.state.is_settled() {
        return Err(Failure::new(
            Code::NotAwaiting,
            format!("{id} is not finished, so there is nothing to review yet"),
        )
        .hint(format!("`dbd status {id}` says how it stands"))
        .into());
    }
    let actor = context.actor(&config);
    let event = AuditEvent::Reviewed { run: id.clone(), reason: args.reason.trim().to_owned() };
    let seq = loop {
        let mut trail: Trail = journal.trail()?;
        if let Some(seq) = keys::append(&mut journal, &mut trail, &event, &actor)? {
            break seq;
        }
    };
    let entry = render::audit::entry(&story.run, &story.events, &journal.trail()?.reviews[&id]);
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.review/1", "run": id, "by": actor.id, "reason": args.reason.trim(), "seq": seq,
            "emergency": entry.emergency,
        }))?;
    } else {
        shell.result(&format!("{id} reviewed by {}\n", actor.id))?;
        if entry.requested_by.as_deref() == Some(actor.id.as_str()) {
            shell.note("it was requested by the same person, and the record says so");
        }
    }
    Ok(ExitCode::Ok)
}

fn show_key(context: &Context) -> Outcome {
    let config = context.load()?;
    let trail = match crate::wire::journal_for_reading(&config)? {
        Some(journal) => journal.trail()?,
        None => Trail::default(),
    };
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.key/1",
            "key": trail.current().map(|current| current.key.as_str()),
            "keys": trail.keys.iter().map(|one| json!({
                "key": one.key, "since": rfc3339(one.since_ms), "by": one.by.id, "seq": one.seq,
                "after": one.after.as_ref().map(|(key, _)| key),
                "vouched_for": one.after.as_ref().map(|(_, word)| word.is_some()),
            })).collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::Ok);
    }
    match trail.current() {
        Some(current) => shell.result(&format!("{}\n", current.key))?,
        None => shell.note("there is no key yet; the first `dbd audit export` makes one"),
    }
    for one in &trail.keys {
        shell.note(&format!("since {}, by {}: {}", rfc3339(one.since_ms), one.by.id, one.key));
    }
    shell.detail(&format!("the private half is {}", keys::place(&config)));
    Ok(ExitCode::Ok)
}

fn rotate_key(context: &Context, reason: Option<&str>) -> Outcome {
    let config: Config = context.load()?;
    let mut journal = journal_to_write(&config)?;
    let actor = context.actor(&config);
    let key = keys::rotate(&config, &mut journal, &actor, reason)?;
    journal.checkpoint();
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.key/1", "key": key.to_string()}))?;
    } else {
        shell.result(&format!("{key}\n"))?;
        shell.note("bundles that were signed by the key before stay verifiable: its events are in the journal");
    }
    Ok(ExitCode::Ok)
}
