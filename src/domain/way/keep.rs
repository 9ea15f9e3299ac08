//! What is kept of each table while a step runs, what is put aside before it is taken back, and how it comes back.

use super::generate::{Changed, IN_UTC, Maker};
use super::kept::{Column, Table, shared_key};
use super::{KEEP, NOT_EXPRESSIBLE};
use crate::domain::schema::catalog::{Kind, ObjectKey, parts};
use crate::domain::sql::quote_literal;

impl<'a> Maker<'a> {
    pub(super) fn keep_tables(&mut self) -> Result<(), String> {
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
    pub(super) fn put_aside(&mut self) {
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
        let called = self.seen.renamed.table(name);
        let what = format!("the rows of {called}, which only the new shape had");
        self.keeps.push(format!("the rows of {called}"));
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
        // No name of another kept table's may be in the way, nor of what is its.
        let named = quote_literal(name);
        let all = format!(
            "SELECT indexrelid AS oid, 'INDEX' AS kind FROM pg_catalog.pg_index WHERE indrelid = {named}::pg_catalog.regclass \
             UNION SELECT s.oid, 'SEQUENCE' FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid \
               AND d.refobjid = {named}::pg_catalog.regclass AND d.deptype IN ('a', 'i')"
        );
        moves.push_str(&format!(
            "    FOR o IN SELECT oid, kind, pg_catalog.row_number() OVER (ORDER BY oid) AS n FROM ({all}) every LOOP\n      \
             EXECUTE pg_catalog.format('ALTER %s %s RENAME TO %I', o.kind, o.oid::pg_catalog.regclass, {} || o.n);\n    END LOOP;\n",
            quote_literal(&format!("{bare}_"))
        ));
        moves.push_str(&format!(
            "    ALTER TABLE {name} RENAME TO {bare};\n    ALTER TABLE {}.{bare} SET SCHEMA {KEEP};\n    COMMENT ON TABLE {kept} IS {};\n",
            name.strip_suffix(&last).and_then(|space| space.strip_suffix('.')).unwrap_or("public"),
            quote_literal(&format!("{what}; {}", self.seen.about)),
        ));
        let statement = format!(
            "DO $dbd$\nDECLARE o record;\nBEGIN\n  IF EXISTS (SELECT FROM {name}) THEN\n{moves}  ELSE\n    DROP TABLE {name};\n  END IF;\nEND $dbd$"
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
    pub(super) fn keep_sequences(&mut self) {
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
    pub(super) fn check_types(&mut self) {
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

fn drop_if_empty(table: &str) -> String {
    format!("DO $dbd$ BEGIN\n  IF NOT EXISTS (SELECT FROM {table}) THEN DROP TABLE {table}; END IF;\nEND $dbd$")
}

/// Stops the undo if the query has a row.
pub(super) fn stop_if(query: &str, text: &str) -> String {
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
