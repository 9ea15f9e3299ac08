//! `dbd migrations`.

mod adopt;

use crate::cli::exit::ExitCode;
use crate::cli::render::table::{Pen, Tone, columns, plain};
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::migration::{
    AppliedRow, Checksum, Entry, FAILED, Format, Migration, NewName, Standing, tracked_elsewhere,
};
use serde_json::{Value, json};

/// The migration set, and what is applied where
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Hold the folder against what an environment has applied
    Status {
        /// The environment
        environment: String,
    },
    /// List the migrations in the order they are applied
    List,
    /// Make an empty migration, in the folder's own format
    New {
        /// What it does, like add_price
        name: String,
    },
    /// Record migrations an existing database already has, once a replay of the folder has proven it
    Adopt(adopt::Args),
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    match args.command {
        Sub::Status { environment } => status(context, &environment).await,
        Sub::List => list(context),
        Sub::New { name } => new(context, &name),
        Sub::Adopt(args) => adopt::run(context, args).await,
    }
}

async fn status(context: &Context, name: &str) -> Outcome {
    let config = context.load()?;
    let environment = config.environment(name)?;
    let set = crate::wire::migrations(&config)?.read()?;
    let reader = set.format.reader();
    let rows = crate::wire::database().applied(&environment.database_url, &set.tracking()).await?.unwrap_or_default();
    let standing = reader.standing(&set, &rows);
    let others = match rows.is_empty() && set.format != Format::Command {
        true => crate::wire::database().other_tracking(&environment.database_url, &set.tracking()).await?,
        false => Vec::new(),
    };
    let mut shell = context.shell.borrow_mut();
    if !others.is_empty() {
        shell.warn(&tracked_elsewhere(reader.name(), &others, &set.tracking().table));
    }
    for warning in set.warnings_beside_standing().chain(&standing.warnings) {
        shell.warn(warning);
    }
    if shell.is_json() {
        let migrations: Vec<Value> = set
            .migrations
            .iter()
            .enumerate()
            .map(|(place, one)| entry_json(place, one, &standing, reader.name()))
            .collect();
        shell.result_json(&json!({
            "schema": "dbd.migrations/1", "environment": name, "format": reader.name(), "dir": set.dir,
            "tracking": set.tracking().table, "migrations": migrations,
            "applied": standing.applied.len(), "pending": standing.pending.len(),
            "problems": standing.errors.iter().map(|error| json!({"code": error.code.as_str(), "message": error.message, "causes": error.causes, "hints": error.hints})).collect::<Vec<_>>(),
            "warnings": set.warnings_beside_standing().chain(&standing.warnings).map(|one| json!({"code": one.code.as_str(), "message": one.message})).collect::<Vec<_>>(),
        }))?;
    } else {
        let failed = (0..set.migrations.len()).filter(|place| state(*place, &standing) == "failed").count();
        let mut text = format!(
            "{} in {} ({}), tracked in {}: {} applied, {} pending{}\n",
            count(set.migrations.len()),
            set.dir,
            reader.name(),
            set.tracking().table,
            standing.applied.len() - failed,
            standing.pending.len(),
            if failed > 0 { format!(", {failed} failed") } else { String::new() }
        );
        let cell = |text: Option<String>| plain(text.unwrap_or_else(|| "-".to_owned()));
        let row = |(place, one): (usize, &Migration)| {
            let entry = &standing.entries[place];
            let state = state(place, &standing);
            let tone = match (state, entry.checksum) {
                // A repeatable that changed is to run again.
                ("pending", _) => Tone::Plain,
                (_, Checksum::Changed) | ("failed", _) => Tone::Bad,
                ("applied", _) => Tone::Good,
                _ => Tone::Plain,
            };
            let content = entry.checksum.as_str().replace('_', " ");
            let (when, whom) = (cell(when(entry)), cell(whom(entry, reader.name())));
            vec![(tone, state.to_owned()), plain(one.id.as_str()), when, whom, (tone, content)]
        };
        let rows = set.migrations.iter().enumerate().map(row).collect();
        text.push_str(&columns(Pen { color: shell.out_has_color() }, 2, rows));
        shell.result(&text)?;
    }
    match standing.errors.first() {
        Some(error) => Err(error.clone().into()),
        None => Ok(ExitCode::Ok),
    }
}

fn state(place: usize, standing: &Standing) -> &'static str {
    let mark = standing.entries[place].row.as_ref().and_then(|row| row.mark.as_deref());
    if mark == Some(FAILED) {
        "failed"
    } else if standing.applied.contains(&place) {
        "applied"
    } else if standing.superseded.contains(&place) {
        "superseded"
    } else {
        "pending"
    }
}

/// When it was applied: what the tool says, else what dbd kept.
fn when(entry: &Entry) -> Option<String> {
    let row = entry.row.as_ref()?;
    row.proof.as_ref().and_then(|proof| proof.at.clone()).or_else(|| row.at.clone())
}

/// Who applied it: the run, if dbd did; else what the tool says, else the tool itself.
fn whom(entry: &Entry, tool: &str) -> Option<String> {
    let row: &AppliedRow = entry.row.as_ref()?;
    let run = row.proof.as_ref().and_then(|proof| proof.run.clone());
    let by = row.by.as_ref().map(|by| if tool == "sql" { by.clone() } else { format!("{tool} ({by})") });
    run.or(by).or_else(|| Some(tool.to_owned()))
}

fn entry_json(place: usize, one: &Migration, standing: &Standing, tool: &str) -> Value {
    let entry = &standing.entries[place];
    let by_dbd = entry.row.as_ref().is_some_and(|row| row.proof.is_some() || tool == "sql");
    json!({
        "id": one.id.as_str(), "file": one.file, "digest": one.digest.as_str(), "state": state(place, standing),
        "applied_at": when(entry), "applied_by": whom(entry, tool),
        "tool": entry.row.as_ref().map(|_| if by_dbd { "dbd" } else { tool }),
        "checksum": entry.checksum.as_str(),
    })
}

fn count(count: usize) -> String {
    format!("{count} migration{}", if count == 1 { "" } else { "s" })
}

fn list(context: &Context) -> Outcome {
    let config = context.load()?;
    let set = crate::wire::migrations(&config)?.read()?;
    let mut shell = context.shell.borrow_mut();
    for warning in &set.warnings {
        shell.warn(warning);
    }
    if shell.is_json() {
        let migrations: Vec<_> = set
            .migrations
            .iter()
            .map(|one| {
                let statements: usize = one.units.iter().map(|unit| unit.statements.len()).sum();
                json!({
                    "id": one.id.as_str(), "file": one.file, "digest": one.digest.as_str(), "statements": statements,
                    "units": one.units.len(), "down": one.down.as_ref().map(|down| down.file.as_str()),
                })
            })
            .collect();
        shell.result_json(&json!({"schema": "dbd.migrations/1", "format": set.format.reader().name(), "dir": set.dir, "migrations": migrations}))?;
    } else {
        let lines: Vec<String> = set.migrations.iter().map(|one| format!("{}  {}", one.id, one.file)).collect();
        shell.result(&lines.join("\n"))?;
    }
    Ok(ExitCode::Ok)
}

fn new(context: &Context, name: &str) -> Outcome {
    let config = context.load()?;
    let title = name.trim();
    let slug: String = title.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let slug = slug.trim_matches('_');
    if slug.is_empty() {
        return Err(
            Failure::new(Code::BadArgument, format!("`{name}` holds no letter or digit to name a file by")).into()
        );
    }
    let now_ms = crate::wire::now_ms();
    let stamp = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default().strftime("%Y%m%d%H%M%S").to_string();
    let wanted = NewName { title: &title.replace(['\n', '\r'], " "), slug, stamp: &stamp, now_ms };
    let made = crate::wire::migrations_to_make(&config)?.make(wanted)?;
    let mut shell = context.shell.borrow_mut();
    let shown: Vec<String> = made.iter().map(|path| config.shown(path)).collect();
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.migrations/1", "file": shown.first(), "files": shown}))?;
    } else {
        shell.result(&shown.join("\n"))?;
    }
    Ok(ExitCode::Ok)
}
