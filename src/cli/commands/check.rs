//! `dbd check`: what migrations will do, before anything runs them.

use super::sandbox::copy;
use crate::cli::exit::ExitCode;
use crate::cli::render::check::{self as render, Checked};
use crate::cli::{Context, Outcome};
use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::finding::Severity;
use crate::domain::forecast::{Scale, foretell};
use crate::domain::hazard::facts::Facts;
use crate::domain::hazard::judge::{self, Judgement, Verdict};
use crate::domain::hazard::waive::Waived;
use crate::domain::hazard::{fix, observed, waive};
use crate::domain::ids::{EnvironmentName, RunId};
use crate::domain::migration::{Unit, split};
use crate::engine::observe::{Watched, observe};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// Say what migrations will do to a live database: locks, rewrites, breakage
///
/// From the text alone; with --against from that database's catalog and table sizes; with --rehearse from having run them in a sandbox.
/// Ends with 6 if anything weighs as a warning or an error and is not waived; notes are printed and end with 0.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files or folders; the project's migrations if left out, with --against those that are pending there
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Judge for this database: an environment or a connection URL; it is only read
    #[arg(long, value_name = "ENV or URL")]
    against: Option<String>,
    /// Run them in a sandbox, a copy of the database of --against, and watch
    #[arg(long)]
    rehearse: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the safe form beside each file where that is mechanical; no file is changed
    #[arg(long)]
    fix: bool,
    /// Also look for what is only a matter of taste
    #[arg(long)]
    style: bool,
}

/// How the findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One document, `dbd.check/1`
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, for CI
    Junit,
    /// Annotations of GitHub Actions
    Github,
}

/// One migration to be judged.
struct Source {
    id: String,
    /// As people see it.
    file: String,
    path: PathBuf,
    bytes: Vec<u8>,
    /// As the folder's format cuts it; none for a file by itself.
    units: Option<Vec<Unit>>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let target = match &args.against {
        Some(side) => Some(database(&config, side)?),
        None => None,
    };
    let sources = sources(context, &config, &args.paths, target.as_ref()).await?;
    let mut facts = match (&target, args.rehearse) {
        (Some(url), _) => crate::wire::database().hazard_facts(url).await?,
        _ => Facts::of_text(),
    };
    let mut verdicts: Vec<(&Source, Verdict)> = Vec::with_capacity(sources.len());
    let mut befores = Vec::new();
    for source in &sources {
        if args.rehearse {
            befores.push(facts.clone());
        }
        verdicts.push((source, judge_one(&mut facts, source, args.style)));
    }
    let mut document = None;
    if args.rehearse {
        let seen = rehearse(context, &config, target.as_ref(), &sources).await?;
        for ((source, verdict), before) in verdicts.iter_mut().zip(&befores) {
            let Some(trace) = seen.migrations.iter().find(|trace| trace.id == source.id) else { continue };
            let judgements = std::mem::take(&mut verdict.judgements);
            verdict.judgements = observed::observe(before, &source.file, &verdict.statements, judgements, trace);
        }
        // Without a database in view nothing existed before; with one, what the copy saw is told as it was there.
        let (forecast, timeline) = foretell(&seen.transactions, &Scale::default(), &|_| true);
        document = Some(serde_json::json!({
            "schema": "dbd.rehearsal/1", "migrations": seen.migrations, "forecast": forecast, "timeline": timeline,
            "reverse": {"proven": false, "method": "none", "loses": []},
        }));
    }
    waive_by_configuration(&config, &mut verdicts)?;
    if args.fix {
        for (source, verdict) in &verdicts {
            write_fix(context, source, verdict)?;
        }
    }
    let checked = Checked {
        files: sources.len(),
        statements: verdicts.iter().map(|(_, verdict)| verdict.statements.len()).sum(),
        judgements: verdicts.into_iter().flat_map(|(_, verdict)| verdict.judgements).collect(),
        rehearsal: document,
    };
    let mut shell = context.shell.borrow_mut();
    match args.format {
        _ if shell.is_json() => shell.result_json(&render::json(&checked))?,
        Format::Json => shell.result_json(&render::json(&checked))?,
        Format::Sarif => shell.result_json(&render::sarif(&checked))?,
        Format::Junit => shell.result(&render::junit(&checked))?,
        Format::Github => shell.result(&render::github(&checked))?,
        Format::Text => {
            let color = shell.out_has_color();
            shell.result(&render::text(&checked, color))?;
        }
    }
    Ok(if checked.judgements.iter().any(|one| one.severity > Severity::Info && one.waived.is_none()) {
        ExitCode::Differences
    } else {
        ExitCode::Ok
    })
}

fn judge_one(facts: &mut Facts, source: &Source, style: bool) -> Verdict {
    match std::str::from_utf8(&source.bytes) {
        Ok(text) => match &source.units {
            Some(units) => judge::units(facts, &source.file, text, units, style),
            None => judge::migration(facts, &source.file, text, style),
        },
        Err(error) => {
            let before = String::from_utf8_lossy(&source.bytes[..error.valid_up_to()]);
            let line = u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX);
            let column = u32::try_from(before.rsplit('\n').next().unwrap_or_default().chars().count() + 1).unwrap_or(1);
            let message = format!("{} is not UTF-8", source.file);
            Verdict { judgements: vec![judge::unreadable(&source.file, (line, column), message)], ..Verdict::default() }
        }
    }
}

/// The database `side` names: an environment, or a URL.
fn database(config: &Config, side: &str) -> Result<ConnectionUrl, Failure> {
    if side.starts_with("postgres://") || side.starts_with("postgresql://") {
        let user = config.variable("PGUSER").or_else(|| config.variable("USER"));
        return ConnectionUrl::parse_with_default_user(side, user);
    }
    Ok(config.environment(side)?.database_url)
}

/// What is to be judged, in the order it would be applied.
async fn sources(
    context: &Context,
    config: &Config,
    paths: &[PathBuf],
    target: Option<&ConnectionUrl>,
) -> Result<Vec<Source>, Failure> {
    if paths.is_empty() {
        let dir = config.migrations_dir()?;
        return folder(context, config, &dir, target).await;
    }
    let mut all: Vec<Source> = Vec::new();
    for path in paths {
        let path = context.directory.join(path);
        let found =
            if path.is_dir() { folder(context, config, &path, None).await? } else { vec![read(config, &path)?] };
        for source in found {
            if !all.iter().any(|one| one.path == source.path) {
                all.push(source);
            }
        }
    }
    Ok(all)
}

fn read(config: &Config, path: &Path) -> Result<Source, Failure> {
    // As people see it means below the project's root, however it was written.
    let path = &fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let file = config.shown(path);
    let unreadable = |error: &std::io::Error| {
        Failure::new(Code::BadArgument, format!("{file} cannot be read"))
            .source(error)
            .hint("name a .sql file or a folder of them")
    };
    let length = fs_err::metadata(path).map_err(|error| unreadable(&error))?.len();
    // What is too large is told by its length; nobody needs its bytes.
    let bytes = if length > judge::MOST_BYTES as u64 {
        vec![b' '; usize::try_from(length).unwrap_or(usize::MAX).min(judge::MOST_BYTES + 1)]
    } else {
        fs_err::read(path).map_err(|error| unreadable(&error))?
    };
    let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Source { id: format!("{id} {file}"), file, path: path.to_owned(), bytes, units: None })
}

/// The migrations of a folder: in the order its format says, or, where it cannot be read as a whole, every .sql file by name.
async fn folder(
    context: &Context,
    config: &Config,
    dir: &Path,
    target: Option<&ConnectionUrl>,
) -> Result<Vec<Source>, Failure> {
    let dir = &fs_err::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let set = match crate::wire::migrations_in(config, dir)?.read() {
        Ok(set) => set,
        Err(failure) if matches!(failure.code, Code::UnsupportedFormat | Code::FileUnreadable) => return Err(failure),
        Err(failure) => {
            let mut files = Vec::new();
            sql_files(dir, &mut files);
            if files.is_empty() {
                return Err(failure);
            }
            // What does not parse is found again, with everything else; what else is wrong with the folder has to be said.
            if !matches!(failure.code, Code::SyntaxError | Code::TransactionControl | Code::UnreadableMigration) {
                context.shell.borrow_mut().warn(&failure);
            }
            return files.iter().map(|path| read(config, path)).collect();
        }
    };
    for warning in &set.warnings {
        context.shell.borrow_mut().warn(warning);
    }
    let mut chosen: Vec<usize> = (0..set.migrations.len()).collect();
    if let Some(url) = target {
        let reader = set.format.reader();
        let rows = crate::wire::database().applied(url, &set.tracking()).await?.unwrap_or_default();
        chosen = reader.standing(&set, &rows).pending;
    }
    let sources = chosen.into_iter().map(|place| {
        let one = &set.migrations[place];
        let path = config.root.join(&one.file);
        Source {
            id: format!("{} {}", one.id, one.file),
            file: one.file.clone(),
            path,
            bytes: one.text.clone().into_bytes(),
            units: Some(one.units.clone()),
        }
    });
    Ok(sources.collect())
}

fn sql_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs_err::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') {
            sql_files(&path, found);
        } else if name.ends_with(".sql") && !name.ends_with(".down.sql") && !name.starts_with('.') {
            found.push(path);
        }
    }
}

/// Runs what can be run in a sandbox of its own, which is removed again.
async fn rehearse(
    context: &Context,
    config: &Config,
    target: Option<&ConnectionUrl>,
    sources: &[Source],
) -> Result<crate::engine::observe::Seen, Failure> {
    let name = EnvironmentName::parse("check").ok_or_else(|| Failure::new(Code::Bug, "a rehearsal has no name"))?;
    let id = format!("check-{}-{}", std::process::id(), crate::wire::now_ms());
    let run = RunId::new(&name, crate::wire::now_ms());
    let sandboxes = crate::wire::sandboxes(config)?;
    let database = crate::wire::database();
    let url = match target {
        Some(url) => {
            let made = copy(context, config, url, &id, false).await?;
            let mut liked = sandboxes.log_everything(&made.sandbox).await;
            if made.roles_kept && liked.is_ok() {
                liked = database.act_like(&made.sandbox.url, &made.facts).await;
            }
            if let Err(failure) = liked {
                sandboxes.remove(&id).await?;
                return Err(failure);
            }
            if made.roles_kept { made.sandbox.url.acting_as(&made.facts.role) } else { made.sandbox.url }
        }
        None => sandboxes.create(&id, &super::compare::like_nothing(), false).await?.url,
    };
    let mut watched = Vec::new();
    for source in sources {
        let Some(text) = std::str::from_utf8(&source.bytes).ok().filter(|text| text.len() <= judge::MOST_BYTES) else {
            break;
        };
        // Behind what cannot be run nothing would be as it will be.
        let Some(units) = source.units.clone().or_else(|| split(text).ok()) else { break };
        watched.push(Watched { id: source.id.clone(), file: source.file.clone(), text: text.to_owned(), units });
    }
    let shell = &context.shell;
    let progress = |file: &str| shell.borrow_mut().status("rehearsing", file);
    let seen = observe(database.as_ref(), &url, &run, &watched, &progress).await;
    sandboxes.remove(&id).await?;
    seen
}

/// What `check.allow` lets pass.
fn waive_by_configuration(config: &Config, verdicts: &mut [(&Source, Verdict)]) -> Result<(), Failure> {
    let Some(allow) = config.check_allowance()? else { return Ok(()) };
    let waived = Waived { by: "dbd.toml".to_owned(), reason: allow.reason.clone().unwrap_or_default() };
    let passes = |one: &Judgement| one.waived.is_none() && waive::covers(&allow.codes, one);
    for one in verdicts.iter_mut().flat_map(|(_, verdict)| &mut verdict.judgements).filter(|one| passes(one)) {
        one.waived = Some(waived.clone());
    }
    Ok(())
}

/// Writes the safe form beside the file, under a name that no migration has.
fn write_fix(context: &Context, source: &Source, verdict: &Verdict) -> Result<(), Failure> {
    let Ok(text) = std::str::from_utf8(&source.bytes) else { return Ok(()) };
    // What the format's reader leaves out of account, like a way back, stays as it is.
    let Some(fix) = fix::fix(text, &verdict.statements, &verdict.judgements) else { return Ok(()) };
    let write = |ending: &str, text: &str| -> Result<(), Failure> {
        let path = source.path.with_extension(ending);
        let failed = |error: &std::io::Error| {
            let failure = if error.kind() == std::io::ErrorKind::AlreadyExists {
                Failure::new(Code::AlreadyThere, format!("{} is there already", path.display()))
                    .hint("look at it, then move it away: dbd writes over nothing")
            } else {
                Failure::new(Code::FileUnwritable, format!("{} cannot be written", path.display()))
            };
            failure.source(error)
        };
        let mut file =
            fs_err::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| failed(&error))?;
        std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| failed(&error))?;
        context.shell.borrow_mut().status("wrote", &path.display().to_string());
        Ok(())
    };
    write("sql.safe", &fix.text)?;
    if !fix.next.is_empty() {
        write("next.sql.safe", &fix.next)?;
    }
    for note in &fix.notes {
        context.shell.borrow_mut().note(&format!("{}: {note}", source.file));
    }
    Ok(())
}
