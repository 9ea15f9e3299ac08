//! The way back from one step: what is kept while it runs, and the statements that take it back.
//!
//! The undo goes through five phases, in one transaction: everything is locked at once; what only the new shape can hold is put aside, and
//! what the old one cannot express stops it all; the shape goes back; what was kept is put where it was, cell by cell, where nobody wrote
//! since; what checks and watches the rows comes back last.

use super::kept::{Column, Table, kept, shared_key, tables};
use super::names::Renamed;
use super::{InPlace, KEEP, NOT_EXPRESSIBLE, Rung, WROTE_ELSEWHERE};
use crate::domain::schema::catalog::{Catalog, Kind, ObjectKey, parts};
use crate::domain::schema::diff::diff;
use crate::domain::schema::script::{Statement, script};
use crate::domain::sql::quote_literal;
use std::collections::{BTreeMap, BTreeSet};

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
const IN_UTC: &str = "SET LOCAL TimeZone = 'UTC'";

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
    Ok(InPlace { rung, method: "generated".to_owned(), before, after, undo, keeps, loses: Vec::new() })
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
    if !seen.renamed.back.is_empty() && !(maker.aside.is_empty() && maker.checks.is_empty()) {
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
    Ok(InPlace { rung: Rung::Reverse, method: "supplied".to_owned(), before, after, undo, keeps, loses: Vec::new() })
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
            object.attributes.insert("not_null".to_owned(), false.into());
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

struct Maker<'a> {
    seen: &'a Seen<'a>,
    old: BTreeMap<&'a str, Table<'a>>,
    new: BTreeMap<&'a str, Table<'a>>,
    made: usize,
    /// Whether new tables are copied rather than moved, as somebody else's statements drop them.
    copies: bool,
    /// Tables that are kept from, by the lock that takes.
    held: BTreeMap<&'static str, Vec<&'a str>>,
    before: Vec<String>,
    after: Vec<String>,
    /// What only the new shape holds goes aside.
    aside: Vec<String>,
    /// Rows that came go, children first.
    leave: Vec<(&'a str, String)>,
    /// What is still as the step left it.
    still: Vec<String>,
    /// What stops the undo, in the session's own time zone.
    checks: Vec<String>,
    /// What takes the place of the statement that drops a table.
    moves: BTreeMap<ObjectKey, String>,
    data: Vec<String>,
    /// Rows that went come back, parents first.
    come: Vec<(&'a str, String)>,
    tidy: Vec<String>,
    /// Tables written to by the undo.
    written: BTreeSet<&'a str>,
    /// Kept tables with what tells that a cell of a column is as the step left it: table and column to (table of flags, flag).
    flags: BTreeMap<(&'a str, &'a str), (String, usize)>,
    keeps: Vec<String>,
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
    fn next(&mut self) -> String {
        self.made += 1;
        kept(&format!("{}_{}", self.seen.name, self.made))
    }

    /// `CREATE TABLE ... AS`, with who and what on it.
    fn create(&self, name: &str, what: &str, select: &str) -> String {
        let said = quote_literal(&format!("{what}; {}", self.seen.about));
        format!("CREATE TABLE {name} AS {select}; COMMENT ON TABLE {name} IS {said}")
    }

    fn keep_tables(&mut self) -> Result<(), String> {
        self.put_aside();
        let names: Vec<&'a str> = self.old.keys().copied().collect();
        for name in names {
            match self.new.get(name) {
                None => self.keep_dropped(name),
                Some(_) => self.keep_changed(name)?,
            }
        }
        Ok(())
    }

    /// Puts aside what only the new shape can hold.
    fn put_aside(&mut self) {
        let names: Vec<&'a str> = self.new.keys().copied().collect();
        for name in names {
            let table = self.new[name].clone();
            match self.old.get(name).cloned() {
                Some(old) => self.aside_columns(name, &old, &table),
                None => self.aside_table(name, &table),
            }
        }
    }

    fn aside_columns(&mut self, name: &'a str, old: &Table<'a>, new: &Table<'a>) {
        let added: Vec<(&str, &Column<'_>)> =
            new.stored().filter(|(column, _)| !old.columns.contains_key(column)).collect();
        if added.is_empty() || new.partitioned {
            return;
        }
        let written: Vec<String> = added
            .iter()
            .map(|(column, what)| match what.constant() {
                Some(default) => format!("t.{column}::text IS DISTINCT FROM ({default})::text"),
                None => format!("t.{column} IS NOT NULL"),
            })
            .collect();
        // Without a key the whole row says which one it was.
        let by = shared_key(old, new).unwrap_or_else(|| {
            new.stored()
                .map(|(column, _)| column.to_owned())
                .filter(|column| old.columns.contains_key(column.as_str()))
                .collect()
        });
        let by = by.iter().filter_map(|column| {
            let held = new.columns.get(column.as_str())?.held(&format!("t.{column}"));
            Some(format!("{held} AS {column}"))
        });
        let values: Vec<String> = by
            .chain(added.iter().map(|(column, what)| format!("{} AS {column}", what.held(&format!("t.{column}")))))
            .collect();
        let kept = self.next();
        let select = format!("SELECT {} FROM ONLY {name} t WHERE {}", values.join(", "), written.join(" OR "));
        let what = format!("values that only the new shape of {name} had");
        self.aside.push(self.create(&kept, &what, &select));
        self.aside.push(drop_if_empty(&kept));
        let columns: Vec<&str> = added.iter().map(|(column, _)| *column).collect();
        self.keeps.push(format!("the values of {name}.{}", columns.join(", ")));
    }

    fn aside_table(&mut self, name: &'a str, table: &Table<'a>) {
        if table.partitioned {
            return;
        }
        let parent_stays = table.parents.iter().any(|parent| self.old.keys().any(|old| plain(old) == **parent));
        if table.partition && parent_stays {
            // Its rows are rows of a table that stays.
            let text = format!("rows were written to {name}, a part of its table that the old shape does not have");
            self.checks.push(stop_if(&format!("SELECT FROM ONLY {name}"), &text));
            return;
        }
        let kept = self.next();
        let what = format!("the rows of {name}, which only the new shape had");
        self.keeps.push(format!("the rows of {name}"));
        // A moved table takes along what it is made of; what the undo drops must not be among it.
        let goes = |key: &ObjectKey| {
            matches!(
                key.kind,
                Kind::Function
                    | Kind::Procedure
                    | Kind::Aggregate
                    | Kind::Enum
                    | Kind::Domain
                    | Kind::CompositeType
                    | Kind::RangeType
                    | Kind::BaseType
                    | Kind::Collation
                    | Kind::Operator
                    | Kind::Extension
                    | Kind::TextSearchConfiguration
            ) && self.seen.before.get(key).is_none()
        };
        let alone = table.parents.is_empty() && !table.partition && !self.seen.after.objects.keys().any(goes);
        let is_parent = self.new.values().any(|other| other.parents.contains(&plain(name).as_str()));
        if self.copies || !alone || is_parent {
            let values: Vec<String> = table
                .columns
                .iter()
                .map(|(column, what)| format!("{} AS {column}", what.held(&format!("t.{column}"))))
                .collect();
            let select = format!("SELECT {} FROM ONLY {name} t", values.join(", "));
            self.aside.push(self.create(&kept, &what, &select));
            self.aside.push(drop_if_empty(&kept));
            return;
        }
        let mut moves = String::new();
        // What it refers to must be free again, and what fills it in may be about to go.
        for refers in &table.refers {
            moves.push_str(&format!("    ALTER TABLE {name} DROP CONSTRAINT {};\n", refers.name));
        }
        for (column, _) in table.columns.iter().filter(|(_, what)| what.default.is_some() && !what.generated) {
            moves.push_str(&format!("    ALTER TABLE {name} ALTER COLUMN {column} DROP DEFAULT;\n"));
        }
        for (trigger, _) in &table.triggers {
            moves.push_str(&format!("    DROP TRIGGER {} ON {name};\n", trigger.last_part()));
        }
        let last = parts(name).last().copied().unwrap_or(name).to_owned();
        let bare = kept.rsplit('.').next().unwrap_or(&kept).to_owned();
        // The name of another kept table must not be in the way.
        moves.push_str(&format!(
            "    ALTER TABLE {name} RENAME TO {bare};\n    ALTER TABLE {}.{bare} SET SCHEMA {KEEP};\n    COMMENT ON TABLE {kept} IS {};\n",
            name.strip_suffix(&last).and_then(|space| space.strip_suffix('.')).unwrap_or("public"),
            quote_literal(&format!("{what}; {}", self.seen.about)),
        ));
        let statement = format!(
            "DO $dbd$ BEGIN\n  IF EXISTS (SELECT FROM {name}) THEN\n{moves}  ELSE\n    DROP TABLE {name};\n  END IF;\nEND $dbd$"
        );
        self.moves.insert(ObjectKey::new(Kind::Table, name), statement);
    }

    /// Keeps every row of a table that the step drops.
    fn keep_dropped(&mut self, name: &'a str) {
        let table = self.old[name].clone();
        if table.partitioned {
            return;
        }
        let columns: Vec<(&str, &Column<'_>)> = table.stored().collect();
        let raw = self.next();
        let values: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(at, (column, what))| format!("{} AS b_{}", what.held(&format!("t.{column}")), at + 1))
            .collect();
        self.held.entry("ACCESS EXCLUSIVE").or_default().push(name);
        let select = format!("SELECT {} FROM ONLY {name} t", values.join(", "));
        let what = format!("the rows of {name}, before it was dropped");
        self.before.push(self.create(&raw, &what, &select));
        let back: Vec<String> =
            columns.iter().enumerate().map(|(at, (_, what))| what.back(&format!("b_{}", at + 1))).collect();
        let names: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
        if !names.is_empty() {
            self.data.push(format!(
                "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {raw}",
                names.join(", "),
                back.join(", ")
            ));
        }
        self.tidy.push(format!("DROP TABLE {raw}"));
        self.keeps.push(format!("the rows of {name}, which goes"));
    }

    /// Keeps what the step changes in a table that stays.
    fn keep_changed(&mut self, name: &'a str) -> Result<(), String> {
        let (old, new) = (self.old[name].clone(), self.new[name].clone());
        if old.partitioned || new.partitioned {
            return Ok(());
        }
        let none = Changed::default();
        let changed = self.seen.changed.get(name).unwrap_or(&none);
        let stays = |column: &str| new.columns.get(column).is_some_and(|column| !column.generated);
        let dropped = |column: &str| !new.columns.contains_key(column);
        let cells: Vec<(&'a str, Column<'a>)> = old
            .columns
            .iter()
            .filter(|(column, what)| {
                !what.generated && stays(column) && (changed.rows || changed.columns.contains(**column))
            })
            .map(|(column, what)| (*column, what.clone()))
            .collect();
        let gone: Vec<(&'a str, Column<'a>)> = old
            .columns
            .iter()
            .filter(|(column, what)| !what.generated && dropped(column))
            .map(|(column, what)| (*column, what.clone()))
            .collect();
        if cells.is_empty() && gone.is_empty() && !changed.rows {
            return if changed.columns.is_empty() {
                Ok(())
            } else {
                Err(format!("{name} has no key, so the rows that the step changes cannot be found again"))
            };
        }
        let Some(key) = shared_key(&old, &new) else {
            return Err(format!("{name} has no key, so the rows that the step changes cannot be found again"));
        };
        let lock = match self.seen.locks.get(name).map(String::as_str) {
            Some("AccessExclusiveLock") => "ACCESS EXCLUSIVE",
            _ => "SHARE ROW EXCLUSIVE",
        };
        self.held.entry(lock).or_default().push(name);
        self.written.insert(name);
        let one = Kept { name, key, old, new, cells, gone, rows: changed.rows };
        self.keep_one(&one);
        Ok(())
    }

    fn keep_one(&mut self, one: &Kept<'a>) {
        let name = one.name;
        let now = |column: &str| self.seen.renamed.column(name, column).to_owned();
        let table_now = self.seen.renamed.table(name).to_owned();
        let all: Vec<(&str, &Column<'_>)> =
            one.cells.iter().chain(&one.gone).map(|(name, what)| (*name, what)).collect();
        let mut values: Vec<String> =
            one.keys(|at, column, what| format!("{} AS key_{at}", what.held(&format!("t.{column}"))));
        values.extend(
            all.iter()
                .enumerate()
                .map(|(at, (column, what))| format!("{} AS b_{}", what.held(&format!("t.{column}")), at + 1)),
        );
        let keys: Vec<String> = one.keys(|at, _, _| format!("key_{at}"));
        let dropped_only = one.cells.is_empty() && !one.rows;
        // A NULL comes back by itself where no default fills it in.
        let worth: Vec<String> = one
            .gone
            .iter()
            .enumerate()
            .map(|(at, (_, what))| match what.default {
                Some(_) => "true".to_owned(),
                None => format!("p.b_{} IS NOT NULL", one.cells.len() + at + 1),
            })
            .collect();
        let what = format!("what {name} held");
        let raw = self.next();
        let select = format!("SELECT {} FROM ONLY {name} t", values.join(", "));
        self.before.push(self.create(&raw, &what, &select));
        let said: Vec<&str> = all.iter().map(|(column, _)| *column).collect();
        self.keeps.push(match one.rows {
            true => format!("the rows of {name}, as they were"),
            false => format!("{name}.{}, as it was", said.join(", ")),
        });
        let set_gone = |at: usize, column: &str, what: &Column<'_>| {
            format!("{column} = {}", what.back(&format!("p.b_{}", one.cells.len() + at + 1)))
        };
        let sets_gone = one.gone.iter().enumerate().filter(|(_, (_, what))| !what.always);
        if dropped_only {
            let sets: Vec<String> = sets_gone.map(|(at, (column, what))| set_gone(at, column, what)).collect();
            self.data.push(format!(
                "UPDATE ONLY {name} t SET {} FROM {raw} p WHERE ({}) AND {}",
                sets.join(", "),
                worth.join(" OR "),
                one.meets("t", "p", |column| column.to_owned(), &one.old)
            ));
            self.tidy.push(format!("DROP TABLE {raw}"));
            return;
        }

        // What the step left, beside what was there; and nothing of what it left alone.
        let kept = self.next();
        let mut columns = vec!["p.*".to_owned()];
        columns.extend(one.cells.iter().enumerate().map(|(at, (column, _))| {
            let what = &one.new.columns[column];
            format!("{} AS a_{}", what.held(&format!("t.{}", now(column))), at + 1)
        }));
        let first = now(&one.key[0]);
        columns.push(format!("(t.{first} IS NULL) AS gone"));
        let mut worth = worth;
        worth.extend(
            one.cells
                .iter()
                .enumerate()
                .map(|(at, (column, _))| format!("p.b_{}::text IS DISTINCT FROM t.{}::text", at + 1, now(column))),
        );
        worth.push(format!("t.{first} IS NULL"));
        let meets = one.meets("t", "p", now, &one.old);
        self.after.push(IN_UTC.to_owned());
        let select = format!(
            "SELECT {} FROM {raw} p LEFT JOIN ONLY {table_now} t ON {meets} WHERE {}",
            columns.join(", "),
            worth.join(" OR ")
        );
        self.after.push(self.create(&kept, &what, &select));
        let whole = |of: &dyn Fn(&str) -> String| {
            let columns: Vec<String> = one.new.stored().map(|(column, _)| format!("t.{}", of(column))).collect();
            format!("ROW({})::text", columns.join(", "))
        };
        if one.rows {
            let came = self.next();
            let mut values: Vec<String> =
                one.keys(|at, column, what| format!("{} AS key_{at}", what.held(&format!("t.{}", now(column)))));
            values.push(format!("{} AS whole", whole(&now)));
            let select = format!(
                "SELECT {} FROM ONLY {table_now} t LEFT JOIN {raw} p ON {meets} WHERE p.key_1 IS NULL",
                values.join(", ")
            );
            let what = format!("the rows that came to {name}");
            self.after.push(self.create(&came, &what, &select));
            // A row that somebody refers to by now stays, whatever became of it.
            let mut free = String::new();
            for (child, table) in &self.new {
                for refers in table.refers.iter().filter(|refers| refers.table == name) {
                    let same: Vec<String> =
                        refers.columns.iter().zip(&refers.to).map(|(from, to)| format!("c.{from} = t.{to}")).collect();
                    free.push_str(&format!(" AND NOT EXISTS (SELECT FROM {child} c WHERE {})", same.join(" AND ")));
                }
            }
            self.leave.push((
                name,
                format!(
                    "DELETE FROM ONLY {name} t USING {came} n WHERE {} AND {} = n.whole{free}",
                    one.meets("t", "n", |column| column.to_owned(), &one.new),
                    whole(&|column| column.to_owned())
                ),
            ));
            self.tidy.push(format!("DROP TABLE {came}"));
            let names: Vec<&str> = all.iter().map(|(column, _)| *column).collect();
            let back: Vec<String> =
                all.iter().enumerate().map(|(at, (_, what))| what.back(&format!("p.b_{}", at + 1))).collect();
            self.come.push((
                name,
                format!(
                    "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {kept} p WHERE p.gone ON CONFLICT DO NOTHING",
                    names.join(", "),
                    back.join(", ")
                ),
            ));
        }
        self.after.push(format!("DROP TABLE {raw}"));

        let flags = self.next();
        let mut values: Vec<String> = keys.iter().map(|key| format!("p.{key}")).collect();
        values.extend(one.cells.iter().enumerate().map(|(at, (column, _))| {
            format!("(t.{column}::text IS NOT DISTINCT FROM p.a_{0}::text) AS s_{0}", at + 1)
        }));
        let select = format!(
            "SELECT {} FROM {kept} p JOIN ONLY {name} t ON {} WHERE NOT p.gone",
            values.join(", "),
            one.meets("t", "p", |column| column.to_owned(), &one.old)
        );
        self.still.push(self.create(&flags, &format!("which cells of {name} were as the step left them"), &select));
        for (at, (column, _)) in one.cells.iter().enumerate() {
            self.flags.insert((name, column), (flags.clone(), at + 1));
        }
        let mut sets: Vec<String> = one
            .cells
            .iter()
            .enumerate()
            .filter(|(_, (_, what))| !what.always)
            .map(|(at, (column, what))| {
                let at = at + 1;
                format!("{column} = CASE WHEN w.s_{at} THEN {} ELSE t.{column} END", what.back(&format!("p.b_{at}")))
            })
            .collect();
        sets.extend(sets_gone.map(|(at, (column, what))| set_gone(at, column, what)));
        if !sets.is_empty() {
            self.data.push(format!(
                "UPDATE ONLY {name} t SET {} FROM {kept} p JOIN {flags} w USING ({}) WHERE {}",
                sets.join(", "),
                keys.join(", "),
                one.meets("t", "p", |column| column.to_owned(), &one.old)
            ));
        }
        // What somebody wrote over stays to be looked at; all else is where it was.
        let all_still: Vec<String> = (1..=one.cells.len()).map(|at| format!("s_{at}")).collect();
        let over = if all_still.is_empty() { "false".to_owned() } else { format!("NOT ({})", all_still.join(" AND ")) };
        if one.rows {
            self.tidy.push(format!("DROP TABLE {flags}"));
        } else {
            self.tidy.push(format!(
                "DO $dbd$ BEGIN\n  IF NOT EXISTS (SELECT FROM {flags} WHERE {over}) THEN DROP TABLE {kept}; END IF;\n  DROP TABLE {flags};\nEND $dbd$"
            ));
        }
    }

    /// Keeps how far sequences have counted, which no transaction takes back.
    fn keep_sequences(&mut self) {
        let sequences = [Kind::Sequence, Kind::IdentitySequence];
        let dropped = self.seen.before.objects.keys().filter(|key| {
            sequences.contains(&key.kind)
                && !sequences.iter().any(|kind| self.seen.after.find(*kind, &key.name).is_some())
        });
        let dropped: Vec<String> = dropped.map(|key| key.name.clone()).collect();
        for name in &dropped {
            let raw = self.next();
            let what = format!("how far {name} had counted");
            self.before.push(self.create(&raw, &what, &format!("SELECT last_value, is_called FROM {name}")));
            self.data.push(format!(
                "SELECT pg_catalog.setval({}::pg_catalog.regclass, last_value, is_called) FROM {raw}",
                quote_literal(name)
            ));
            self.tidy.push(format!("DROP TABLE {raw}"));
        }
        for name in self.seen.sequences.iter().filter(|name| !dropped.contains(name)) {
            let increment = sequences.iter().find_map(|kind| self.seen.before.find(*kind, name));
            let increment = increment.and_then(|object| object.get("increment").as_i64()).unwrap_or(1);
            let raw = self.next();
            let what = format!("how far {name} had counted");
            self.before.push(self.create(&raw, &what, &format!("SELECT last_value, is_called FROM {name}")));
            let further = if increment < 0 { "<" } else { ">" };
            self.data.push(format!(
                "SELECT pg_catalog.setval({}::pg_catalog.regclass, k.last_value, k.is_called) FROM {raw} k, {name} s \
                 WHERE k.last_value {further} s.last_value OR k.last_value = s.last_value AND k.is_called",
                quote_literal(name)
            ));
            self.tidy.push(format!("DROP TABLE {raw}"));
        }
    }

    /// Stops the undo where a column holds what its old type cannot.
    fn check_types(&mut self) {
        for (name, old) in &self.old {
            let Some(new) = self.new.get(name).filter(|new| !new.partitioned) else { continue };
            for (column, was) in old.columns.iter().filter(|(_, column)| !column.generated) {
                let Some(is) = new.columns.get(column).filter(|is| !is.generated && is.kind != was.kind) else {
                    continue;
                };
                let turned = match was.plain() && is.plain() {
                    true => format!("(t.{column}::{})::{}", was.kind, is.kind),
                    false => format!("(t.{column}::text::{})::text::{}", was.kind, is.kind),
                };
                let key = shared_key(old, new);
                let row = match &key {
                    Some(key) => {
                        let columns: Vec<String> = key.iter().map(|column| format!("t.{column}")).collect();
                        format!("ROW({})::text", columns.join(", "))
                    }
                    None => format!("t.{column}::text"),
                };
                let still = self.flags.get(&(*name, *column)).zip(key.as_ref()).map(|((flags, at), key)| {
                    let same: Vec<String> = key
                        .iter()
                        .enumerate()
                        .map(|(at, column)| {
                            format!("t.{column} = {}", old.columns[column.as_str()].back(&format!("w.key_{}", at + 1)))
                        })
                        .collect();
                    format!(" AND NOT EXISTS (SELECT FROM {flags} w WHERE w.s_{at} AND {})", same.join(" AND "))
                });
                let what = format!("{name}.{column} holds a value that {} cannot hold", was.kind);
                self.checks.push(format!(
                    "DO $dbd$\nDECLARE found text;\nBEGIN\n  SELECT {row} INTO found FROM ONLY {name} t \
                     WHERE t.{column} IS NOT NULL AND {turned}::text IS DISTINCT FROM t.{column}::text{} LIMIT 1;\n  \
                     IF found IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = '{NOT_EXPRESSIBLE}', MESSAGE = {} || found; END IF;\n\
                     EXCEPTION WHEN SQLSTATE '{NOT_EXPRESSIBLE}' THEN RAISE;\n  WHEN OTHERS THEN RAISE EXCEPTION USING ERRCODE = '{NOT_EXPRESSIBLE}', MESSAGE = {} || SQLERRM;\nEND $dbd$",
                    still.unwrap_or_default(),
                    quote_literal(&format!("{what}, in row ")),
                    quote_literal(&format!("{what}: ")),
                ));
            }
        }
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
        if self.before.is_empty() {
            return Vec::new();
        }
        let mut made = vec![make_room()];
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
            may.extend(self.new.keys().filter(|name| !self.old.contains_key(*name)).map(|name| (*name).to_owned()));
            let may: Vec<String> =
                may.iter().map(|name| format!("pg_catalog.to_regclass({})", quote_literal(name))).collect();
            made.push(format!(
                "DO $dbd$\nDECLARE found text;\nBEGIN\n  SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', schemaname, relname), ', ') INTO found \
                 FROM pg_catalog.pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 AND schemaname !~ '^dbd(_|$)' \
                 AND relid <> ALL (pg_catalog.array_remove(ARRAY[{}]::oid[], NULL));\n  \
                 IF found IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = '{WROTE_ELSEWHERE}', MESSAGE = 'it wrote to ' || found || ', and did not in the rehearsal: what was there is not kept'; END IF;\nEND $dbd$",
                may.join(", ")
            ));
        }
        made
    }
}

/// One table that is kept from.
struct Kept<'a> {
    name: &'a str,
    key: Vec<String>,
    old: Table<'a>,
    new: Table<'a>,
    /// Columns of both shapes whose values are kept.
    cells: Vec<(&'a str, Column<'a>)>,
    /// Columns that go.
    gone: Vec<(&'a str, Column<'a>)>,
    rows: bool,
}

impl Kept<'_> {
    /// Something of each column of the key, which are counted from 1.
    fn keys(&self, of: impl Fn(usize, &str, &Column<'_>) -> String) -> Vec<String> {
        let column = |(at, name): (usize, &String)| of(at + 1, name, &self.old.columns[name.as_str()]);
        self.key.iter().enumerate().map(column).collect()
    }

    /// That a row of the table `t` is the one that was kept as `p`.
    fn meets(&self, t: &str, p: &str, now: impl Fn(&str) -> String, shape: &Table<'_>) -> String {
        let same: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let kept = shape.columns[column.as_str()].back(&format!("{p}.key_{}", at + 1));
                format!("{t}.{} = {kept}", now(column))
            })
            .collect();
        same.join(" AND ")
    }
}

/// The schema of what is kept, its owner's alone.
fn make_room() -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {KEEP}; REVOKE ALL ON SCHEMA {KEEP} FROM PUBLIC")
}

fn drop_if_empty(table: &str) -> String {
    format!("DO $dbd$ BEGIN\n  IF NOT EXISTS (SELECT FROM {table}) THEN DROP TABLE {table}; END IF;\nEND $dbd$")
}

/// Stops the undo if the query has a row.
fn stop_if(query: &str, text: &str) -> String {
    format!(
        "DO $dbd$ BEGIN\n  IF EXISTS ({query}) THEN RAISE EXCEPTION USING ERRCODE = '{NOT_EXPRESSIBLE}', MESSAGE = {}; END IF;\nEND $dbd$",
        quote_literal(text)
    )
}

/// A qualified name without its quotes, as the catalog writes parents.
fn plain(name: &str) -> String {
    let bare = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => part.to_owned(),
    };
    parts(name).into_iter().map(bare).collect::<Vec<_>>().join(".")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::diff::tests::catalog;
    use crate::domain::way::names::Renamed;
    use serde_json::{Value, json};

    type Line<'a> = (&'a str, &'a str, Value);

    fn orders(more: Vec<Line<'_>>) -> Catalog {
        let mut lines = vec![
            ("table:public.orders", "", json!({})),
            (
                "column:public.orders.id",
                "table:public.orders",
                json!({"type": "integer", "not_null": true, "identity": ""}),
            ),
            ("constraint:public.orders.orders_pkey", "table:public.orders", json!({"definition": "PRIMARY KEY (id)"})),
        ];
        lines.extend(more);
        catalog(&lines)
    }

    fn column(name: &'static str, attributes: Value) -> Line<'static> {
        (name, "table:public.orders", attributes)
    }

    /// The way from `after` back to `before`, where the step changed what is said.
    fn way(before: &Catalog, after: &Catalog, changed: &[(&str, &[&str], bool)]) -> Result<InPlace, String> {
        let changed = changed.iter().map(|(table, columns, rows)| {
            let columns = columns.iter().map(|column| (*column).to_owned()).collect();
            ((*table).to_owned(), Changed { columns, rows: *rows })
        });
        let seen = Seen {
            name: "k1",
            about: "run, migration, step 1",
            before,
            after,
            renamed: &Renamed::default(),
            locks: &BTreeMap::new(),
            changed: &changed.collect(),
            sequences: &[],
            writes: None,
            forget: &["DELETE FROM tracking".to_owned()],
        };
        generate(&seen)
    }

    /// Where the statements are, each told by a part of it; that all are there and in this order.
    fn in_this_order(statements: &[String], told: &[&str]) {
        let mut from = 0;
        for part in told {
            let found = statements[from..].iter().position(|sql| sql.contains(part));
            let at = found.unwrap_or_else(|| panic!("{part} does not come next in {statements:#?}"));
            from += at + 1;
        }
    }

    #[test]
    fn given_an_added_column_its_values_are_put_aside_before_it_goes_and_nothing_is_kept_beforehand() {
        let before = orders(vec![]);
        let after = orders(vec![
            column("column:public.orders.note", json!({"type": "text"})),
            ("default:public.orders.note", "column:public.orders.note", json!({"expr": "'none'::text"})),
        ]);
        let way = way(&before, &after, &[]).unwrap();
        assert_eq!((way.rung, way.before.len(), way.after.len(), way.loses.len()), (Rung::Reverse, 0, 0, 0));
        in_this_order(
            &way.undo,
            &[
                "LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE",
                "CREATE SCHEMA IF NOT EXISTS dbd_keep",
                "CREATE TABLE dbd_keep.k1_1 AS SELECT t.id AS id, t.note AS note FROM ONLY public.orders t WHERE t.note::text IS DISTINCT FROM ('none'::text)::text",
                "ALTER TABLE public.orders DROP COLUMN note",
                "DELETE FROM tracking",
            ],
        );
        assert_eq!(way.keeps, ["the values of public.orders.note"]);
    }

    #[test]
    fn given_rewritten_cells_they_are_kept_under_a_lock_and_come_back_only_where_nobody_wrote_since() {
        let text = |name| column(name, json!({"type": "text"}));
        let catalog = || orders(vec![text("column:public.orders.state"), text("column:public.orders.other")]);
        let way = way(&catalog(), &catalog(), &[("public.orders", &["state"], false)]).unwrap();
        assert_eq!(way.rung, Rung::PreImages);
        in_this_order(
            &way.before,
            &[
                "LOCK TABLE public.orders IN SHARE ROW EXCLUSIVE MODE",
                "CREATE TABLE dbd_keep.k1_1 AS SELECT t.id AS key_1, t.state AS b_1 FROM ONLY public.orders t",
            ],
        );
        in_this_order(
            &way.after,
            &["p.b_1::text IS DISTINCT FROM t.state::text OR t.id IS NULL", "DROP TABLE dbd_keep.k1_1"],
        );
        in_this_order(
            &way.undo,
            &[
                "DISABLE TRIGGER USER",
                "(t.state::text IS NOT DISTINCT FROM p.a_1::text) AS s_1",
                "SET state = CASE WHEN w.s_1 THEN p.b_1 ELSE t.state END",
            ],
        );
        assert!(!way.undo.iter().any(|sql| sql.contains("other")), "{:#?}", way.undo);
    }

    #[test]
    fn given_no_key_what_changes_cannot_be_found_again_and_what_does_not_needs_none() {
        let plain = |more: Vec<Line<'_>>| {
            let mut lines = vec![
                ("table:public.t", "", json!({})),
                ("column:public.t.a", "table:public.t", json!({"type": "text"})),
            ];
            lines.extend(more);
            catalog(&lines)
        };
        let why = way(&plain(vec![]), &plain(vec![]), &[("public.t", &["*"], false)]).unwrap_err();
        assert!(why.contains("public.t has no key"), "{why}");
        let wider = plain(vec![("column:public.t.b", "table:public.t", json!({"type": "text"}))]);
        let way = way(&plain(vec![]), &wider, &[]).unwrap();
        // The whole row says which one it was.
        in_this_order(&way.undo, &["SELECT t.a AS a, t.b AS b FROM ONLY public.t t WHERE t.b IS NOT NULL"]);
    }

    #[test]
    fn given_a_dropped_column_that_took_no_null_it_is_filled_before_it_takes_none_again() {
        let before = orders(vec![column("column:public.orders.code", json!({"type": "text", "not_null": true}))]);
        let way = way(&before, &orders(vec![]), &[]).unwrap();
        in_this_order(
            &way.undo,
            &[
                "ALTER TABLE public.orders ADD COLUMN code text",
                "SET code = p.b_1 FROM dbd_keep.k1_1 p",
                "IF EXISTS (SELECT FROM public.orders t WHERE t.code IS NULL) THEN RAISE EXCEPTION USING ERRCODE = 'DBD01'",
                "ALTER COLUMN code SET NOT NULL",
            ],
        );
        assert!(!way.undo.iter().any(|sql| sql.contains("ADD COLUMN code text NOT NULL")), "{:#?}", way.undo);
    }

    #[test]
    fn given_a_wider_type_every_value_is_tried_in_the_old_one_before_the_type_is_turned() {
        let with = |kind: &str| orders(vec![column("column:public.orders.n", json!({"type": kind}))]);
        let way = way(&with("integer"), &with("bigint"), &[]).unwrap();
        in_this_order(
            &way.undo,
            &[
                "(t.n::integer)::bigint::text IS DISTINCT FROM t.n::text",
                "ALTER COLUMN n TYPE integer USING n::integer",
            ],
        );
    }

    #[test]
    fn given_a_new_table_it_is_moved_unless_what_it_is_made_of_goes_too() {
        let new = |kind: &str| {
            orders(vec![
                ("table:public.extra", "", json!({})),
                ("column:public.extra.e", "table:public.extra", json!({"type": kind})),
                (
                    "constraint:public.extra.fk",
                    "table:public.extra",
                    json!({"definition": "FOREIGN KEY (e) REFERENCES public.orders(id)"}),
                ),
            ])
        };
        let way_of_plain = way(&orders(vec![]), &new("integer"), &[]).unwrap();
        in_this_order(&way_of_plain.undo, &["ALTER TABLE public.extra DROP CONSTRAINT fk"]);
        assert!(way_of_plain.undo.iter().any(|sql| sql.contains("ALTER TABLE public.k1_1 SET SCHEMA dbd_keep")));
        let mut typed = new("public.mood");
        typed.objects.extend(catalog(&[("enum:public.mood", "", json!({"values": ["ok"]}))]).objects);
        let way = way(&orders(vec![]), &typed, &[]).unwrap();
        in_this_order(
            &way.undo,
            &[
                "CREATE TABLE dbd_keep.k1_1 AS SELECT t.e::text AS e FROM ONLY public.extra t",
                "DROP TABLE public.extra",
                "DROP TYPE public.mood",
            ],
        );
    }

    #[test]
    fn given_rows_that_came_and_went_children_leave_first_and_parents_return_first() {
        let tables = || {
            orders(vec![
                ("table:public.lines", "", json!({})),
                ("column:public.lines.id", "table:public.lines", json!({"type": "integer", "not_null": true})),
                ("column:public.lines.o", "table:public.lines", json!({"type": "integer"})),
                ("constraint:public.lines.lines_pkey", "table:public.lines", json!({"definition": "PRIMARY KEY (id)"})),
                (
                    "constraint:public.lines.fk",
                    "table:public.lines",
                    json!({"definition": "FOREIGN KEY (o) REFERENCES public.orders(id) ON DELETE CASCADE"}),
                ),
            ])
        };
        let way = way(&tables(), &tables(), &[("public.orders", &[], true), ("public.lines", &[], true)]).unwrap();
        in_this_order(
            &way.undo,
            &[
                "DELETE FROM ONLY public.lines t",
                "DELETE FROM ONLY public.orders t",
                "INSERT INTO public.orders",
                "INSERT INTO public.lines",
            ],
        );
        let delete = way.undo.iter().find(|sql| sql.starts_with("DELETE FROM ONLY public.orders")).unwrap();
        assert!(delete.contains("NOT EXISTS (SELECT FROM public.lines c WHERE c.o = t.id)"), "{delete}");
    }

    #[test]
    fn given_statements_that_may_write_the_step_stops_where_it_writes_elsewhere() {
        let catalog = orders(vec![]);
        let seen = Seen {
            name: "k1",
            about: "",
            before: &catalog,
            after: &catalog,
            renamed: &Renamed::default(),
            locks: &BTreeMap::new(),
            changed: &BTreeMap::new(),
            sequences: &[],
            writes: Some(&["public.schema_migrations"]),
            forget: &[],
        };
        let way = generate(&seen).unwrap();
        assert_eq!(way.after.len(), 1);
        assert!(
            way.after[0].contains("pg_stat_xact_user_tables")
                && way.after[0].contains("to_regclass('public.schema_migrations')")
        );
    }

    #[test]
    fn a_kept_value_of_a_type_that_may_go_is_kept_as_text() {
        let column = |kind| Column {
            kind,
            collation: None,
            generated: false,
            always: false,
            not_null: false,
            inherited: false,
            default: None,
        };
        assert_eq!(
            (column("public.mood").held("t.a"), column("public.mood").back("b")),
            ("t.a::text".into(), "b::public.mood".into())
        );
        assert_eq!(
            (column("numeric(12,2)").held("t.a"), column("numeric(12,2)").back("b")),
            ("t.a".into(), "b".into())
        );
    }
}
