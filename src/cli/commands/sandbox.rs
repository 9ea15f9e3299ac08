//! `dbd sandbox`: the copies a run works in, on their own.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, EnvironmentName, RunId};
use crate::engine::fill::{Rows, fill};
use crate::ports::backup::{Backups, DumpOrder, FillOrder};
use crate::ports::files::Files;
use crate::ports::sandbox::{Listed, Sandbox};
use serde_json::json;

/// Throw-away copies of a target
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Copy an environment's target into a sandbox that stays
    Create {
        /// The environment
        environment: String,
    },
    /// List the sandboxes
    List,
    /// Remove a sandbox
    Drop {
        /// Its name
        id: String,
    },
    /// Remove the sandboxes whose owner is gone, end the captures whose window is over, and open a target that a dead rollback left closed
    Gc,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let sandboxes = crate::wire::sandboxes(&config)?;
    match args.command {
        Sub::Create { environment } => create(context, &config, &environment).await,
        Sub::List => show(context, &sandboxes.list().await?, "sandboxes"),
        Sub::Gc => {
            super::captures::retire_everywhere(context, &config).await?;
            show(context, &sandboxes.gc().await?, "removed")
        }
        Sub::Drop { id } => {
            if !sandboxes.list().await?.iter().any(|one| one.id == id) {
                return Err(Failure::new(Code::BadArgument, format!("there is no sandbox `{id}`"))
                    .hint("`dbd sandbox list` shows them")
                    .into());
            }
            sandboxes.remove(&id).await?;
            let mut shell = context.shell.borrow_mut();
            if shell.is_json() {
                shell.result_json(&json!({"schema": "dbd.sandbox/1", "removed": [{"id": id}]}))?;
            } else {
                shell.result(&format!("{id} removed"))?;
            }
            Ok(ExitCode::Ok)
        }
    }
}

fn show(context: &Context, all: &[Listed], what: &str) -> Outcome {
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.sandbox/1", what: all}))?;
    } else if all.is_empty() {
        shell.result(if what == "removed" { "nothing to remove" } else { "no sandbox" })?;
    } else {
        let lines: Vec<String> = all
            .iter()
            .map(|one| {
                let kind = match (one.orphan, one.persistent) {
                    (true, _) => "orphaned",
                    (_, true) => "kept",
                    _ => "in use",
                };
                format!("{}  {kind}  {}", one.id, one.place)
            })
            .collect();
        shell.result(&lines.join("\n"))?;
    }
    Ok(ExitCode::Ok)
}

async fn create(context: &Context, config: &crate::config::Config, name: &str) -> Outcome {
    let environment = config.environment(name)?;
    let id = format!("{}-{}", environment.name, crate::wire::now_ms());
    let Copied { sandbox, .. } = copy(context, config, &environment.database_url, &id, true).await?;
    let mut shell = context.shell.borrow_mut();
    // A scratch server has no password; the address of one that has is not shown.
    let address = if sandbox.own_server { sandbox.url.expose().to_owned() } else { sandbox.url.place() };
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.sandbox/1", "id": id, "place": sandbox.place, "url": address}))?;
    } else {
        shell.result(&format!("{id}\n{address}"))?;
        shell.note(&format!("it stays until: dbd sandbox drop {id}"));
    }
    Ok(ExitCode::Ok)
}

/// A copy of a database, in a sandbox.
pub(super) struct Copied {
    /// The sandbox.
    pub sandbox: Sandbox,
    /// What the copied database's server says of itself.
    pub facts: ServerFacts,
    /// Whether owners and privileges are the database's own.
    pub roles_kept: bool,
}

/// Copies the database at `url` into a sandbox called `id`. When that fails, nothing is left of it.
pub(super) async fn copy(
    context: &Context,
    config: &crate::config::Config,
    url: &ConnectionUrl,
    id: &str,
    persistent: bool,
) -> Result<Copied, Failure> {
    let folder = crate::wire::files(config, &format!("sandbox-{id}"));
    folder.make()?;
    let database = crate::wire::database();
    let facts = database.facts(url).await?;
    let roles = database.roles(url).await?;
    let backups = crate::wire::backups(config, &format!("sandbox-{id}"));
    let named = EnvironmentName::parse("sandbox-copy").map(|name| RunId::new(&name, crate::wire::now_ms()));
    let run = named.ok_or_else(|| Failure::new(Code::Bug, "a sandbox's copy has no name"))?;
    let effect = EffectId::derive("sandbox", &run, id, b"");
    let order = DumpOrder {
        url: url.clone(),
        snapshot: None,
        server_major: facts.version_num / 10_000,
        path: folder.path("copy.dump"),
        effect: effect.clone(),
        expected_bytes: 0,
    };
    context.shell.borrow_mut().status("dumping", &url.place());
    let dumped = backups.dump(&order, &|_, _| {}).await;
    let sandboxes = crate::wire::sandboxes(config)?;
    let made = match dumped {
        Ok(_) => sandboxes.create(id, &facts, persistent).await,
        Err(failure) => Err(failure),
    };
    let sandbox = match made {
        Ok(sandbox) => sandbox,
        Err(failure) => {
            let _ = fs_err::remove_dir_all(folder.path(""));
            return Err(failure);
        }
    };
    context.shell.borrow_mut().status("restoring", &sandbox.place);
    let order = FillOrder {
        dump: order.path.clone(),
        url: sandbox.url.clone(),
        server_major: sandbox.server_major,
        target_major: order.server_major,
        roles: if sandbox.own_server { roles } else { facts.roles.clone() },
        may_create_roles: sandbox.own_server,
        drop_public: !facts.has_public,
        schema_only: config.sandbox.data == crate::config::SandboxData::Schema,
        section: None,
        without_foreign_keys: false,
        effect,
    };
    let rows = Rows::new(config.sandbox.data.word(), &config.sandbox.masks, Some(config.sandbox.sample))?;
    let filled = fill(database.as_ref(), &backups, &order, &rows, url, None, &|_, _| {}).await;
    for note in filled.iter().flat_map(|filled| &filled.notes) {
        context.shell.borrow_mut().note(note);
    }
    // The copy is what was asked for; the dump it came from is not.
    let _ = fs_err::remove_dir_all(folder.path(""));
    match filled {
        Ok(filled) => Ok(Copied { sandbox, facts, roles_kept: filled.roles_kept }),
        Err(failure) => {
            sandboxes.remove(id).await?;
            Err(failure)
        }
    }
}
