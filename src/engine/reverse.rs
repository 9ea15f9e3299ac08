//! The way back of each step, made from what the step does and tried in the sandbox before the step is applied there: in transactions that
//! are never committed, so that the sandbox goes the very way the target will go.
//!
//! A step that runs in a transaction is tried twice. The first time shows what it does: to the catalog, to names, to which columns of which
//! rows. From that comes the way back. The second time what has to be kept is kept, the step is taken back, and schema and rows must be
//! what they were; then once more, after writes as an application would make them, which must survive.

use super::runner::Runner;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::event::{RowsChanged, StepWay};
use crate::domain::failure::Failure;
use crate::domain::finding::{Finding, Severity};
use crate::domain::migration::{AloneProbe, Migration, UnitMode, session_settings, tables_beside};
use crate::domain::plan::{PlanStep, UndoClass};
use crate::domain::rehearsal::Reverse;
use crate::domain::schema::catalog::{Catalog, Kind};
use crate::domain::schema::diff::diff;
use crate::domain::way::names::{Renamed, renamed};
use crate::domain::way::{Changed, InPlace, Look, ROOM, Seen, generate, look, moved, stored, supplied, writable};
use crate::ports::database::{Around, Held, Trial};
use std::collections::{BTreeMap, BTreeSet};

/// The largest database in which ways back are tried: the tables a step touches are hashed four times, at some 5 seconds a gigabyte.
const MOST_BYTES: i64 = 20 * 1024 * 1024 * 1024;

/// How many steps a plan may have for each of them to be tried.
const MOST_STEPS: usize = 200;

/// How many tables are written to in one trial.
const MOST_WRITTEN: usize = 20;

/// `pg_largeobject`, whose rows no catalog tells of.
const LARGE_OBJECTS: u32 = 2613;

/// What is known of the ways back so far.
pub(super) struct Ways {
    /// The catalog before the next step.
    last: Catalog,
    /// One for each step that was looked at, in order.
    pub(super) found: Vec<StepWay>,
    /// Ways back that were supplied and do not work.
    pub(super) findings: Vec<Finding>,
    /// What the step that is looked at wrote itself, by table and column.
    writes: BTreeMap<String, Vec<String>>,
    /// How many rows, if it is a command.
    rows: Option<RowsChanged>,
    /// Whether one was taken as it was supplied.
    supplied: bool,
    /// Why nothing is tried at all.
    idle: Option<String>,
}

/// One step to be tried.
#[derive(Clone, Copy)]
pub(super) struct Tried<'a> {
    pub place: usize,
    pub step: &'a PlanStep,
    pub migration: &'a Migration,
    pub text: &'a str,
    pub bookkeeping: Option<&'a str>,
    pub timeout_ms: u64,
}

/// What is known of a step beside what it does.
pub(super) struct Others<'a> {
    pub name: &'a str,
    pub about: &'a str,
    pub last: &'a Catalog,
    pub writes: Option<&'a [&'a str]>,
    pub forget: &'a [String],
}

impl Others<'_> {
    pub(super) fn seen<'a>(&'a self, deed: &'a Deed) -> Seen<'a> {
        Seen {
            name: self.name,
            about: self.about,
            before: self.last,
            after: &deed.after,
            renamed: &deed.renamed,
            locks: &deed.locks,
            changed: &deed.changed,
            sequences: &deed.sequences,
            writes: self.writes,
            forget: self.forget,
        }
    }
}

/// What a step does, as the first trial showed it.
pub(super) struct Deed {
    after: Catalog,
    renamed: Renamed,
    locks: BTreeMap<String, String>,
    changed: BTreeMap<String, Changed>,
    sequences: Vec<String>,
    looks: Vec<Look>,
    held: BTreeMap<String, Held>,
}

/// What dbd adds to a step so that it can be taken back.
pub(super) fn around(undo: &UndoClass) -> Around<'_> {
    match undo {
        UndoClass::InPlace(way) => Around { before: &way.before, after: &way.after, instead: &way.instead },
        _ => Around::default(),
    }
}

impl Ways {
    /// What dbd adds to the step at `place`, if its way back is known by now.
    pub(super) fn around(&self, place: usize) -> Around<'_> {
        self.found.get(place).map_or_else(Around::default, |way| around(&way.undo))
    }

    /// Whether a step sets the table aside that it drops.
    pub(super) fn sets_aside(&self, table: &str) -> bool {
        let moved = format!("ALTER TABLE {table} SET SCHEMA {ROOM}");
        self.found.iter().any(|way| match &way.undo {
            UndoClass::InPlace(way) => way.instead.iter().any(|one| one.sql.contains(&moved)),
            _ => false,
        })
    }

    /// The command that was just run wrote and removed these rows: of which columns nobody knows.
    pub(super) fn counted(&mut self, rows: RowsChanged) {
        let tables = rows.written.keys().chain(rows.removed.keys());
        self.writes = tables.map(|table| (table.clone(), Vec::new())).collect();
        self.rows = Some(rows);
    }

    fn say(&mut self, undo: UndoClass, why_not: Vec<String>, notes: Vec<String>) {
        let (writes, rows) = (std::mem::take(&mut self.writes), self.rows.take());
        self.found.push(StepWay { undo, why_not, notes, writes, rows });
    }

    /// The trial of the step at `place` broke off: that step and all after it go back by other ways.
    pub(super) fn broke_off(&mut self, place: usize, failure: &Failure) {
        let why = format!("trying the way back broke off: {}", told(failure));
        self.found.truncate(place);
        self.say(UndoClass::Restore, vec![why.clone()], Vec::new());
        self.idle = Some(why);
    }

    /// What all of it comes to, for people and for `rehearsal.json`.
    pub(super) fn reverse(&self) -> Reverse {
        let whole = self.found.iter().all(|way| way.undo.is_in_place());
        let why = self.found.iter().find(|way| !way.undo.is_in_place()).and_then(|way| way.why_not.first().cloned());
        let why = why.or_else(|| self.found.iter().flat_map(|way| &way.notes).find(|note| is_place(note)).cloned());
        let loses = self.found.iter().flat_map(|way| match &way.undo {
            UndoClass::InPlace(way) => way.loses.clone(),
            _ => Vec::new(),
        });
        let method = match (whole, self.supplied) {
            (false, _) => "none",
            (true, true) => "supplied",
            (true, false) => "generated",
        };
        Reverse { proven: whole && why.is_none(), method: method.to_owned(), loses: loses.collect(), why }
    }
}

/// The note that columns come back in another place: the schema is the same but for that.
fn order_note(table: &str) -> String {
    format!("the columns of {table} come back in another order: what goes comes back last")
}

fn is_place(note: &str) -> bool {
    note.starts_with("the columns of ")
}

impl Runner<'_> {
    /// Begins with the catalog as it is before the first step.
    pub(super) fn ways(&self, before: &Catalog, steps: usize) -> Ways {
        let bytes = self.run.preflight.as_ref().map_or(0, |preflight| preflight.server.size_bytes);
        let idle = if bytes > MOST_BYTES {
            Some("the database is too large to look at what each step changes".to_owned())
        } else if steps > MOST_STEPS {
            Some(format!("there are more than {MOST_STEPS} steps, too many to try each one's way back"))
        } else {
            None
        };
        Ways {
            last: before.clone(),
            found: Vec::new(),
            findings: Vec::new(),
            writes: BTreeMap::new(),
            rows: None,
            supplied: false,
            idle,
        }
    }

    /// Tries the way back of a step that is about to be applied. One that runs alone is looked at afterwards, as it cannot be tried.
    ///
    /// The tables that the trial wrote to, by object id: the step's own writes and those of the ways back, all of them rolled back. That it cannot
    /// be tried is no reason not to rehearse: the step then goes back by another way.
    pub(super) async fn try_way(&self, url: &ConnectionUrl, ways: &mut Ways, tried: Tried<'_>) -> Vec<u32> {
        if let Some(why) = ways.idle.clone() {
            ways.say(UndoClass::Restore, vec![why], Vec::new());
            return Vec::new();
        }
        if tried.step.mode != UnitMode::Transaction {
            return Vec::new();
        }
        let (done, wrote) = match self.world.database.trial(url, tried.timeout_ms).await {
            Ok(trial) => {
                let done = self.try_in(trial.as_ref(), ways, tried).await;
                // A trial that broke off may not be able to say.
                let wrote = trial.wrote().await.unwrap_or_default();
                trial.end().await;
                (done, wrote.into_keys().collect())
            }
            Err(failure) => (Err(failure), Vec::new()),
        };
        if let Err(failure) = done {
            ways.broke_off(tried.place, &failure);
        }
        wrote
    }

    async fn try_in(&self, trial: &dyn Trial, ways: &mut Ways, tried: Tried<'_>) -> Result<(), Failure> {
        let statements: Vec<String> = tried.step.statements.iter().map(|span| span.of(tried.text).to_owned()).collect();
        let settings: Vec<String> = session_settings(tried.text, &tried.migration.units, tried.step.unit)
            .iter()
            .map(|span| span.of(tried.text).to_owned())
            .collect();
        trial.run(&settings).await?;
        trial.mark().await?;
        let deed = match self.look_at(trial, &ways.last, &statements).await {
            Ok(deed) => deed,
            // Applying it will tell what is wrong with it.
            Err(failure) => {
                ways.say(UndoClass::Restore, vec![failure.message], Vec::new());
                return Ok(());
            }
        };
        let written = |(table, changed): (&String, &Changed)| {
            // Without a key it is the whole table.
            let whole = changed.rows || changed.columns.contains("*");
            let columns = if whole { Vec::new() } else { changed.columns.iter().cloned().collect() };
            (table.clone(), columns)
        };
        ways.writes = deed.changed.iter().map(written).collect();
        let forget = self.forget(tried.step)?;
        let tracking = self.tracking_tables();
        let tracking: Vec<&str> = tracking.iter().map(String::as_str).collect();
        let (name, about) = self.kept_as(tried);
        let last = std::mem::replace(&mut ways.last, deed.after.clone());
        let writes = statements.iter().any(|sql| may_write(sql)).then_some(tracking.as_slice());
        let nothing = diff(&deed.after, &last).is_empty()
            && deed.renamed.back.is_empty()
            && deed.changed.is_empty()
            && deed.sequences.is_empty()
            && writes.is_none();
        // The names it left are the ones the next step begins with.
        if !deed.renamed.back.is_empty() {
            ways.last = self.catalog_left(trial, &statements).await?;
        }
        let kept_as = (name.as_str(), about.as_str());
        let softened = self.soften(trial, &statements, kept_as, &ways.last).await?;
        if nothing {
            ways.say(UndoClass::Nothing, Vec::new(), Vec::new());
            return Ok(());
        }
        if writes.is_some() && self.without_rows() {
            let why = "the sandbox holds no rows, so what the step does to them cannot be seen";
            ways.say(UndoClass::Restore, vec![why.to_owned()], Vec::new());
            return Ok(());
        }
        let mut why_not = Vec::new();
        match softened {
            None => {}
            Some(Err(why)) => why_not.push(format!("what is dropped is not set aside: {why}")),
            Some(Ok(softened)) => {
                let others = Others { name: &name, about: &about, last: &last, writes, forget: &forget };
                match self.way_of_softened(trial, tried, &softened, &others).await? {
                    Ok((way, notes)) => {
                        ways.say(UndoClass::InPlace(Box::new(way)), Vec::new(), notes);
                        return Ok(());
                    }
                    Err(why) => why_not.push(format!("what is dropped is not set aside: {why}")),
                }
            }
        }
        let others = Others { name: &name, about: &about, last: &last, writes, forget: &forget };
        let seen = others.seen(&deed);
        let proof = Proof { runner: self, trial, tried, statements: &statements, before: &last, deed: &deed };
        if let Some((down, file)) = self.down_of(tried, &mut why_not) {
            let way = supplied(&seen, &down);
            match proof.of(way).await? {
                Ok((way, notes)) => {
                    ways.supplied = true;
                    ways.say(UndoClass::InPlace(Box::new(way)), why_not, notes);
                    return Ok(());
                }
                Err(why) => {
                    ways.findings.push(self.does_not_work(&file, &why));
                    why_not.push(format!("the way back in {file} does not lead back: {why}"));
                }
            }
        }
        match proof.of(generate(&seen)).await? {
            Ok((way, notes)) => ways.say(UndoClass::InPlace(Box::new(way)), why_not, notes),
            Err(why) => {
                why_not.push(why);
                ways.say(UndoClass::Restore, why_not, Vec::new());
            }
        }
        Ok(())
    }

    /// Tries the way back of a step that ran alone, now that it did.
    pub(super) async fn way_of_alone(
        &self,
        url: &ConnectionUrl,
        ways: &mut Ways,
        tried: Tried<'_>,
    ) -> Result<(), Failure> {
        let UnitMode::Alone { probe } = &tried.step.mode else { return Ok(()) };
        // Nothing is tried any more.
        if ways.found.len() > tried.place {
            return Ok(());
        }
        let after = self.world.database.catalog(url, &[self.tracking_table()]).await?;
        let before = std::mem::replace(&mut ways.last, after.clone());
        let why = match probe {
            AloneProbe::Batch { .. } => {
                Some("its batches commit one by one, and what they change is not kept with each")
            }
            AloneProbe::UserCommand => Some("a command migrates by itself, and what it changes cannot be kept"),
            AloneProbe::Unknown => Some("nothing in the catalog tells what the statement changes"),
            _ => None,
        };
        if let Some(why) = why {
            ways.say(UndoClass::Restore, vec![why.to_owned()], Vec::new());
            return Ok(());
        }
        if diff(&after, &before).is_empty() {
            ways.say(UndoClass::Nothing, Vec::new(), Vec::new());
            return Ok(());
        }
        let forget = self.forget(tried.step)?;
        let (name, about) = self.kept_as(tried);
        let seen = Seen {
            name: &name,
            about: &about,
            before: &before,
            after: &after,
            renamed: &Renamed::default(),
            locks: &BTreeMap::new(),
            changed: &BTreeMap::new(),
            sequences: &[],
            writes: None,
            forget: &forget,
        };
        let way = match generate(&seen) {
            Ok(way) if way.before.is_empty() && way.after.is_empty() => way,
            Ok(_) => {
                let why = "the statement runs outside a transaction, and what it drops cannot be kept with it";
                ways.say(UndoClass::Restore, vec![why.to_owned()], Vec::new());
                return Ok(());
            }
            Err(why) => {
                ways.say(UndoClass::Restore, vec![why], Vec::new());
                return Ok(());
            }
        };
        let trial = self.world.database.trial(url, tried.timeout_ms).await?;
        let led = match trial.run(&way.undo).await {
            Ok(()) => self.leads_back(&trial.catalog(self.tracking_table()).await?, &before),
            Err(failure) => Err(told(&failure)),
        };
        match led {
            Ok(notes) => ways.say(UndoClass::InPlace(Box::new(way)), Vec::new(), notes),
            Err(why) => ways.say(UndoClass::Restore, vec![why], Vec::new()),
        }
        Ok(())
    }

    /// Runs the step for the first time: what it does. The trial is back where it was afterwards, and its place remembered.
    pub(super) async fn look_at(
        &self,
        trial: &dyn Trial,
        before: &Catalog,
        statements: &[String],
    ) -> Result<Deed, Failure> {
        let tracking = self.tracking_table();
        let names = trial.names().await?;
        run_step(trial, statements).await?;
        let (now, locked, wrote) = (trial.names().await?, trial.locks().await?, trial.wrote().await?);
        let renamed = renamed(&names, &now);
        trial.run(&renamed.back).await?;
        let after = trial.catalog(tracking).await?;
        if locked.contains_key(&LARGE_OBJECTS) {
            return Err(Failure::new(Code::StatementFailed, "it writes large objects, which are not kept"));
        }
        let truncates = statements.iter().any(|sql| sql.to_ascii_uppercase().contains("TRUNCATE"));
        let mut locks: BTreeMap<String, String> = BTreeMap::new();
        let mut sequences = Vec::new();
        let restarts = truncates || statements.iter().any(|sql| may_write(sql) || speaks(sql, "RESTART"));
        for (oid, mode) in &locked {
            let (Some(name), Some(kind)) = (names.relation(*oid), names.kind_of(*oid)) else { continue };
            match kind {
                "TABLE" => {
                    locks.insert(name, mode.clone());
                }
                // One that was set aside counts no further.
                "SEQUENCE" if restarts && now.relation(*oid).is_some_and(|now| !now.starts_with(ROOM)) => {
                    sequences.push(name);
                }
                _ => {}
            }
        }
        // What stands under an old name and is not the same table was made anew.
        let oids = |names: &crate::domain::way::names::Names| -> BTreeMap<String, u32> {
            names.all.keys().filter_map(|id| Some((names.relation(id.1)?, id.1))).collect()
        };
        let (were, are) = (oids(&names), oids(&now));
        let anew = were.iter().filter(|(name, oid)| are.get(*name).is_some_and(|now| now != *oid));
        let anew: Vec<String> =
            anew.map(|(name, _)| name.clone()).filter(|name| !renamed.tables.contains_key(name)).collect();
        let touched: BTreeSet<&String> = locks.keys().chain(&anew).collect();
        let looks: Vec<(Look, Look)> = touched.iter().filter_map(|table| look(before, &after, table)).collect();
        let (mut was, is): (Vec<Look>, Vec<Look>) = looks.into_iter().unzip();
        // What goes has to come back as it was, too.
        let gone = before.of_kind(Kind::Table).filter(|(key, _)| after.get(key).is_none());
        was.extend(gone.filter_map(|(key, _)| look(before, before, &key.name)).map(|(was, _)| was));
        let held_after = trial.look(&is).await?;
        trial.back().await?;
        trial.mark().await?;
        let held = trial.look(&was).await?;

        let mut changed: BTreeMap<String, Changed> = BTreeMap::new();
        for (table, before_it) in &held {
            let Some(after_it) = held_after.get(table) else { continue };
            let both: BTreeSet<String> = stored(before, &after, table).into_iter().collect();
            let columns: BTreeSet<String> = before_it
                .columns
                .iter()
                .filter(|(name, hash)| {
                    (*name == "*" || both.contains(*name)) && after_it.columns.get(*name) != Some(*hash)
                })
                .map(|(name, _)| name.clone())
                .collect();
            let rows = (&before_it.keys, before_it.rows) != (&after_it.keys, after_it.rows);
            // A table that is emptied here may be an empty one, and hold rows on the target.
            let emptied = truncates && locks.get(table).is_some_and(|mode| mode == "AccessExclusiveLock");
            if !columns.is_empty() || rows || emptied {
                changed.insert(table.clone(), Changed { columns, rows: rows || emptied });
            }
        }
        // What was written and came out the same may come out otherwise on the target.
        for (oid, (came_or_went, updated)) in wrote {
            let Some(table) = names.relation(oid).filter(|table| held.contains_key(table)) else { continue };
            let one = changed.entry(table.clone()).or_default();
            one.rows |= came_or_went > 0;
            if updated > 0 && one.columns.is_empty() && !one.rows {
                one.columns = match held.get(&table).is_some_and(|held| held.columns.contains_key("*")) {
                    true => ["*".to_owned()].into(),
                    false => stored(before, &after, &table).into_iter().collect(),
                };
            }
        }
        Ok(Deed { after, renamed, locks, changed, sequences, looks: was, held })
    }

    /// The catalog as the step leaves it, by the names it gives.
    async fn catalog_left(&self, trial: &dyn Trial, statements: &[String]) -> Result<Catalog, Failure> {
        run_step(trial, statements).await?;
        let catalog = trial.catalog(self.tracking_table()).await?;
        trial.back().await?;
        trial.mark().await?;
        Ok(catalog)
    }

    /// Whether `found` is `before`, and what is to be noted of it.
    fn leads_back(&self, found: &Catalog, before: &Catalog) -> Result<Vec<String>, String> {
        let seen = |catalog: &Catalog| if self.roles_kept { catalog.clone() } else { catalog.without_roles() };
        match diff(&seen(found), &seen(before)).first() {
            Some(change) => Err(format!("it does not lead back: {} {} differs", change.kind.words(), change.object)),
            None => Ok(moved(before, found).iter().map(|table| order_note(table)).collect()),
        }
    }

    fn without_rows(&self) -> bool {
        self.run.request.as_ref().is_some_and(|request| request.settings.data == "schema")
    }

    fn tracking_tables(&self) -> Vec<String> {
        let Some(preflight) = &self.run.preflight else { return Vec::new() };
        let tracking = preflight.tracking();
        std::iter::once(tracking.table.to_string()).chain(tables_beside(&tracking.table)).collect()
    }

    /// What kept tables of the step are called, and what is said of them.
    fn kept_as(&self, tried: Tried<'_>) -> (String, String) {
        let digest = Digest::of(self.run.id.as_str());
        let digits: String = digest.as_str().trim_start_matches("b3:").chars().take(8).collect();
        let about = format!("{}, {}, step {}", self.run.id, tried.migration.id, tried.place + 1);
        (format!("k{digits}_{}", tried.place + 1), about)
    }

    /// The way back that the migration's author wrote, if it can stand for this step; else why not.
    fn down_of(&self, tried: Tried<'_>, why_not: &mut Vec<String>) -> Option<(Vec<String>, String)> {
        let down = tried.migration.down.as_ref()?;
        let mut refuse = |why: &str| {
            why_not.push(format!("the way back in {} is not used: {why}", down.file));
            None
        };
        if tried.migration.units.len() > 1 {
            return refuse("the migration has several steps, and it is one for all of them");
        }
        if down.units.iter().any(|unit| unit.mode != UnitMode::Transaction) {
            return refuse("part of it runs outside a transaction");
        }
        // Its text does not travel with the events; what was frozen is its digest.
        let set = self.world.migrations.read().ok()?;
        let now = set.migrations.into_iter().find(|one| one.id == tried.migration.id).and_then(|one| one.down);
        let Some(now) = now.filter(|now| now.digest == down.digest && now.units == down.units) else {
            return refuse("the file changed since the run began");
        };
        let spans = now.units.iter().flat_map(|unit| &unit.statements);
        Some((spans.map(|span| span.of(&now.text).to_owned()).collect(), down.file.clone()))
    }

    fn does_not_work(&self, file: &str, why: &str) -> Finding {
        let required = self.run.request.as_ref().is_some_and(|request| request.settings.rollback.required);
        Finding {
            code: "down_does_not_work".to_owned(),
            severity: if required { Severity::Error } else { Severity::Warning },
            object: file.to_owned(),
            message: format!("{file} does not take its migration back: {why}"),
            allowed: false,
            waived: None,
        }
    }
}

/// Everything a way is proven by.
pub(super) struct Proof<'a, 'r> {
    pub runner: &'a Runner<'r>,
    pub trial: &'a dyn Trial,
    pub tried: Tried<'a>,
    pub statements: &'a [String],
    pub before: &'a Catalog,
    pub deed: &'a Deed,
}

impl Proof<'_, '_> {
    /// The way, if it leads back exactly, with notes; else why it does not.
    pub(super) async fn of(
        &self,
        way: Result<InPlace, String>,
    ) -> Result<Result<(InPlace, Vec<String>), String>, Failure> {
        let way = match way {
            Ok(way) => way,
            Err(why) => return Ok(Err(why)),
        };
        let result = self.prove(&way).await?;
        // Wherever it stopped, the next way starts from before the step.
        self.trial.back().await?;
        self.trial.mark().await?;
        Ok(result.map(|notes| (way, notes)))
    }

    async fn prove(&self, way: &InPlace) -> Result<Result<Vec<String>, String>, Failure> {
        let trial = self.trial;
        let ran = async {
            trial.run(&way.before).await?;
            run_step(trial, self.statements).await?;
            trial.run(&way.after).await?;
            let bookkeeping: Vec<String> = self.tried.bookkeeping.map(str::to_owned).into_iter().collect();
            trial.run(&bookkeeping).await
        };
        if let Err(failure) = ran.await {
            return Ok(Err(format!("what has to be kept cannot be: {}", told(&failure))));
        }
        trial.mark().await?;
        let result = self.exactly(way).await?;
        trial.back().await?;
        let mut notes = match result {
            Ok(notes) => notes,
            Err(why) => return Ok(Err(why)),
        };
        // Where an added row has no place in the old shape, changed ones alone may have.
        for adds in [true, false] {
            trial.mark().await?;
            let result = self.with_writes(way, adds, &mut notes).await?;
            trial.back().await?;
            match result {
                Ok(true) => break,
                Ok(false) => {}
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(notes))
    }

    /// Nobody wrote: schema and rows must be what they were.
    async fn exactly(&self, way: &InPlace) -> Result<Result<Vec<String>, String>, Failure> {
        if let Err(failure) = self.undo(way).await {
            return Ok(Err(told(&failure)));
        }
        let found = self.trial.catalog(self.runner.tracking_table()).await?;
        let notes = match self.runner.leads_back(&found, self.before) {
            Ok(notes) => notes,
            Err(why) => return Ok(Err(why)),
        };
        let held = self.trial.look(&self.deed.looks).await?;
        let other: Vec<&str> = self
            .deed
            .held
            .iter()
            .filter(|(table, before)| held.get(*table) != Some(before))
            .map(|(table, _)| table.as_str())
            .collect();
        Ok(match other.as_slice() {
            [] => Ok(notes),
            some => Err(format!("the schema comes back, what was in {} does not", some.join(", "))),
        })
    }

    /// Somebody wrote meanwhile, through the new shape and through what is left of the old: that must survive. Whether all of it had a
    /// place in the old shape.
    async fn with_writes(
        &self,
        way: &InPlace,
        adds: bool,
        notes: &mut Vec<String>,
    ) -> Result<Result<bool, String>, Failure> {
        let before = self.before;
        let shapes = diff(&self.deed.after, before);
        let mut tables: BTreeSet<&str> = self.deed.changed.keys().map(String::as_str).collect();
        tables.extend(
            shapes
                .iter()
                .filter(|change| matches!(change.kind, Kind::Column | Kind::Default | Kind::Constraint))
                .filter(|change| change.root.kind == Kind::Table)
                .map(|change| change.root.name.as_str()),
        );
        let mut written = Vec::new();
        for table in tables.iter().take(MOST_WRITTEN) {
            let Some(mut table) = writable(before, &self.deed.after, &self.deed.renamed, table) else { continue };
            // Nobody writes to what was set aside.
            if table.now.starts_with(ROOM) {
                continue;
            }
            // What a value means that its author turns back and forth, the author knows; what is left alone must stay.
            if let Some(changed) = self.deed.changed.get(&table.before).filter(|_| way.method == "supplied") {
                for column in &mut table.columns {
                    let turned = |name: &String| changed.rows || changed.columns.contains(name);
                    column.same &= !column.before.as_ref().is_some_and(turned);
                }
            }
            let mut said = Vec::new();
            written.extend(self.trial.write(&table, adds, &mut said).await?);
            notes.extend(said.into_iter().filter(|_| adds));
        }
        if written.is_empty() {
            return Ok(Ok(true));
        }
        match self.undo(way).await {
            Ok(()) => {}
            Err(failure) if failure.code == Code::WayBlocked => {
                let what = "not everything that can be written has a place in the old shape";
                notes.extend(adds.then(|| format!("{what}: {}", failure.message)));
                return Ok(Ok(false));
            }
            Err(failure) => return Ok(Err(format!("it fails once somebody wrote: {}", told(&failure)))),
        }
        for one in &written {
            let now = self.trial.read(one).await?;
            if now.as_ref() != Some(&one.values) {
                let found = now.unwrap_or_else(|| "nothing".to_owned());
                let (how, table, at) = (one.how, &one.table, &one.at);
                return Ok(Err(format!(
                    "{how} of {table} {at} does not survive it: {found} instead of {}",
                    one.values
                )));
            }
        }
        Ok(Ok(true))
    }

    async fn undo(&self, way: &InPlace) -> Result<(), Failure> {
        self.trial.run(&way.undo).await?;
        self.trial.run(&["SET CONSTRAINTS ALL IMMEDIATE".to_owned()]).await
    }
}

/// Runs a step's statements as far as a transaction that is not committed can: what is checked at the COMMIT is checked at the end.
async fn run_step(trial: &dyn Trial, statements: &[String]) -> Result<(), Failure> {
    trial.run(statements).await?;
    trial.run(&["SET CONSTRAINTS ALL IMMEDIATE".to_owned()]).await
}

/// A failure in one line.
pub(super) fn told(failure: &Failure) -> String {
    std::iter::once(&failure.message).chain(&failure.causes).cloned().collect::<Vec<_>>().join("; ")
}

/// Whether the statement may write rows, as far as its first word tells.
fn may_write(sql: &str) -> bool {
    let first = sql.split(|character: char| !character.is_ascii_alphabetic()).next().unwrap_or_default();
    !matches!(
        first.to_ascii_uppercase().as_str(),
        "CREATE" | "ALTER" | "DROP" | "COMMENT" | "GRANT" | "REVOKE" | "SET" | "RESET" | "LOCK" | "REINDEX" | "ANALYZE"
    )
}

fn speaks(sql: &str, word: &str) -> bool {
    sql.to_ascii_uppercase().contains(word)
}
