//! The preflight: everything a deployment needs, looked at at once, each with a remedy.

use super::runner::{Done, Runner};
use crate::domain::code::Code;
use crate::domain::event::{Check, CheckStatus, GitState, Outcome, Pending, Preflight, ServerFacts, SwapOffer};
use crate::domain::failure::Failure;
use crate::domain::migration::{AppliedRow, Format, MigrationSet, tables_of, told_at_once, tracked_elsewhere};
use crate::domain::schema::fingerprint::fingerprint;
use std::cell::RefCell;
use std::future::Future;
use std::time::Instant;

/// The oldest server dbd is made for: `DROP DATABASE ... WITH (FORCE)` and `pg_terminate_backend`'s neighbours need 13.
pub const OLDEST_SERVER: u32 = 120_000;

/// What an empty database weighs, in bytes: PostgreSQL's own catalogs, which no dump holds.
const EMPTY_DATABASE: i64 = 8 * 1024 * 1024;

/// What a check found: what to say, and what is odd about it.
struct Found {
    status: CheckStatus,
    message: String,
    failure: Option<Failure>,
}

impl Found {
    fn ok(message: impl Into<String>) -> Self {
        Self { status: CheckStatus::Ok, message: message.into(), failure: None }
    }

    fn warning(failure: Failure) -> Self {
        Self { status: CheckStatus::Warning, message: failure.message.clone(), failure: Some(failure) }
    }

    fn failed(failure: Failure) -> Self {
        Self { status: CheckStatus::Failed, message: failure.message.clone(), failure: Some(failure) }
    }

    fn of<T>(result: &Result<T, Failure>, say: impl FnOnce(&T) -> String) -> Self {
        match result {
            Ok(value) => Self::ok(say(value)),
            Err(failure) => Self::failed(failure.clone()),
        }
    }
}

/// The checks so far. Several run at once on one thread.
#[derive(Default)]
struct Checks(RefCell<Vec<Check>>);

impl Checks {
    async fn run<T>(&self, name: &str, look: impl Future<Output = (T, Found)>) -> T {
        let begun = Instant::now();
        let (value, Found { status, message, failure }) = look.await;
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.borrow_mut().push(Check { name: name.to_owned(), status, message, failure, duration_ms });
        value
    }

    fn skip(&self, name: &str, why: &str) {
        let check = Check {
            name: name.to_owned(),
            status: CheckStatus::Skipped,
            message: why.to_owned(),
            failure: None,
            duration_ms: 0,
        };
        self.0.borrow_mut().push(check);
    }
}

/// The order checks are shown in.
const ORDER: &[&str] = &[
    "git",
    "migrations",
    "connection",
    "server version",
    "writable",
    "pooler",
    "privileges",
    "other runs",
    "other tools",
    "programs",
    "sandbox",
    "disk",
    "way back",
    "applied migrations",
    "sessions",
    "drift",
];

/// Which ways back a target allows, in a sentence.
fn ways_back(offer: &SwapOffer, notes: &[String]) -> String {
    let swap = match offer.ways.first() {
        Some(way) => format!("else by a swap, with writes captured by {}", way.words()),
        None => "else the backup, as no swap is to be had".to_owned(),
    };
    let mut said = format!("in place where the rehearsal proves it, {swap}");
    for why in offer.why_not.iter().chain(notes) {
        said.push_str("; ");
        said.push_str(why);
    }
    said
}

impl Runner<'_> {
    /// The checks alone, without a run: what `dbd doctor` shows.
    pub async fn checks(&mut self) -> Vec<Check> {
        match self.preflight().await {
            Done::Yes(Outcome::Preflight(preflight), _) => preflight.checks,
            Done::No { partial: Some(Outcome::Checks(checks)), .. } => checks,
            Done::Yes(..) | Done::No { .. } => Vec::new(),
        }
    }

    /// Looks at everything.
    pub(super) async fn preflight(&mut self) -> Done {
        let checks = Checks::default();
        let (git, set, facts) =
            tokio::join!(self.check_git(&checks), self.check_migrations(&checks), self.check_connection(&checks));
        let rest = match (&facts, &set) {
            (Some(facts), set) => self.check_target(&checks, facts, set.as_ref()).await,
            (None, _) => {
                for name in &ORDER[3..] {
                    checks.skip(name, "the target cannot be reached");
                }
                None
            }
        };
        let mut found = checks.0.into_inner();
        found.sort_by_key(|check| ORDER.iter().position(|name| *name == check.name));
        let failed = found.iter().find(|check| check.status == CheckStatus::Failed);
        match (failed, set, facts, rest) {
            (None, Some(set), Some(facts), Some((print, pending, applied))) => {
                let mut blobs = Vec::new();
                let pending = pending
                    .into_iter()
                    .map(|place| {
                        let migration = set.migrations[place].clone();
                        blobs.push(migration.text.clone().into_bytes());
                        Pending { migration, blob: blobs.len() - 1 }
                    })
                    .collect();
                let preflight = Preflight {
                    checks: found,
                    server: facts,
                    fingerprint: print,
                    format: set.format,
                    dir: set.dir,
                    table: set.table,
                    applied,
                    pending,
                    git,
                    swap: self.swap.take(),
                };
                Done::Yes(Outcome::Preflight(Box::new(preflight)), blobs)
            }
            (failed, ..) => {
                let failure = failed.and_then(|check| check.failure.clone()).unwrap_or_else(|| {
                    Failure::new(Code::Bug, "the preflight found nothing wrong and yet could not go on")
                });
                Done::No { failure, partial: Some(Outcome::Checks(found)) }
            }
        }
    }

    async fn check_git(&self, checks: &Checks) -> Option<GitState> {
        let strict = self.run.request.as_ref().is_some_and(|request| request.settings.require_clean_tree);
        checks
            .run("git", async {
                match self.world.source.state().await {
                    Ok(None) => (None, Found::ok("not a git repository; no commit is recorded")),
                    Ok(Some(git)) => {
                        let at = format!(
                            "{} at {}",
                            git.branch.as_deref().unwrap_or("detached head"),
                            &git.commit[..git.commit.len().min(12)]
                        );
                        let found = if git.dirty {
                            let failure = Failure::new(Code::DirtyTree, format!("{at}, with uncommitted changes"))
                                .cause(git.dirty_files.join(", "))
                                .hint("commit what is to be deployed, so that the record names it");
                            if strict { Found::failed(failure) } else { Found::warning(failure) }
                        } else {
                            Found::ok(at)
                        };
                        (Some(git), found)
                    }
                    Err(failure) => (None, Found::warning(failure)),
                }
            })
            .await
    }

    async fn check_migrations(&self, checks: &Checks) -> Option<MigrationSet> {
        checks
            .run("migrations", async {
                let set = self.world.migrations.read();
                let odd: Vec<Failure> = set.iter().flat_map(MigrationSet::warnings_beside_standing).cloned().collect();
                let found = match told_at_once(odd) {
                    Some(failure) => Found::warning(failure),
                    None => Found::of(&set, |set| {
                        format!(
                            "{} in {} ({})",
                            plural(set.migrations.len(), "migration"),
                            set.dir,
                            set.format.reader().name()
                        )
                    }),
                };
                (set.ok(), found)
            })
            .await
    }

    async fn check_connection(&self, checks: &Checks) -> Option<ServerFacts> {
        checks
            .run("connection", async {
                let facts = self.world.database.facts(&self.world.target).await;
                let found = Found::of(&facts, |facts| format!("{} as {}", self.world.target.place(), facts.role));
                (facts.ok(), found)
            })
            .await
    }

    /// The checks that need the server.
    async fn check_target(
        &mut self,
        checks: &Checks,
        facts: &ServerFacts,
        set: Option<&MigrationSet>,
    ) -> Option<(crate::domain::digest::Digest, Vec<usize>, usize)> {
        let major = facts.version_num / 10_000;
        checks
            .run("server version", async {
                let found = if facts.version_num < OLDEST_SERVER {
                    Found::failed(
                        Failure::new(
                            Code::ServerTooOld,
                            format!("PostgreSQL {} is older than dbd supports", facts.version),
                        )
                        .hint("dbd supports PostgreSQL 12 and newer"),
                    )
                } else {
                    Found::ok(format!("PostgreSQL {}", facts.version))
                };
                ((), found)
            })
            .await;
        checks
            .run("writable", async {
                let found = if facts.read_only {
                    Found::failed(
                        Failure::new(Code::ReadOnlyTarget, format!("{} takes no writes", self.world.target.place()))
                            .hint("it is a standby, or default_transaction_read_only is on: use the primary's URL"),
                    )
                } else {
                    Found::ok("it takes writes")
                };
                ((), found)
            })
            .await;
        checks
            .run("pooler", async {
                let found = if facts.pooled {
                    Found::warning(
                        Failure::new(
                            Code::PoolerInTheWay,
                            format!("{} leads through a pooler in transaction mode", self.world.target.place()),
                        )
                        .cause("locks of a session mean nothing there, and pg_dump may fail")
                        .hint(direct_url_hint(&self.world.target.host())),
                    )
                } else {
                    Found::ok("a direct connection")
                };
                ((), found)
            })
            .await;
        let other_runs = if facts.pooled { Ok(()) } else { self.take_hold().await };
        checks
            .run("other runs", async { ((), Found::of(&other_runs, |()| "no other run holds this target".to_owned())) })
            .await;
        let world = self.world;
        let tracking = set.map(MigrationSet::tracking);
        let table = tracking.as_ref().map_or("dbd.migration", |tracking| &*tracking.table);
        let privileges = checks.run("privileges", async {
            let missing = world.database.missing_privileges(&world.target).await;
            let found =
                match &missing {
                    Ok(missing) if !missing.is_empty() => Found::failed(
                        Failure::new(Code::MissingPrivilege, format!("`{}` lacks {}", facts.role, missing[0]))
                            .hint("grant it, or deploy as a role that owns the objects"),
                    ),
                    _ => Found::of(&missing, |_| {
                        if facts.superuser { "superuser".to_owned() } else { "sufficient".to_owned() }
                    }),
                };
            ((), found)
        });
        let foreign = checks.run("other tools", async {
            let locks = world.database.foreign_locks(&world.target).await;
            let found = match &locks {
                Ok(locks) if !locks.is_empty() => Found::failed(
                    Failure::new(Code::ForeignLockHeld, locks[0].clone())
                        .hint("wait until that migration is over, then start again"),
                ),
                _ => Found::of(&locks, |_| "none holds its migration lock".to_owned()),
            };
            ((), found)
        });
        let programs = checks.run("programs", async {
            let programs = world.backups.programs(major).await;
            ((), Found::of(&programs, Clone::clone))
        });
        let sandbox = checks.run("sandbox", async {
            let place = world.sandboxes.check(major).await;
            ((), Found::of(&place, Clone::clone))
        });
        let disk = checks.run("disk", async { ((), self.look_at_disk(facts)) });
        let swap = checks.run("way back", async {
            let found = world.captures.look(&world.target).await;
            let offer = found.as_ref().map(super::capture::offer).unwrap_or_default();
            let found = match &found {
                Ok(facts) => Found::ok(ways_back(&offer, &facts.notes)),
                // What cannot be looked at is not offered; the other ways are still there.
                Err(failure) => Found::warning(failure.clone()),
            };
            (offer, found)
        });
        let catalog =
            async { world.database.catalog(&world.target, &[table]).await.map(|catalog| fingerprint(&catalog)) };
        let applied = async {
            match &tracking {
                Some(tracking) => world.database.applied(&world.target, tracking).await.map(Some),
                None => Ok(None),
            }
        };
        let (.., swap, catalog, applied) =
            tokio::join!(privileges, foreign, programs, sandbox, disk, swap, catalog, applied);
        self.swap = Some(swap);
        let tool = set.map_or("sql", |set| set.format.reader().name());
        // The same folder under two tools at once is how a migration comes to run twice.
        let others = match (&tracking, &applied) {
            (Some(tracking), Ok(Some(rows)))
                if rows.as_ref().is_none_or(Vec::is_empty) && set.is_some_and(|set| set.format != Format::Command) =>
            {
                world.database.other_tracking(&world.target, tracking).await
            }
            _ => Ok(Vec::new()),
        };
        let applied = others.and_then(|others| applied.map(|applied| (applied, others)));
        let standing = checks
            .run("applied migrations", async {
                match applied {
                    Ok((_, others)) if !others.is_empty() => {
                        (None, Found::failed(tracked_elsewhere(tool, &others, table)))
                    }
                    applied => look_at_applied(set, applied.map(|(applied, _)| applied)),
                }
            })
            .await;
        let tables = match (set, &standing) {
            (Some(set), Some((pending, _))) => tables_to_lock(set, pending),
            _ => Vec::new(),
        };
        checks
            .run("sessions", async {
                let found = match world.database.blockers(&world.target, &tables).await {
                    Ok(found) if found.is_empty() => Found::ok("none holds what the migrations have to lock"),
                    Ok(found) => {
                        let sessions = plural(found.len(), "session");
                        let mut failure = Failure::new(
                            Code::SessionsInTheWay,
                            format!("{sessions} hold what the migrations have to lock"),
                        )
                        .hint("dbd waits for locks in short tries; end those transactions, or deploy at a calmer time");
                        failure.causes.extend(found.iter().take(5).map(ToString::to_string));
                        Found::warning(failure)
                    }
                    Err(failure) => Found::warning(failure),
                };
                ((), found)
            })
            .await;
        let print = checks.run("drift", async { self.look_at_drift(catalog) }).await;
        let (pending, applied) = standing?;
        Some((print?, pending, applied))
    }

    fn look_at_disk(&self, facts: &ServerFacts) -> Found {
        let Some(free) = self.world.files.free_bytes() else {
            return Found::ok("the free room is not known");
        };
        // A compressed dump takes about a quarter of the rows; half of them is a careful guess.
        let need = u64::try_from((facts.size_bytes - EMPTY_DATABASE).max(0)).unwrap_or(0) / 2 + 1024 * 1024;
        let say = |bytes: u64| bytesize::ByteSize::b(bytes).display().iec().to_string();
        if free < need {
            return Found::failed(
                Failure::new(
                    Code::DiskFull,
                    format!(
                        "the backup may need {}, {} are free in {}",
                        say(need),
                        say(free),
                        self.world.files.shown("")
                    ),
                )
                .hint("make room, or put the artifacts elsewhere with [artifacts] dir"),
            );
        }
        Found::ok(format!("{} free for a backup of at most {}", say(free), say(need)))
    }

    fn look_at_drift(
        &self,
        catalog: Result<crate::domain::digest::Digest, Failure>,
    ) -> (Option<crate::domain::digest::Digest>, Found) {
        match catalog {
            Err(failure) => (None, Found::failed(failure)),
            Ok(print) => {
                let found = match &self.last_left {
                    None => Found::ok(format!("schema {}; no earlier run to compare with", print.short())),
                    Some((_, left)) if *left == print => {
                        Found::ok(format!("schema {}, as the last run left it", print.short()))
                    }
                    Some((run, left)) => Found::warning(
                        Failure::new(Code::Drifted, format!("the target's schema is not what {run} left"))
                            .cause(format!("left {}, found {}", left.short(), print.short()))
                            .hint("somebody changed it by another way; the rehearsal works on what is there now")
                            .hint(format!("`dbd drift {}` names what", self.run.id.environment())),
                    ),
                };
                (Some(print), found)
            }
        }
    }
}

/// The tables that the pending migrations name and that may be there already.
fn tables_to_lock(set: &MigrationSet, pending: &[usize]) -> Vec<String> {
    let mut tables: Vec<String> = pending
        .iter()
        .map(|place| &set.migrations[*place])
        .flat_map(|one| one.units.iter().flat_map(|unit| &unit.statements).map(|span| span.of(&one.text)))
        .take(2_000)
        .flat_map(tables_of)
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

/// The folder held against the tracking table: what is pending, how many are applied.
fn look_at_applied(
    set: Option<&MigrationSet>,
    applied: Result<Option<Option<Vec<AppliedRow>>>, Failure>,
) -> (Option<(Vec<usize>, usize)>, Found) {
    let (Some(set), Ok(rows)) = (set, &applied) else {
        return match applied {
            Err(failure) => (None, Found::failed(failure)),
            Ok(_) => {
                let found = Found {
                    status: CheckStatus::Skipped,
                    message: "the migrations cannot be read".to_owned(),
                    failure: None,
                };
                (None, found)
            }
        };
    };
    let rows = rows.clone().flatten().unwrap_or_default();
    let standing = set.format.reader().standing(set, &rows);
    let say = format!("{} applied, {} pending", standing.applied.len(), standing.pending.len());
    let found = match (standing.errors.first(), standing.warnings.first()) {
        (Some(error), _) => {
            let mut error = error.clone();
            error.causes.extend(standing.errors[1..].iter().map(|more| more.message.clone()));
            Found::failed(error)
        }
        (None, Some(warning)) => {
            Found::warning(told_at_once(standing.warnings.clone()).unwrap_or_else(|| warning.clone()))
        }
        (None, None) => Found::ok(say),
    };
    (Some((standing.pending, standing.applied.len())), found)
}

/// Where the direct URL is to be had, for the providers whose pooled hosts are recognisable.
fn direct_url_hint(host: &str) -> String {
    if let Some(direct) = host.contains("-pooler.").then(|| host.replacen("-pooler.", ".", 1)) {
        return format!("use the direct URL: its host is {direct}");
    }
    if host.ends_with(".pooler.supabase.com") {
        return "use the direct URL: the same host with port 5432, or db.<project>.supabase.co".to_owned();
    }
    "use the direct URL of the server instead of the pooler's (often another host, or port 5432 instead of 6432)"
        .to_owned()
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
