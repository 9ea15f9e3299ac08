//! `dbd audit`: the change record of a period, from the journal alone; `dbd audit verify`: the check of the journal itself.

use super::{journal_there, stories};
use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome, render};
use crate::config::since;
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::engine::anchors;
use crate::ports::journal::Journal;
use clap::ValueEnum;
use serde_json::json;
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
    /// From when: 30d, 12h, a date, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    since: String,
    /// Until when; now if left out
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only this environment
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
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
    /// Check the journal: chain, gaps, texts, and the legality of every run's history
    Verify,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    match args.command {
        Some(Sub::Verify) => verify(context).await,
        None => record(context, &args.window),
    }
}

fn record(context: &Context, args: &WindowArgs) -> Outcome {
    let config = context.load()?;
    let now_ms = crate::wire::now_ms();
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let since_ms = since::parse(&args.since, now)?.as_millisecond();
    let until_ms = args
        .until
        .as_deref()
        .map(|text| since::parse(text, now))
        .transpose()?
        .map_or(now_ms, |time| time.as_millisecond());
    if since_ms > until_ms {
        return Err(Failure::new(Code::BadArgument, "--since lies after --until").into());
    }
    let (entries, origin, head) = match crate::wire::journal_for_reading(&config)? {
        None => (Vec::new(), "none".to_owned(), (0, String::new())),
        Some(journal) => {
            let mut entries = Vec::new();
            for story in stories(&journal)? {
                let entry = render::audit::entry(&story.run, &story.events);
                let asked = story.run.requested.as_ref().map_or(story.run.last_ms, |asked| asked.ts_ms);
                // A run belongs to a period if any of it happened in it.
                let within = asked <= until_ms && story.run.last_ms >= since_ms;
                let environment = args.env.as_deref().is_none_or(|name| story.run.id.environment().as_str() == name);
                let actor = args
                    .actor
                    .as_deref()
                    .is_none_or(|name| story.events.iter().any(|event| event.actor.id.contains(name)));
                if within && environment && actor {
                    entries.push(entry);
                }
            }
            (entries, journal.origin(), journal.head()?)
        }
    };
    let filters = [("env", &args.env), ("actor", &args.actor)];
    let filters = filters
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| ((*name).to_owned(), value.clone())))
        .collect();
    let window = render::audit::Window { since_ms, until_ms, now_ms, filters, origin, head_seq: head.0, head: head.1 };
    let mut shell = context.shell.borrow_mut();
    let color = shell.out_has_color() && args.output.is_none();
    let format = if shell.is_json() { Format::Json } else { args.format };
    let document = render::audit::json(&entries, &window);
    let text = match format {
        Format::Table => render::audit::table(&entries, &window, context.width(), color),
        Format::Json => serde_json::to_string_pretty(&document).unwrap_or_default(),
        Format::Csv => render::audit::csv(&entries, &window),
        Format::Markdown => render::audit::markdown(&entries, &window),
        Format::Html => render::audit::html(&entries, &window),
    };
    match &args.output {
        Some(path) => {
            let path = context.directory.join(path);
            fs_err::write(&path, text).map_err(|error| {
                Failure::new(Code::FileUnwritable, format!("{} cannot be written", path.display())).source(&error)
            })?;
            shell.status("wrote", &format!("{} runs to {}", entries.len(), path.display()));
        }
        None if format == Format::Json => shell.result_json(&document)?,
        None => shell.result(&text)?,
    }
    Ok(ExitCode::Ok)
}

async fn verify(context: &Context) -> Outcome {
    let config = context.load()?;
    let journal = journal_there(&config)?;
    let verdict = journal.store().verify().map_err(|error| {
        Failure::new(Code::JournalUnusable, format!("{} cannot be read", config.shown(&config.journal.path)))
            .source(&error)
    })?;
    let mut findings: Vec<String> = Vec::new();
    if let Some(bad) = &verdict.first_bad {
        findings.push(format!("event {}: {}", bad.seq, bad.why));
    }
    if let Some(damage) = &verdict.damage {
        findings.push(format!("the file is damaged: {damage}"));
    }
    let mut runs = 0;
    if findings.is_empty() {
        for head in journal.runs()? {
            runs += 1;
            if let Err(failure) = super::story(&journal, &head.run) {
                findings.push(format!("{}: {}", failure.message, failure.causes.join("; ")));
            }
        }
    }
    // What is whole in itself may still be shorter than it was, or another one.
    let mut unasked = Vec::new();
    if findings.is_empty() {
        findings.extend(elsewhere(&config, &journal, &mut unasked).await?);
    }
    let head = dbd_journal::chain::printed(&verdict.head.hash);
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.verify/1", "sound": findings.is_empty(), "events": verdict.events, "runs": runs, "purged": verdict.purged,
            "first_bad": verdict.first_bad.as_ref().map(|bad| json!({"seq": bad.seq, "why": bad.why.to_string()})),
            "findings": findings, "not_asked": unasked, "journal": {"origin": journal.origin(), "seq": verdict.head.seq, "head": head},
        }))?;
    } else if findings.is_empty() {
        shell.result(&format!("sound: {} events of {runs} runs, head {} {head}", verdict.events, verdict.head.seq))?;
    } else {
        shell.result(&format!(
            "not sound\n{}",
            findings.iter().map(|finding| format!("  {finding}\n")).collect::<String>()
        ))?;
        if let Some(bad) = &verdict.first_bad {
            shell.note(&format!("everything before event {} is still provable", bad.seq));
        }
    }
    for place in &unasked {
        shell.note(&format!("not compared: {place}"));
    }
    Ok(if findings.is_empty() { ExitCode::Ok } else { ExitCode::Differences })
}

/// What others remember of the journal and it does not hold: the head beside it, the files of its runs, the ledgers of its targets. A target
/// that cannot be asked is told in `unasked`.
async fn elsewhere(
    config: &crate::config::Config,
    journal: &crate::wire::OpenJournal,
    unasked: &mut Vec<String>,
) -> Result<Vec<String>, Failure> {
    let mut findings = Vec::new();
    let mut note = |found: Result<(), Failure>| match found {
        Err(failure) if ExitCode::of(failure.code) == ExitCode::Journal => {
            findings.push(failure.message);
            Ok(())
        }
        found => found,
    };
    note(journal.beside())?;
    let mut environments = std::collections::BTreeSet::new();
    note(anchors::in_files(journal, &config.artifacts.dir))?;
    for head in journal.runs()? {
        environments.insert(head.run.environment().clone());
    }
    let database = crate::wire::database();
    for name in environments {
        let Ok(environment) = config.environment(name.as_str()) else {
            unasked.push(format!("the ledger of `{name}`, which is not configured any more"));
            continue;
        };
        let target = &environment.database_url;
        if note(anchors::in_ledger_of(journal, database.as_ref(), target).await).is_err() {
            unasked.push(format!("the ledger of `{name}` in {}, which cannot be asked", target.place()));
        }
    }
    Ok(findings)
}
