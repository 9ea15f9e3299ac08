//! `dbd migrations adopt`: an existing database is believed to be the folder's only once the folder has made the same schema.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::config::{Config, Environment};
use crate::domain::code::Code;
use crate::domain::decide;
use crate::domain::event::{Pending, ServerFacts};
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::migration::{MigrationSet, formats};
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::comparison::Comparison;
use crate::domain::schema::fingerprint::fingerprint;
use crate::ports::database::{Anchor, ApplyOrder, Around, Database, Holder};
use crate::ports::sandbox::Sandbox;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The environment
    environment: String,
    /// The last migration the database has; without it, the longest part of the folder that makes its schema
    #[arg(long, value_name = "ID")]
    until: Option<String>,
}

/// The replay: after which migrations the scratch database had the target's schema, and what it had at the end.
struct Replay {
    equal_after: Vec<usize>,
    last: Catalog,
}

pub(super) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let environment = config.environment(&args.environment)?;
    let set = crate::wire::migrations(&config)?.read()?;
    let reader = set.format.reader();
    let database = crate::wire::database();
    let url = &environment.database_url;
    let rows = database.applied(url, &set.tracking()).await?.unwrap_or_default();
    let standing = reader.standing(&set, &rows);
    if let Some(error) = standing.errors.first() {
        return Err(error.clone().into());
    }
    let end = match &args.until {
        None => set.migrations.len(),
        Some(id) => {
            set.migrations.iter().position(|one| one.id.as_str() == id).map(|place| place + 1).ok_or_else(|| {
                Failure::new(Code::BadArgument, format!("there is no migration {id} in {}", set.dir))
                    .hint("`dbd migrations list` shows them")
            })?
        }
    };
    let wanted: Vec<usize> = (0..end).filter(|place| !standing.superseded.contains(place)).collect();
    if wanted.iter().all(|place| standing.applied.contains(place)) {
        return report(context, &args.environment, &set, &Adopted::default());
    }
    let facts = database.facts(url).await?;
    let own = set.tracking();
    let mut tracking: Vec<&str> = formats().iter().map(|format| format.usual_table()).collect();
    tracking.push(&own.table);
    // Owners and privileges are the environment's own affair; a scratch server has not its roles.
    let target = database.catalog(url, &tracking).await?.without_roles();
    let now_ms = crate::wire::now_ms();
    let run = RunId::new(&environment.name, now_ms);
    context.shell.borrow_mut().status("replaying", &format!("{} in a scratch database", set.dir));
    let replay = {
        let sandboxes = crate::wire::sandboxes(&config)?;
        let name = format!("adopt-{}", run.as_str());
        let sandbox = sandboxes.create(&name, &facts, false).await?;
        let replay = replay(context, database.as_ref(), &set, &wanted, &sandbox, &facts, &target, &run).await;
        sandboxes.remove(&name).await?;
        replay?
    };
    let proven = match (&args.until, replay.equal_after.last()) {
        (None, Some(last)) => *last,
        (Some(_), Some(last)) if Some(last) == wanted.last() => *last,
        _ => return Err(differs(&args, &set, &replay, &target).into()),
    };
    let record: Vec<usize> =
        wanted.iter().copied().filter(|place| *place <= proven && !standing.applied.contains(place)).collect();
    // After the first of them the schema is already the target's; whether the rows of the others were changed, no catalog tells.
    let first = replay
        .equal_after
        .iter()
        .copied()
        .find(|place| (*place..=proven).all(|at| !wanted.contains(&at) || replay.equal_after.contains(&at)));
    let unseen: Vec<usize> = record.iter().copied().filter(|place| first.is_some_and(|first| *place > first)).collect();
    write(&config, &environment, database.as_ref(), &set, &record, &run).await?;
    let left = |place: &usize| !record.contains(place) && standing.pending.contains(place);
    let left = (0..set.migrations.len()).filter(left).collect();
    report(context, &args.environment, &set, &Adopted { record, unseen, left })
}

/// What came of it, by the migrations' places in the set.
#[derive(Default)]
struct Adopted {
    /// Recorded.
    record: Vec<usize>,
    /// Of those, the ones that no catalog can prove.
    unseen: Vec<usize>,
    /// Still pending: the target does not have what they make.
    left: Vec<usize>,
}

#[allow(clippy::too_many_arguments)] // Each is one thing the replay needs; a struct would only name them again.
async fn replay(
    context: &Context,
    database: &dyn Database,
    set: &MigrationSet,
    wanted: &[usize],
    sandbox: &Sandbox,
    facts: &ServerFacts,
    target: &Catalog,
    run: &RunId,
) -> Result<Replay, Failure> {
    let reader = set.format.reader();
    let tracking = set.tracking();
    let mut tables: Vec<&str> = formats().iter().map(|format| format.usual_table()).collect();
    tables.push(&tracking.table);
    let holder = holder(run);
    let anchor = Anchor { origin: "adopt".to_owned(), seq: 0, hash: String::new() };
    database.prepare(&sandbox.url, Some(&tracking), &holder).await?;
    let goal = fingerprint(target);
    let mut replay = Replay { equal_after: Vec::new(), last: Catalog::default() };
    for place in wanted {
        let migration = &set.migrations[*place];
        let pending = [Pending { migration: migration.clone(), blob: 0 }];
        for step in decide::steps(&pending) {
            let request = format!("{place} {}", step.unit);
            let order = ApplyOrder {
                url: &sandbox.url,
                holder: &holder,
                effect: &EffectId::derive("adopt", run, &request, b""),
                anchor: &anchor,
                step: &step,
                units: &migration.units,
                file: &migration.file,
                text: &migration.text,
                bookkeeping: step.last.then(|| reader.record_sql(migration, &migration.text, run)),
                around: Around::default(),
                lock_timeout_ms: 5_000,
                lock_budget_ms: 60_000,
                statement_timeout_ms: None,
                timeout_ms: 3_600_000,
                pooled: false,
                brief: false,
                watch: false,
                progress: &|_| {},
            };
            database.apply(order).await.map_err(|not| {
                not.failure.hint(format!(
                    "the folder cannot be replayed on an empty PostgreSQL {}; nothing was recorded",
                    facts.version_num / 10_000
                ))
            })?;
        }
        replay.last = database.catalog(&sandbox.url, &tables).await?.without_roles();
        if fingerprint(&replay.last) == goal {
            replay.equal_after.push(*place);
        }
        context.shell.borrow_mut().status("replayed", migration.id.as_str());
    }
    Ok(replay)
}

fn holder(run: &RunId) -> Holder {
    let owner = format!("{} {}", crate::wire::host_name(), std::process::id());
    Holder::new(run.clone(), format!("adopt {run}"), 0, &owner, owner.clone())
}

/// Records the migrations on the target in one transaction; its objects are left alone.
async fn write(
    config: &Config,
    environment: &Environment,
    database: &dyn Database,
    set: &MigrationSet,
    record: &[usize],
    run: &RunId,
) -> Result<(), Failure> {
    let url = &environment.database_url;
    let holder = holder(run);
    let owner = format!("{}@{}", crate::wire::user_name().unwrap_or_default(), crate::wire::host_name());
    let facts_pooled = database.facts(url).await?.pooled;
    let _hold = match facts_pooled {
        true => None,
        false => Some(database.hold(url, run, &owner).await?),
    };
    let reader = set.format.reader();
    let tracking = set.tracking();
    let _tool = match facts_pooled {
        true => None,
        false => database.hold_tool(url, &tracking, run, 10_000).await?,
    };
    database.prepare(url, Some(&tracking), &holder).await?;
    let statements: Vec<String> = record
        .iter()
        .map(|place| &set.migrations[*place])
        .map(|migration| reader.record_sql(migration, &migration.text, run))
        .collect();
    let _ = config;
    database.record(url, &holder, &statements).await
}

fn differs(args: &Args, set: &MigrationSet, replay: &Replay, target: &Catalog) -> Failure {
    let comparison = Comparison::new(&set.dir, &replay.last, &args.environment, target);
    let what = args.until.as_ref().map_or_else(|| set.dir.clone(), |id| format!("{} up to {id}", set.dir));
    let mut failure = Failure::new(
        Code::NotProven,
        format!("{what} does not make the schema that {} has; nothing was recorded", args.environment),
    );
    for judged in comparison.changes.iter().filter(|judged| !judged.change.nested).take(12) {
        let change = &judged.change;
        failure = failure.cause(format!("{} {} {}", change.kind.words(), change.object, change.change.as_str()));
    }
    failure
        .hint("the differences are what deploying the folder would change")
        .hint("bring the two together by a migration or in the database, then try again; `--until ID` for a part of it")
}

fn report(context: &Context, name: &str, set: &MigrationSet, adopted: &Adopted) -> Outcome {
    let Adopted { record, unseen, left } = adopted;
    let ids = |places: &[usize]| -> Vec<String> {
        places.iter().map(|place| set.migrations[*place].id.to_string()).collect()
    };
    let mut shell = context.shell.borrow_mut();
    if !unseen.is_empty() {
        shell.note(&format!(
            "these change no schema, so whether they ran only their rows can tell: {}",
            ids(unseen).join(", ")
        ));
    }
    if shell.is_json() {
        shell.result_json(&json!({
            "schema": "dbd.migrations/1", "environment": name, "format": set.format.reader().name(), "dir": set.dir,
            "adopted": ids(record), "unproven": ids(unseen), "pending": ids(left),
        }))?;
    } else if record.is_empty() {
        shell.result(&format!("everything in {} is recorded in {name} already", set.dir))?;
    } else {
        let table = set.tracking().table;
        shell.result(&format!("{} recorded in {table}:\n{}", super::count(record.len()), ids(record).join("\n")))?;
        if !left.is_empty() {
            shell.note(&format!("still pending, as {name} is without what they make: {}", ids(left).join(", ")));
        }
    }
    Ok(ExitCode::Ok)
}
