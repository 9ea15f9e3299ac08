//! `dbd backup`: the dumps a run takes, on their own.

use super::stories;
use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::time::rfc3339;
use crate::ports::backup::{Backups, DumpOrder, FillOrder};
use crate::ports::files::Files;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Dumps of a target
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Dump an environment's target now
    Create {
        /// The environment
        environment: String,
    },
    /// List the dumps that are here
    List,
    /// Read a dump whole and compare its digest
    Verify {
        /// A run, or the dump's file
        what: String,
    },
    /// Restore a dump into an empty database
    Restore {
        /// A run, or the dump's file
        what: String,
        /// The empty database: a connection URL
        #[arg(long, value_name = "URL")]
        into: String,
    },
    /// Remove the dumps that are older than the retention
    Prune,
}

/// A dump that is here.
struct Here {
    name: String,
    path: PathBuf,
    digest: Digest,
    bytes: u64,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    match args.command {
        Sub::Create { environment } => create(context, &config, &environment).await,
        Sub::List => list(context, &config),
        Sub::Verify { what } => {
            let here = find(context, &config, &what)?;
            crate::wire::backups(&config, &here.name).verify(&here.path, &here.digest).await?;
            print(
                context,
                &json!({"schema": "dbd.backup/1", "backup": shown(&config, &here), "sound": true}),
                &format!("sound: {}", config.shown(&here.path)),
            )
        }
        Sub::Restore { what, into } => restore(context, &config, &what, &into).await,
        Sub::Prune => prune(context, &config).await,
    }
}

fn print(context: &Context, document: &Value, text: &str) -> Outcome {
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(document)?;
    } else {
        shell.result(text)?;
    }
    Ok(ExitCode::Ok)
}

fn shown(config: &Config, here: &Here) -> Value {
    json!({"name": here.name, "path": config.shown(&here.path), "digest": here.digest.as_str(), "bytes": here.bytes})
}

/// Every finished dump below the artifacts folder, by the digest that lies beside it.
fn here(config: &Config) -> Vec<Here> {
    let mut all = Vec::new();
    let Ok(folders) = fs_err::read_dir(&config.artifacts.dir) else { return all };
    for folder in folders.flatten() {
        let Ok(files) = fs_err::read_dir(folder.path()) else { continue };
        for file in files.flatten().filter(|file| file.path().extension().is_some_and(|ending| ending == "dump")) {
            if let Some(one) = described(&folder.file_name().to_string_lossy(), &file.path()) {
                all.push(one);
            }
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn described(name: &str, path: &Path) -> Option<Here> {
    let beside = PathBuf::from(format!("{}.json", path.display()));
    let sidecar: Value = serde_json::from_slice(&fs_err::read(beside).ok()?).ok()?;
    let digest = Digest::parse(sidecar["digest"].as_str()?)?;
    Some(Here { name: name.to_owned(), path: path.to_owned(), digest, bytes: sidecar["bytes"].as_u64()? })
}

fn find(context: &Context, config: &Config, what: &str) -> Result<Here, Failure> {
    let file = context.directory.join(what);
    if file.is_file() {
        return described(what, &file).ok_or_else(|| {
            Failure::new(Code::DumpDamaged, format!("{what} has no digest beside it"))
                .hint("`pg_restore --list` reads dumps dbd did not take")
        });
    }
    here(config).into_iter().find(|one| one.name == what).ok_or_else(|| {
        Failure::new(Code::BadArgument, format!("there is no dump of `{what}` here"))
            .hint("`dbd backup list` shows them")
    })
}

async fn create(context: &Context, config: &Config, name: &str) -> Outcome {
    let environment = config.environment(name)?;
    let now = crate::wire::now_ms();
    let label = format!("backup-{}-{now}", environment.name);
    let files = crate::wire::files(config, &label);
    files.make()?;
    let database = crate::wire::database();
    let facts = database.facts(&environment.database_url).await?;
    context.shell.borrow_mut().status("dumping", &environment.database_url.place());
    let backups = crate::wire::backups(config, &label);
    let order = DumpOrder {
        url: environment.database_url.clone(),
        snapshot: None,
        server_major: facts.version_num / 10_000,
        path: files.path("backup.dump"),
        effect: EffectId::derive("backup", &RunId::new(&environment.name, now), &label, b""),
        expected_bytes: u64::try_from(facts.size_bytes).unwrap_or(0),
    };
    let dumped = backups.dump(&order, &|_, _| {}).await?;
    let _ = fs_err::remove_dir_all(files.path(".work"));
    let here = Here { name: label, path: order.path, digest: dumped.digest, bytes: dumped.bytes };
    print(context, &json!({"schema": "dbd.backup/1", "backup": shown(config, &here)}), &config.shown(&here.path))
}

fn list(context: &Context, config: &Config) -> Outcome {
    let all = here(config);
    let text = match all.as_slice() {
        [] => "no dump here".to_owned(),
        all => {
            let line = |one: &Here| {
                format!(
                    "{}  {}  {}",
                    config.shown(&one.path),
                    bytesize::ByteSize::b(one.bytes).display().iec(),
                    one.digest.short()
                )
            };
            all.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    };
    print(
        context,
        &json!({"schema": "dbd.backup/1", "backups": all.iter().map(|one| shown(config, one)).collect::<Vec<_>>()}),
        &text,
    )
}

async fn restore(context: &Context, config: &Config, what: &str, into: &str) -> Outcome {
    let here = find(context, config, what)?;
    let url = crate::domain::connection::ConnectionUrl::parse_with_default_user(into, config.variable("USER"))?;
    let database = crate::wire::database();
    let facts = database.facts(&url).await?;
    // Never over anything: going back over a live target is what `dbd rollback` is for.
    let catalog = database.catalog(&url, &[]).await?;
    if let Some((key, _)) = catalog.tables().next() {
        return Err(Failure::new(
            Code::RestoreFailed,
            format!("{} is not empty: it has the table {}", url.place(), key.name),
        )
        .hint("make an empty database with createdb and name that; `dbd rollback <run>` takes a target back")
        .into());
    }
    let backups = crate::wire::backups(config, &here.name);
    backups.verify(&here.path, &here.digest).await?;
    let order = FillOrder {
        dump: here.path.clone(),
        url: url.clone(),
        server_major: facts.version_num / 10_000,
        target_major: facts.version_num / 10_000,
        roles: Vec::new(),
        may_create_roles: false,
        drop_public: false,
        schema_only: false,
        section: None,
        without_foreign_keys: false,
        effect: EffectId::derive(
            "restore",
            &RunId::new(
                &crate::domain::ids::EnvironmentName::parse("restore")
                    .unwrap_or_else(|| unreachable!("a constant name")),
                crate::wire::now_ms(),
            ),
            what,
            b"",
        ),
    };
    let filled = backups.fill(&order, &|_, _| {}).await?;
    for note in &filled.notes {
        context.shell.borrow_mut().note(note);
    }
    print(
        context,
        &json!({"schema": "dbd.backup/1", "backup": shown(config, &here), "restored": url.place()}),
        &format!("restored into {}", url.place()),
    )
}

/// Dumps of open runs are kept whatever their age, and so is what such a run keeps in its target.
async fn prune(context: &Context, config: &Config) -> Outcome {
    let open: Vec<String> = match crate::wire::journal_for_reading(config)? {
        Some(journal) => stories(&journal)?
            .into_iter()
            .filter(|story| !story.run.state.is_settled())
            .map(|story| story.run.id.to_string())
            .collect(),
        None => Vec::new(),
    };
    let retention_ms = i64::try_from(config.artifacts.retention.as_millis()).unwrap_or(i64::MAX);
    let oldest = crate::wire::now_ms().saturating_sub(retention_ms);
    let mut removed = Vec::new();
    for one in here(config) {
        let made = one.name.rsplit('-').next().and_then(|stamp| stamp.parse::<i64>().ok());
        if made.is_some_and(|made| made < oldest) && !open.contains(&one.name) {
            fs_err::remove_file(&one.path).map_err(|error| {
                Failure::new(Code::FileUnwritable, format!("{} cannot be removed", config.shown(&one.path)))
                    .source(&error)
            })?;
            removed.push(one);
        }
    }
    let mut lines: Vec<String> = removed.iter().map(|one| format!("removed {}", config.shown(&one.path))).collect();
    let mut swept = Vec::new();
    for name in config.environments() {
        let Ok(environment) = config.environment(name.as_str()) else { continue };
        let url = &environment.database_url;
        match crate::wire::database().sweep_kept(url, oldest, &open).await {
            Ok(0) => {}
            Ok(tables) => {
                lines.push(format!("removed {tables} table(s) that runs had kept in {}", url.place()));
                swept.push(json!({"environment": name.as_str(), "tables": tables}));
            }
            // One target that is away is no reason to keep the others' rows.
            Err(failure) => {
                context.shell.borrow_mut().note(&format!("{}: {}", url.place(), failure.message));
            }
        }
    }
    if lines.is_empty() {
        lines.push(format!("nothing older than {}", rfc3339(oldest)));
    }
    print(
        context,
        &json!({
            "schema": "dbd.backup/1",
            "removed": removed.iter().map(|one| shown(config, one)).collect::<Vec<_>>(),
            "kept_tables_removed": swept,
        }),
        &lines.join("\n"),
    )
}
