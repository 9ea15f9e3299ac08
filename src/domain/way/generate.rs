//! The way back from one step: what is kept while it runs, and the statements that take it back.
//!
//! The undo goes through five phases, in one transaction: everything is locked at once; what only the new shape can hold is put aside, and
//! what the old one cannot express stops it all; the shape goes back; what was kept is put where it was, cell by cell, where nobody wrote
//! since; what checks and watches the rows comes back last.

use super::keep::stop_if;
use super::kept::{Table, kept, tables};
use super::names::Renamed;
use super::{InPlace, KEEP, Rung, WROTE_ELSEWHERE};
use crate::domain::schema::catalog::{Catalog, Kind, ObjectKey};
use crate::domain::schema::diff::diff;
use crate::domain::schema::script::{Statement, script};
use crate::domain::sql::quote_literal;
use std::collections::{BTreeMap, BTreeSet};

/// Remembers what the server counts as written already: a session that ran a step before this one may not have handed its counts on, and until
/// it does they stand among those of this transaction.
const COUNTED: &str = "SELECT pg_catalog.set_config('dbd.wrote', coalesce((SELECT pg_catalog.jsonb_object_agg(relid::text, n_tup_ins + n_tup_upd + n_tup_del) \
     FROM pg_catalog.pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0), '{}')::text, true)";

/// What the step changed in a table that was there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The columns whose values it changed, as SQL writes them.
    pub columns: BTreeSet<String>,
    /// Whether rows came or went.
    pub rows: bool,
}

/// What was seen of a step in the sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What the names of kept tables begin with: no other step of any run has it.
    pub name: &'a str,
    /// What the step is called, for whoever finds a kept table.
    pub about: &'a str,
    /// The catalog before it.
    pub before: &'a Catalog,
    /// The catalog after it, once old names are given back.
    pub after: &'a Catalog,
    /// What it called otherwise.
    pub renamed: &'a Renamed,
    /// The strongest lock it took on each table, by the table's old name.
    pub locks: &'a BTreeMap<String, String>,
    /// What it changed in the tables that were there before, by old name.
    pub changed: &'a BTreeMap<String, Changed>,
    /// Sequences of before that it may have set back, by old name.
    pub sequences: &'a [String],
    /// Whether its statements can write rows at all; if so, the tables it may write without their being kept.
    pub writes: Option<&'a [&'a str]>,
    /// The statements that have the tool forget the migration, if the step is its last.
    pub forget: &'a [String],
}

/// How text comes out the same whenever it is compared, and that functions may be made before what they speak of.
const PINNED: &str = "SET LOCAL search_path TO DEFAULT; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'postgres'; \
     SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL check_function_bodies = off";

/// While values are compared as text.
pub(super) const IN_UTC: &str = "SET LOCAL TimeZone = 'UTC'";

/// While types are turned: as the migration turned them.
const IN_OWN_ZONE: &str = "SET LOCAL TimeZone TO DEFAULT";

/// The generated way back from a step.
///
/// # Errors
/// Why there is none, for people.
pub fn generate(seen: &Seen<'_>) -> Result<InPlace, String> {
    let relaxed = relaxed(seen.before, seen.after);
    let script = script(seen.after, &relaxed);
    if let Some(gap) = script.unsaid.first() {
        return Err(format!("{} {}: {}", gap.object.kind.words(), gap.object.name, gap.why));
    }
    let mut maker = Maker::new(seen);
    maker.keep_tables()?;
    maker.keep_sequences();
    maker.check_types();
    let shapes = script.statements.into_iter().map(|one| maker.instead(one)).collect::<Vec<_>>();
    let cut = shapes.iter().position(comes_late).unwrap_or(shapes.len());
    let (shape, late) = shapes.split_at(cut);
    let undo = maker.assemble(shape, late);
    let rung = if maker.before.is_empty() { Rung::Reverse } else { Rung::PreImages };
    let after = maker.afterwards();
    let (before, keeps) = (maker.beforehand(), maker.keeps);
    Ok(InPlace {
        rung,
        method: "generated".to_owned(),
        before,
        after,
        instead: Vec::new(),
        undo,
        keeps,
        loses: Vec::new(),
    })
}

/// The way back that the migration's author wrote: `down`, and before it what keeps it from destroying what only the new shape holds.
///
/// # Errors
/// Why it cannot be taken as it is, for people.
pub fn supplied(seen: &Seen<'_>, down: &[String]) -> Result<InPlace, String> {
    let mut maker = Maker::new(seen);
    maker.copies = true;
    maker.put_aside();
    maker.check_types();
    if !(seen.renamed.back.is_empty() || maker.aside.is_empty() && maker.checks.is_empty()) {
        return Err("it renames and adds at once, and what was added could not be kept".to_owned());
    }
    let mut undo = vec![PINNED.to_owned()];
    undo.extend(maker.lock());
    if !maker.aside.is_empty() {
        undo.push(make_room());
    }
    undo.append(&mut maker.aside);
    undo.append(&mut maker.checks);
    undo.extend(down.iter().cloned());
    undo.extend(seen.forget.iter().cloned());
    let (before, after, keeps) = (Vec::new(), Vec::new(), maker.keeps);
    Ok(InPlace {
        rung: Rung::Reverse,
        method: "supplied".to_owned(),
        before,
        after,
        instead: Vec::new(),
        undo,
        keeps,
        loses: Vec::new(),
    })
}

/// The catalog to go back to, but for columns that have to take NULL until their values are back.
fn relaxed(before: &Catalog, after: &Catalog) -> Catalog {
    let mut relaxed = before.clone();
    for (key, object) in &mut relaxed.objects {
        let table = |catalog: &Catalog| object.parent.as_ref().is_some_and(|table| catalog.get(table).is_some());
        if key.kind == Kind::Column
            && object.is("not_null")
            && object.text("identity").is_none_or(str::is_empty)
            && table(after)
            && !after.get(key).is_some_and(|column| column.is("not_null"))
        {
            object.attributes.insert("not_null".into(), false.into());
        }
    }
    relaxed
}

/// Whether a statement makes something that checks, copies or watches rows, and so has to wait until the values are back.
fn comes_late(statement: &Statement) -> bool {
    let watches = matches!(
        statement.about.kind,
        Kind::Index
            | Kind::Constraint
            | Kind::View
            | Kind::MaterializedView
            | Kind::Trigger
            | Kind::Rule
            | Kind::Policy
            | Kind::Statistics
            | Kind::EventTrigger
    );
    watches && !statement.sql.starts_with("DROP ") && !statement.sql.contains(" DROP CONSTRAINT ")
}

/// What the way back is made of, phase by phase.
pub(super) struct Maker<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) old: BTreeMap<&'a str, Table<'a>>,
    pub(super) new: BTreeMap<&'a str, Table<'a>>,
    pub(super) made: usize,
    /// Whether new tables are copied rather than moved, as somebody else's statements drop them.
    pub(super) copies: bool,
    /// Tables that are kept from, by the lock that takes.
    pub(super) held: BTreeMap<&'static str, Vec<&'a str>>,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
    /// What only the new shape holds goes aside.
    pub(super) aside: Vec<String>,
    /// Rows that came go, children first.
    pub(super) leave: Vec<(&'a str, String)>,
    /// What is still as the step left it.
    pub(super) still: Vec<String>,
    /// What stops the undo, in the session's own time zone.
    pub(super) checks: Vec<String>,
    /// What takes the place of the statement that drops a table.
    pub(super) moves: BTreeMap<ObjectKey, String>,
    pub(super) data: Vec<String>,
    /// Rows that went come back, parents first.
    pub(super) come: Vec<(&'a str, String)>,
    pub(super) tidy: Vec<String>,
    /// Tables written to by the undo.
    pub(super) written: BTreeSet<&'a str>,
    /// Kept tables with what tells that a cell of a column is as the step left it: table and column to (table of flags, flag).
    pub(super) flags: BTreeMap<(&'a str, &'a str), (String, usize)>,
    pub(super) keeps: Vec<String>,
}

impl<'a> Maker<'a> {
    fn new(seen: &'a Seen<'a>) -> Self {
        Self {
            seen,
            old: tables(seen.before),
            new: tables(seen.after),
            made: 0,
            copies: false,
            held: BTreeMap::new(),
            before: Vec::new(),
            after: Vec::new(),
            aside: Vec::new(),
            leave: Vec::new(),
            still: Vec::new(),
            checks: Vec::new(),
            moves: BTreeMap::new(),
            data: Vec::new(),
            come: Vec::new(),
            tidy: Vec::new(),
            written: BTreeSet::new(),
            flags: BTreeMap::new(),
            keeps: Vec::new(),
        }
    }

    /// The next table of what is kept.
    pub(super) fn next(&mut self) -> String {
        self.made += 1;
        kept(&format!("{}_{}", self.seen.name, self.made))
    }

    /// `CREATE TABLE ... AS`, with who and what on it.
    pub(super) fn create(&self, name: &str, what: &str, select: &str) -> String {
        let said = quote_literal(&format!("{what}; {}", self.seen.about));
        format!("CREATE TABLE {name} AS {select}; COMMENT ON TABLE {name} IS {said}")
    }

    /// The statement, or what takes its place.
    fn instead(&self, statement: Statement) -> Statement {
        let drops = statement.sql.starts_with("DROP TABLE ");
        match self.moves.get(&statement.about).filter(|_| drops) {
            Some(moves) => Statement { sql: moves.clone(), ..statement },
            None => statement,
        }
    }

    /// One statement that takes every lock of the undo at once, by the names of now.
    fn lock(&self) -> Option<String> {
        let mut tables: BTreeSet<&str> = self.written.iter().copied().collect();
        for change in diff(self.seen.after, self.seen.before) {
            let shapes = matches!(
                change.kind,
                Kind::Table
                    | Kind::Column
                    | Kind::Default
                    | Kind::Constraint
                    | Kind::Index
                    | Kind::Trigger
                    | Kind::Rule
                    | Kind::Policy
            );
            let table =
                self.new.keys().find(|name| shapes && change.root.kind == Kind::Table && **name == change.root.name);
            tables.extend(table);
        }
        let referred: Vec<&str> = tables
            .iter()
            .flat_map(|name| [self.old.get(name), self.new.get(name)])
            .flatten()
            .flat_map(|table| table.refers.iter().map(|refers| refers.table))
            .filter(|name| self.new.contains_key(name))
            .collect();
        tables.extend(referred);
        // What a migration calls otherwise is locked by the name it has now.
        let mut names: BTreeSet<String> = tables.iter().map(|name| self.seen.renamed.table(name).to_owned()).collect();
        names.extend(
            self.seen
                .renamed
                .tables
                .iter()
                .filter(|(old, _)| self.new.contains_key(old.as_str()))
                .map(|(_, now)| now.clone()),
        );
        (!names.is_empty()).then(|| {
            format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.into_iter().collect::<Vec<_>>().join(", "))
        })
    }

    fn assemble(&mut self, shape: &[Statement], late: &[Statement]) -> Vec<String> {
        let mut undo = vec![PINNED.to_owned()];
        undo.extend(self.lock());
        undo.extend(self.seen.renamed.back.iter().cloned());
        if !self.aside.is_empty() || !self.moves.is_empty() {
            undo.push(make_room());
        }
        for name in &self.written {
            undo.push(format!("ALTER TABLE {name} DISABLE TRIGGER USER"));
        }
        if !self.leave.is_empty() || !self.still.is_empty() {
            undo.push(IN_UTC.to_owned());
        }
        undo.append(&mut self.still);
        let order = by_reference(&self.new);
        self.leave.sort_by_key(|(name, _)| std::cmp::Reverse(order.get(name).copied().unwrap_or(0)));
        undo.extend(self.leave.drain(..).map(|(_, sql)| sql));
        undo.append(&mut self.aside);
        undo.push(IN_OWN_ZONE.to_owned());
        undo.append(&mut self.checks);
        undo.extend(shape.iter().map(|statement| statement.sql.clone()));
        undo.append(&mut self.data);
        let order = by_reference(&self.old);
        self.come.sort_by_key(|(name, _)| order.get(name).copied().unwrap_or(0));
        undo.extend(self.come.drain(..).map(|(_, sql)| sql));
        undo.extend(self.not_null());
        undo.extend(late.iter().map(|statement| statement.sql.clone()));
        undo.extend(self.triggers());
        undo.append(&mut self.tidy);
        undo.extend(self.seen.forget.iter().cloned());
        undo
    }

    /// Columns that took NULL for a while, and will not again; what cannot be NULL and is stops the undo.
    fn not_null(&self) -> Vec<String> {
        let mut made = Vec::new();
        for (name, old) in &self.old {
            let Some(new) = self.new.get(name) else { continue };
            for (column, _) in old.columns.iter().filter(|(_, was)| was.not_null && !was.inherited) {
                let key = ObjectKey::new(Kind::Column, format!("{name}.{column}"));
                let counts = self
                    .seen
                    .before
                    .get(&key)
                    .is_some_and(|it| it.text("identity").is_some_and(|word| !word.is_empty()));
                if counts || new.columns.get(column).is_some_and(|is| is.not_null) {
                    continue;
                }
                let text =
                    format!("a row written since has nothing in {name}.{column}, which takes no NULL in the old shape");
                made.push(stop_if(&format!("SELECT FROM {name} t WHERE t.{column} IS NULL"), &text));
                made.push(format!("ALTER TABLE {name} ALTER COLUMN {column} SET NOT NULL"));
            }
        }
        made
    }

    /// Every trigger of the tables that were written fires, or not, as it did.
    fn triggers(&self) -> Vec<String> {
        let mut made = Vec::new();
        for name in &self.written {
            for (trigger, object) in &self.old[name].triggers {
                let word = match object.text("enabled") {
                    Some("D") => "DISABLE",
                    Some("R") => "ENABLE REPLICA",
                    Some("A") => "ENABLE ALWAYS",
                    _ => "ENABLE",
                };
                made.push(format!("ALTER TABLE {name} {word} TRIGGER {}", trigger.last_part()));
            }
        }
        made
    }

    /// What runs before the step's statements: the room, the locks, the copies.
    fn beforehand(&mut self) -> Vec<String> {
        let mut made: Vec<String> = self.seen.writes.map(|_| COUNTED.to_owned()).into_iter().collect();
        if self.before.is_empty() {
            return made;
        }
        made.push(make_room());
        made.extend(self.held.iter().map(|(mode, tables)| format!("LOCK TABLE {} IN {mode} MODE", tables.join(", "))));
        made.append(&mut self.before);
        made
    }

    /// What runs after them: what they left, and that they wrote nowhere else.
    fn afterwards(&mut self) -> Vec<String> {
        let mut made = Vec::new();
        if !self.after.is_empty() {
            made.push(PINNED.to_owned());
            made.append(&mut self.after);
            made.push(IN_OWN_ZONE.to_owned());
        }
        if let Some(others) = self.seen.writes {
            let mut may: BTreeSet<String> = others.iter().map(|name| (*name).to_owned()).collect();
            may.extend(self.held.values().flatten().map(|name| self.seen.renamed.table(name).to_owned()));
            let came = self.new.keys().filter(|name| !self.old.contains_key(*name));
            may.extend(came.map(|name| self.seen.renamed.table(name).to_owned()));
            let may: Vec<String> =
                may.iter().map(|name| format!("pg_catalog.to_regclass({})", quote_literal(name))).collect();
            made.push(format!(
                "DO $dbd$\nDECLARE found text;\nBEGIN\n  SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', schemaname, relname), ', ') INTO found \
                 FROM pg_catalog.pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > \
                 coalesce((nullif(pg_catalog.current_setting('dbd.wrote', true), '')::jsonb ->> relid::text)::bigint, 0) AND schemaname !~ '^dbd(_|$)' \
                 AND relid <> ALL (pg_catalog.array_remove(ARRAY[{}]::oid[], NULL));\n  \
                 IF found IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = '{WROTE_ELSEWHERE}', MESSAGE = 'it wrote to ' || found || ', and did not in the rehearsal: what was there is not kept'; END IF;\nEND $dbd$",
                may.join(", ")
            ));
        }
        made
    }
}

/// The schema of what is kept, its owner's alone.
fn make_room() -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {KEEP}; REVOKE ALL ON SCHEMA {KEEP} FROM PUBLIC")
}

/// The tables numbered so that whatever one refers to has a lower number; circles as they come.
fn by_reference<'a>(tables: &BTreeMap<&'a str, Table<'a>>) -> BTreeMap<&'a str, usize> {
    let mut order = BTreeMap::new();
    let mut left: BTreeSet<&str> = tables.keys().copied().collect();
    while !left.is_empty() {
        let ready = |name: &&&str| {
            tables[**name].refers.iter().all(|refers| refers.table == **name || !left.contains(refers.table))
        };
        let next = left.iter().find(ready).or_else(|| left.iter().next()).copied();
        let Some(next) = next else { break };
        order.insert(next, order.len());
        left.remove(next);
    }
    order
}
