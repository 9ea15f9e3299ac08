//! `dbd drift`.

use super::compare::{read, without_bookkeeping};
use super::{journal_there, story};
use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome, render};
use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::machine::{End, State};
use crate::domain::run::Run;
use crate::domain::schema::script::{Script, script};
use crate::domain::schema::{Catalog, Comparison, diff, fingerprint};
use crate::engine::keep;
use crate::ports::journal::Journal;
use crate::ports::sandbox::Sandbox;
use clap::ValueEnum;
use render::drift::{Drift, Offer};
use std::path::{Path, PathBuf};

/// Say how a target differs from what its last successful run left there
///
/// Offers two scripts: one takes the difference back, the other keeps it as a migration. Both are tried out in a sandbox before.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The environment
    environment: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the script that takes the difference back to this file, which must not be there
    #[arg(long, value_name = "FILE")]
    revert: Option<PathBuf>,
    /// Write the difference as a migration to this file, which must not be there
    #[arg(long, value_name = "FILE")]
    adopt: Option<PathBuf>,
}

/// How a drift is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
    Html,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let environment = config.environment(&args.environment)?;
    let url = &environment.database_url;
    for file in [&args.revert, &args.adopt].into_iter().flatten() {
        if context.directory.join(file).exists() {
            return Err(Failure::new(Code::BadArgument, format!("{} is there already", file.display()))
                .hint("name a file that is not; nothing is overwritten")
                .into());
        }
    }
    let journal = journal_there(&config)?;
    let (run, left) = last_left(&journal, environment.name.as_str(), &url.place())?;
    let left = without_bookkeeping(&left, &config);
    let now = read(url, &config).await?;
    let comparison = Comparison::new(&args.environment, &now, run.id.as_str(), &left);
    let mut drift = Drift {
        environment: args.environment.clone(),
        run: run.id.to_string(),
        left: fingerprint(&left),
        found: fingerprint(&now),
        changed: Vec::new(),
        revert: None,
        adopt: None,
        comparison,
    };
    if !drift.comparison.identical() {
        drift.changed = when(url, &drift.comparison).await?;
        let (revert, adopt) = (script(&now, &left), script(&left, &now));
        let tried = try_out(&config, url, &now, &left, &revert, &adopt).await;
        let offer = |script, tried: Result<bool, Failure>| Offer { script, tried };
        let (back, kept) = match tried {
            Ok((back, kept)) => (Ok(back), Ok(kept)),
            Err(failure) => (Err(failure.clone()), Err(failure)),
        };
        let (revert, adopt) = (offer(revert, back), offer(adopt, kept));
        write(context, args.revert.as_deref(), &render::drift::revert_file(&drift, &revert))?;
        write(context, args.adopt.as_deref(), &render::drift::adopt_file(&drift, &adopt))?;
        drift.revert = Some(revert);
        drift.adopt = Some(adopt);
    }
    let mut shell = context.shell.borrow_mut();
    match args.format {
        _ if shell.is_json() => shell.result_json(&render::drift::json(&drift))?,
        Format::Json => shell.result_json(&render::drift::json(&drift))?,
        Format::Markdown => shell.result(&render::drift::markdown(&drift))?,
        Format::Html => shell.result(&render::drift::html(&drift))?,
        Format::Text => {
            let color = shell.out_has_color();
            shell.result(&render::drift::text(&drift, color))?;
        }
    }
    Ok(if drift.comparison.identical() { ExitCode::Ok } else { ExitCode::Differences })
}

/// The newest run that settled with the target looked at, and the catalog it left.
fn last_left(journal: &dyn Journal, environment: &str, target: &str) -> Result<(Run, Catalog), Failure> {
    let mut older = None;
    for head in journal.runs()?.into_iter().rev().filter(|head| head.run.environment().as_str() == environment) {
        let run = story(journal, &head.run)?.run;
        let here = run.request.as_ref().is_some_and(|request| request.target == target);
        let settled = matches!(run.state, State::Settled { end: End::Succeeded | End::RolledBack });
        if !here || !settled || run.verified.is_none() {
            continue;
        }
        match &run.left {
            Some(reference) => {
                let catalog = keep::unpack(&journal.blob(reference)?)?;
                return Ok((run, catalog));
            }
            None => older = older.or(Some(run)),
        }
    }
    Err(match older {
        Some(run) => Failure::new(Code::UnknownRun, format!("{} kept only the fingerprint of what it left", run.id))
            .hint("the next successful run keeps the catalog, too"),
        None => Failure::new(Code::UnknownRun, format!("no run of `{environment}` left anything on this target yet"))
            .hint(format!("`dbd start {environment}` makes one; `dbd compare` compares with something else")),
    })
}

/// When the tables that differ were changed, as far as the server knows.
async fn when(url: &ConnectionUrl, comparison: &Comparison) -> Result<Vec<(String, String)>, Failure> {
    let mut tables: Vec<String> = comparison
        .changes
        .iter()
        .map(|judged| judged.change.root.clone())
        .filter(|root| root.kind.is_table())
        .map(|root| root.name)
        .collect();
    tables.sort();
    tables.dedup();
    Ok(crate::wire::database().last_changed(url, &tables).await?.into_iter().collect())
}

/// Whether each of the two scripts, run in a sandbox, leads where it should.
///
/// The sandbox is built by a third script, from nothing; if that does not give the target's schema, nothing can be said of the others.
async fn try_out(
    config: &Config,
    url: &ConnectionUrl,
    now: &Catalog,
    left: &Catalog,
    revert: &Script,
    adopt: &Script,
) -> Result<(bool, bool), Failure> {
    let sandboxes = crate::wire::sandboxes(config)?;
    let id = format!("drift-{}-{}", std::process::id(), crate::wire::now_ms());
    let facts = crate::wire::database().facts(url).await?;
    let sandbox = sandboxes.create(&id, &facts, false).await?;
    let tried = try_in(config, &id, &sandbox, now, left, revert, adopt).await;
    sandboxes.remove(&id).await?;
    tried
}

async fn try_in(
    config: &Config,
    id: &str,
    sandbox: &Sandbox,
    now: &Catalog,
    left: &Catalog,
    revert: &Script,
    adopt: &Script,
) -> Result<(bool, bool), Failure> {
    if !sandbox.own_server {
        return Err(Failure::new(
            Code::CannotCompare,
            "the scripts were not tried out: the sandbox has not the target's roles",
        )
        .hint("with [sandbox] server = \"auto\" dbd starts a server where it may make them"));
    }
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::new(Code::FileUnwritable, "no temporary folder can be made").source(&error))?;
    let load = async |sql: &str| {
        let file = folder.path().join("script.sql");
        fs_err::write(&file, sql)
            .map_err(|error| Failure::new(Code::FileUnwritable, "a script cannot be written").source(&error))?;
        crate::wire::backups(config, id).run_file(&sandbox.url, &file).await
    };
    let mut roles = now.roles();
    roles.extend(left.roles());
    let made: String = roles
        .iter()
        // Those are on every server.
        .filter(|role| !role.starts_with("pg_"))
        .map(|role| format!("DO $$BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END$$;\n"))
        .collect();
    let built = script(&read(&sandbox.url, config).await?, now);
    load(&format!("{made}BEGIN;\n{built}COMMIT;\n")).await?;
    if !diff(&read(&sandbox.url, config).await?, now).is_empty() {
        return Err(Failure::new(
            Code::CannotCompare,
            "the scripts were not tried out: the target's schema cannot be rebuilt from its catalog alone",
        ));
    }
    let leads_to = async |script: &Script, to: &Catalog| {
        load(&format!("BEGIN;\n{script}COMMIT;\n")).await.is_ok()
            && read(&sandbox.url, config).await.is_ok_and(|found| diff(&found, to).is_empty())
    };
    let back = leads_to(revert, left).await;
    // The way there starts where the way back ended.
    let kept = back && leads_to(adopt, now).await;
    Ok((back, kept))
}

fn write(context: &Context, file: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    let path = context.directory.join(file);
    fs_err::write(&path, text).map_err(|error| {
        Failure::new(Code::FileUnwritable, format!("{} cannot be written", file.display())).source(&error)
    })?;
    context.shell.borrow_mut().note(&format!("wrote {}", file.display()));
    Ok(())
}
