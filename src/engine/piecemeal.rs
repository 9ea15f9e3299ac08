//! Steps that commit as they go, and what stands of one that did not come to its end.
//!
//! The user's own tool, a statement that steers transactions of its own, an update in batches: when one of them fails, a part of it may be
//! committed. Nothing in the target says so by itself. What can be seen is the schema, and the rows that anybody wrote or removed since the
//! step began. Only where all of that is as it was, nothing of the step stands. In any other case the run goes back as if a part of it did:
//! a restore says what it would forget before it is done, so a part that was none costs nobody a row.

use super::runner::{Runner, unreachable_code};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::decide;
use crate::domain::digest::Digest;
use crate::domain::event::{Loss, Outcome, RowsChanged, StepReport, UserCommand, Verdict};
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::domain::migration::keeps_track;
use crate::domain::run::InFlight;
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::diff::diff;
use crate::domain::schema::fingerprint::fingerprint;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Tables that are named for people; the rest is counted.
const NAMED: usize = 4;

/// The target when a step began that commits as it goes.
pub(super) struct Mark {
    /// The first transaction id not yet begun.
    xid: String,
    /// The fingerprint of the schema, roles included.
    schema: Digest,
}

/// What stands of a step that did not come to its end.
struct Stands {
    /// What is another than before the step, in sentences; empty where nothing is.
    changed: Vec<String>,
    /// Whether the schema is.
    schema: bool,
    /// The transactions that are known to be the step's own.
    xids: Vec<String>,
}

impl Stands {
    /// Nothing.
    fn nothing() -> Self {
        Self { changed: Vec::new(), schema: false, xids: Vec::new() }
    }

    /// `failure`, as one that left something.
    fn told(&self, mut failure: Failure) -> Failure {
        failure.message += match self.schema {
            true => ", after a part of it was committed",
            false => ", and a part of it may be committed",
        };
        failure.causes.extend(self.changed.iter().cloned());
        failure.certainty(Certainty::Definite)
    }
}

impl Runner<'_> {
    /// Has the user's own tool migrate a database.
    pub(super) async fn migrate_by_command(
        &self,
        command: &str,
        url: &ConnectionUrl,
        timeout_ms: u64,
        id: &EffectId,
    ) -> Result<StepReport, Failure> {
        let begun = Instant::now();
        let name = if *url == self.world.target { "migrate.log" } else { "migrate-sandbox.log" };
        let wanted = UserCommand { command: command.to_owned(), timeout_ms, once: false };
        let mut order = self.user_command(&wanted, url, "the migration command", name, id);
        // As far as its tool goes by that, its sessions are known by their name and can be ended.
        order.application_name = Some(id.application_name());
        match self.user_ran(&order, Code::CommandFailed, "the migration command failed").await {
            super::runner::Done::Yes(..) => {
                let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                Ok(StepReport { duration_ms, tries: 1, ..StepReport::default() })
            }
            super::runner::Done::No { failure, .. } => Err(failure),
        }
    }

    /// Has the command migrate a sandbox, where nobody else writes, and counts which rows it wrote and removed there. The sandbox is read by
    /// way of `looked_at`.
    pub(super) async fn rehearse_command(
        &self,
        command: &str,
        url: &ConnectionUrl,
        looked_at: &ConnectionUrl,
        timeout_ms: u64,
        id: &EffectId,
    ) -> Result<(StepReport, RowsChanged), Failure> {
        let (database, tracking) = (&self.world.database, self.tracking_table());
        let xid = database.next_xid(looked_at).await?;
        let rows = database.row_counts(looked_at, tracking).await?;
        let report = self.migrate_by_command(command, url, timeout_ms, id).await?;
        let Loss { written, missing: removed, .. } = database.loss(looked_at, tracking, &xid, &rows, &[]).await?;
        Ok((report, RowsChanged { written, removed }))
    }

    /// What the target is now, before a step that commits as it goes.
    pub(super) async fn mark(&self) -> Result<Mark, Failure> {
        let (database, target) = (&self.world.database, &self.world.target);
        let catalog = database.catalog(target, &[self.tracking_table()]).await?;
        Ok(Mark { xid: database.next_xid(target).await?, schema: fingerprint(&catalog) })
    }

    /// The transactions since `mark` that are known to be the command's own: those that changed the schema. Not to know them costs a question
    /// before a restore and nothing else.
    pub(super) async fn of_command(&self, mark: &Mark) -> Vec<String> {
        self.world.database.schema_transactions(&self.world.target, &mark.xid).await.unwrap_or_default()
    }

    /// `failure` of a step that commits as it goes, with what is left of it. Without a mark it was begun by an earlier turn of the loop.
    pub(super) async fn left_by(
        &mut self,
        mark: Option<&Mark>,
        by_command: bool,
        id: &EffectId,
        begun: Instant,
        failure: Failure,
    ) -> (Failure, Option<Outcome>) {
        let away = failure.certainty == Certainty::Transient && unreachable_code(failure.code);
        if failure.certainty == Certainty::InDoubt || away || failure.code == Code::LostOwnership {
            return (failure, None);
        }
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.look_what_stands(mark, by_command, id, duration_ms).await {
            Ok(stands) if stands.changed.is_empty() => {
                let nothing = "nothing of it was committed: the schema is as before, and nobody wrote a row meanwhile";
                (failure.cause(nothing).certainty(Certainty::Definite), None)
            }
            Ok(stands) => {
                let report = StepReport { duration_ms, tries: 1, xids: stands.xids.clone(), ..StepReport::default() };
                (stands.told(failure), Some(Outcome::Step(report)))
            }
            Err(lost) if lost.code == Code::LostOwnership => (lost, None),
            // It failed, and what it left is not known yet: it is looked up, and not begun again before that.
            Err(why) => {
                (failure.cause(format!("what it left could not be seen: {why}")).certainty(Certainty::InDoubt), None)
            }
        }
    }

    async fn look_what_stands(
        &mut self,
        mark: Option<&Mark>,
        by_command: bool,
        id: &EffectId,
        within_ms: u64,
    ) -> Result<Stands, Failure> {
        let (world, target) = (self.world, &self.world.target);
        if by_command {
            // PostgreSQL outlives its client: what the tool sent last may still be at work.
            self.own_target().await?;
            world.database.fence(target, id).await?;
            self.outlast(within_ms).await?;
        }
        // A statement of dbd's own may have been begun more than once, each time behind what was committed before: its first row tells when.
        let since = match mark.filter(|_| by_command) {
            Some(mark) => Some(mark.xid.clone()),
            None => world.database.began(target, id).await?,
        };
        let Some(since) = since else { return Ok(Stands::nothing()) };
        let catalog = world.database.catalog(target, &[self.tracking_table()]).await?;
        let schema = match decide::after_whole_steps(&self.run) {
            Some((before, true)) => fingerprint(&catalog) != *before,
            Some((before, false)) => fingerprint(&catalog.without_roles()) != *before,
            None => mark.is_none_or(|mark| fingerprint(&catalog) != mark.schema),
        };
        let mut stands = self.stands(&since, &[], schema).await?;
        // Under a capture dbd's own sessions are known by themselves, and whoever else changes the schema must not be taken for them.
        if by_command && stands.schema {
            stands.xids = world.database.schema_transactions(target, &since).await?;
        }
        Ok(stands)
    }

    /// Waits for what sessions that go by no name may still have under way for a command that began so long ago.
    pub(super) async fn outlast(&self, began_ms_ago: u64) -> Result<(), Failure> {
        self.world.database.outlast(&self.world.target, began_ms_ago).await
    }

    /// What is another since transaction `xid`, apart from what the transactions `known` wrote.
    async fn stands(&self, xid: &str, known: &[String], schema: bool) -> Result<Stands, Failure> {
        let (database, target, tracking) = (&self.world.database, &self.world.target, self.tracking_table());
        let none = BTreeMap::new();
        let before = self.run.backup.as_ref().map_or(&none, |backup| &backup.rows);
        let loss = database.loss(target, tracking, xid, before, known).await?;
        let mut changed = Vec::new();
        if schema {
            changed.push("the schema is not the one before it".to_owned());
        }
        // What the steps before it removed is no news.
        let ways = self.run.rehearsal.as_ref().map(|rehearsal| rehearsal.ways.as_slice()).unwrap_or_default();
        let earlier = ways.get(..self.run.committed.len()).unwrap_or_default();
        let removed: BTreeMap<String, i64> = loss
            .missing
            .into_iter()
            .filter(|(table, _)| !loss.written.contains_key(table))
            .filter(|(table, _)| !earlier.iter().any(|way| way.writes.get(table).is_some_and(Vec::is_empty)))
            .collect();
        let whose = "by it or by others";
        changed.extend(by_table(&loss.written).map(|told| format!("rows were written meanwhile, {whose}: {told}")));
        changed.extend(by_table(&removed).map(|told| format!("rows were removed since the backup, {whose}: {told}")));
        Ok(Stands { changed, schema, xids: Vec::new() })
    }

    /// What became of a command that was cut off, once nothing of it is at work any more.
    pub(super) async fn probe_command(&self, flight: &InFlight) -> Result<(Verdict, String), Failure> {
        let bug = |what: &str| Failure::new(Code::Bug, format!("{}: {what} is missing from its history", self.run.id));
        let plan = self.run.plan.as_ref().ok_or_else(|| bug("the plan"))?;
        let backup = self.run.backup.as_ref().ok_or_else(|| bug("the backup"))?;
        let (database, target) = (&self.world.database, &self.world.target);
        let catalog = database.catalog(target, &[self.tracking_table()]).await?;
        let whole = fingerprint(&catalog);
        let found = if plan.roles_compared { whole.clone() } else { fingerprint(&catalog.without_roles()) };
        let said = self.said_no(flight);
        let known = self.run.known_transactions();
        let stands = self.stands(&backup.xid, &known, whole != plan.fingerprint_before).await?;
        if stands.changed.is_empty() {
            let evidence = format!(
                "the schema is still the one before it, {}, and nobody wrote a row since the backup",
                whole.short()
            );
            return Ok((Verdict::NotApplied, evidence));
        }
        let xids = if stands.schema { database.schema_transactions(target, &backup.xid).await? } else { Vec::new() };
        let report = StepReport { xids, ..StepReport::default() };
        if stands.schema && found == plan.fingerprint_after && said.is_none() && self.wrote_all(&known, &report).await?
        {
            let evidence = format!(
                "the schema is the rehearsed one, {}, and its rows are written as in the sandbox",
                found.short()
            );
            return Ok((Verdict::Applied { outcome: Outcome::Step(report) }, evidence));
        }
        let evidence = stands.changed.join("; ");
        // Once more from its beginning is no way on: what it did already it may do twice.
        let cut_off = || {
            Failure::new(Code::CommandFailed, "the migration command was cut off")
                .hint(format!("its output so far is in {}", self.world.files.shown("migrate.log")))
        };
        let failure = stands.told(said.unwrap_or_else(cut_off));
        Ok((Verdict::PartlyApplied { outcome: Outcome::Step(report), failure }, evidence))
    }

    /// Whether the rows that the command wrote in the sandbox are written on the target, by transactions that are its own, and those that it
    /// removed there are gone. In runs older than the counting the schema alone tells.
    async fn wrote_all(&self, known: &[String], report: &StepReport) -> Result<bool, Failure> {
        let ways = self.run.rehearsal.as_ref().and_then(|rehearsal| rehearsal.ways.get(self.run.committed.len()));
        let Some(rehearsed) = ways.and_then(|way| way.rows.as_ref()) else { return Ok(true) };
        // A part of the rows shows a part of what is done with them.
        let all_rows = self.run.request.as_ref().is_some_and(|request| request.settings.data == "full");
        let Some(backup) = self.run.backup.as_ref().filter(|_| all_rows) else { return Ok(false) };
        let (database, target, tracking) = (&self.world.database, &self.world.target, self.tracking_table());
        let written = database.loss(target, tracking, &backup.xid, &backup.rows, known).await?.written;
        let theirs: Vec<String> = known.iter().chain(&report.xids).cloned().collect();
        let by_others = database.loss(target, tracking, &backup.xid, &backup.rows, &theirs).await?.written;
        let now = database.row_counts(target, tracking).await?;
        let of = |rows: &BTreeMap<String, i64>, table: &str| rows.get(table).copied().unwrap_or(0);
        let done = |table: &String| {
            let others = if keeps_track(table) { 0 } else { of(&by_others, table) };
            let (wrote, removed) = (of(&rehearsed.written, table), of(&rehearsed.removed, table));
            // A row that is gone bears nobody's mark: only their number tells, where nobody else came or went.
            of(&written, table) - others >= wrote
                && of(&now, table) - others == of(&backup.rows, table) + wrote - removed
        };
        Ok(rehearsed.written.keys().chain(rehearsed.removed.keys()).all(done))
    }

    /// `loss` without what a command wrote in its tool's own table, as it did in the sandbox.
    pub(super) fn without_own_tracking(&self, loss: Loss) -> Loss {
        let ways = self.run.rehearsal.as_ref().map(|rehearsal| rehearsal.ways.as_slice()).unwrap_or_default();
        let rehearsed =
            |table: &str| ways.iter().filter_map(|way| way.rows.as_ref()).any(|rows| rows.written.contains_key(table));
        loss.without_tracking(|table| rehearsed(table) && keeps_track(table))
    }

    /// Whether somebody else changed the schema, where a part of a step is committed: it is not the one before the step, and not all that is
    /// another is something the rehearsal changed.
    pub(super) fn schema_is_others(&self, catalog: &Catalog) -> bool {
        let Some(plan) = &self.run.plan else { return true };
        let as_before = |(before, roles): (&Digest, bool)| match roles {
            true => fingerprint(catalog) == *before,
            false => fingerprint(&catalog.without_roles()) == *before,
        };
        if decide::after_whole_steps(&self.run).is_some_and(as_before) {
            return false;
        }
        let seen = |catalog: &Catalog| if plan.roles_compared { catalog.clone() } else { catalog.without_roles() };
        let read = |name: &str| -> Option<Catalog> {
            fs_err::read(self.world.files.path(name)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
        };
        let (Some(before), Some(after)) = (read(super::gone::CATALOG_BEFORE), read(super::rehearse::CATALOG_AFTER))
        else {
            return true;
        };
        // A file of another run or a changed one tells nothing.
        if fingerprint(&before) != plan.fingerprint_before || fingerprint(&seen(&after)) != plan.fingerprint_after {
            return true;
        }
        let before = seen(&before);
        let touched = |after: &Catalog| -> BTreeSet<String> {
            diff(after, &before).iter().map(|change| change.key().to_string()).collect()
        };
        !touched(&seen(catalog)).is_subset(&touched(&seen(&after)))
    }
}

/// Rows by table, for people.
fn by_table(rows: &BTreeMap<String, i64>) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let named = rows.iter().take(NAMED).map(|(table, rows)| format!("{rows} in {table}"));
    let mut told = named.collect::<Vec<_>>().join(", ");
    if rows.len() > NAMED {
        told += &format!(", and in {} more tables", rows.len() - NAMED);
    }
    Some(told)
}
