//! `dbd migrations`.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::migration::Format;
use serde_json::json;

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
    /// Make an empty migration, numbered like the ones that are there
    New {
        /// What it does, like add_price
        name: String,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    match args.command {
        Sub::Status { environment } => status(context, &environment).await,
        Sub::List => list(context),
        Sub::New { name } => new(context, &name),
    }
}

async fn status(context: &Context, name: &str) -> Outcome {
    let config = context.load()?;
    let environment = config.environment(name)?;
    let set = crate::wire::migrations(&config)?.read()?;
    let reader = set.format.reader();
    let rows =
        crate::wire::database().applied(&environment.database_url, &reader.tracking()).await?.unwrap_or_default();
    let standing = reader.standing(&set, &rows);
    let mut shell = context.shell.borrow_mut();
    for warning in set.warnings.iter().chain(&standing.warnings) {
        shell.warn(warning);
    }
    let state = |place: usize| if standing.applied.contains(&place) { "applied" } else { "pending" };
    if shell.is_json() {
        let migrations: Vec<_> = set
            .migrations
            .iter()
            .enumerate()
            .map(|(place, one)| json!({"id": one.id.as_str(), "file": one.file, "digest": one.digest.as_str(), "state": state(place)}))
            .collect();
        shell.result_json(&json!({
            "schema": "dbd.migrations/1", "environment": name, "format": reader.name(), "dir": set.dir, "migrations": migrations,
            "applied": standing.applied.len(), "pending": standing.pending.len(),
            "problems": standing.errors.iter().map(|error| json!({"code": error.code.as_str(), "message": error.message})).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut text = format!(
            "{} in {} ({}): {} applied, {} pending\n",
            plural(set.migrations.len()),
            set.dir,
            reader.name(),
            standing.applied.len(),
            standing.pending.len()
        );
        for (place, one) in set.migrations.iter().enumerate() {
            text.push_str(&format!("  {}  {}\n", state(place), one.id));
        }
        shell.result(&text)?;
    }
    match standing.errors.first() {
        Some(error) => Err(error.clone().into()),
        None => Ok(ExitCode::Ok),
    }
}

fn plural(count: usize) -> String {
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
                json!({"id": one.id.as_str(), "file": one.file, "digest": one.digest.as_str(), "statements": statements, "units": one.units.len()})
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
    let slug: String =
        name.trim().to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let slug = slug.trim_matches('_');
    if slug.is_empty() {
        return Err(
            Failure::new(Code::BadArgument, format!("`{name}` holds no letter or digit to name a file by")).into()
        );
    }
    let dir = match config.migrations_dir() {
        Ok(dir) => dir,
        // The first migration makes the folder.
        Err(failure) if failure.code == Code::NoMigrations => {
            config.migrations.dir.clone().unwrap_or_else(|| config.root.join("migrations"))
        }
        Err(failure) => return Err(failure.into()),
    };
    let set = if dir.exists() { Some(crate::wire::migrations(&config)?.read()) } else { None };
    let last = match set {
        Some(Ok(set)) if set.format != Format::Sql => {
            return Err(Failure::new(
                Code::UnsupportedFormat,
                format!("{} belongs to {}", set.dir, set.format.reader().name()),
            )
            .hint("make new migrations with that tool (drizzle-kit generate); dbd deploys them")
            .into());
        }
        Some(Ok(set)) => set.migrations.last().map(|last| last.id.as_str().to_owned()),
        Some(Err(failure)) if failure.code == Code::NoMigrations => None,
        Some(Err(failure)) => return Err(failure.into()),
        None => None,
    };
    let digits = last.as_deref().map_or("", |last| &last[..last.bytes().take_while(u8::is_ascii_digit).count()]);
    let number = match digits.len() {
        0 => "0001".to_owned(),
        // A stamp, not a count.
        12.. => jiff::Timestamp::from_millisecond(crate::wire::now_ms())
            .unwrap_or_default()
            .strftime("%Y%m%d%H%M%S")
            .to_string(),
        width => format!("{:0width$}", digits.parse::<u64>().unwrap_or(0) + 1),
    };
    let path = dir.join(format!("{number}_{slug}.sql"));
    let failed = |error: std::io::Error| {
        Failure::new(Code::FileUnwritable, format!("{} cannot be made", path.display())).source(&error)
    };
    fs_err::create_dir_all(&dir).map_err(failed)?;
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    std::io::Write::write_all(&mut file, format!("-- {}\n", name.trim()).as_bytes()).map_err(failed)?;
    let mut shell = context.shell.borrow_mut();
    let shown = config.shown(&path);
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.migrations/1", "file": shown}))?;
    } else {
        shell.result(&shown)?;
    }
    Ok(ExitCode::Ok)
}
