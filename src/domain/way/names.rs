//! What is called otherwise now, told by what PostgreSQL itself tells things apart by: the same object under another name was renamed, and
//! nothing is guessed.

use super::kept::qualified;
use crate::domain::sql::{quote_ident, quote_literal};
use std::collections::{BTreeMap, BTreeSet};

/// What the names of schemas begin with in which waits what is new and in the way of an old name.
const ASIDE: &str = "aside_by_dbd_";

/// What kind of thing bears a name. The order is that in which names are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A schema.
    Schema,
    /// A table, view, sequence or index (one that no constraint owns).
    Relation,
    /// A type of its own.
    Type,
    /// A function, procedure or aggregate.
    Routine,
    /// A column that is not inherited.
    Column,
    /// A constraint of a table that is not inherited.
    Constraint,
    /// A trigger of a table.
    Trigger,
    /// A value of an enum.
    EnumValue,
}

/// What PostgreSQL tells a thing apart by: its class, its object id, and the number of the column within it.
pub type Id = (Class, u32, i32);

/// A thing under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it lies in: the object id of its schema, of its table, or of its type.
    pub within: u32,
    /// Its name, without quotes.
    pub name: String,
    /// What ALTER calls it: `TABLE`, `VIEW`, and `OWNED SEQUENCE` for one that moves with its table; for a routine its arguments follow, as `FUNCTION(integer)`.
    pub what: String,
}

impl Named {
    /// What ALTER calls it, whoever it belongs to.
    fn kind(&self) -> &str {
        self.what.strip_prefix("OWNED ").unwrap_or(&self.what)
    }

    /// Whether it is where its table is, and moves with that.
    fn follows(&self) -> bool {
        self.what == "INDEX" || self.what.starts_with("OWNED ")
    }
}

/// Everything of the user's that has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Each by what it is told apart by.
    pub all: BTreeMap<Id, Named>,
}

impl Names {
    fn get(&self, class: Class, oid: u32) -> Option<&Named> {
        self.all.get(&(class, oid, 0))
    }

    fn schema(&self, oid: u32) -> Option<&str> {
        self.get(Class::Schema, oid).map(|schema| schema.name.as_str())
    }

    /// A table or another relation, as SQL writes it.
    #[must_use]
    pub fn relation(&self, oid: u32) -> Option<String> {
        let relation = self.get(Class::Relation, oid)?;
        Some(qualified(self.schema(relation.within)?, &relation.name))
    }

    /// The relation as [`Named::what`] calls it.
    #[must_use]
    pub fn kind_of(&self, oid: u32) -> Option<&str> {
        self.get(Class::Relation, oid).map(Named::kind)
    }
}

/// What a step called otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// The statements that give the old names back, in order.
    pub back: Vec<String>,
    /// Tables by their old names, as they are called now; only those that were renamed or moved.
    pub tables: BTreeMap<String, String>,
    /// Columns by the old names of table and column, as they are called now; only those that were renamed.
    pub columns: BTreeMap<(String, String), String>,
}

impl Renamed {
    /// What a table is called now.
    #[must_use]
    pub fn table<'a>(&'a self, old: &'a str) -> &'a str {
        self.tables.get(old).map_or(old, String::as_str)
    }

    /// What a column is called now.
    #[must_use]
    pub fn column<'a>(&'a self, table: &str, old: &'a str) -> &'a str {
        self.columns.get(&(table.to_owned(), old.to_owned())).map_or(old, String::as_str)
    }
}

/// Finds what is called otherwise in `after`, and how it gets its old name back.
#[must_use]
pub fn renamed(before: &Names, after: &Names) -> Renamed {
    let mut found = Renamed::default();
    let classes = [
        Class::Schema,
        Class::Relation,
        Class::Type,
        Class::Routine,
        Class::Column,
        Class::Constraint,
        Class::Trigger,
        Class::EnumValue,
    ];
    for class in classes {
        give_back(class, before, after, &mut found);
    }
    for (id, old) in before.all.iter().filter(|(id, _)| matches!(id.0, Class::Relation | Class::Column)) {
        let Some(new) = after.all.get(id) else { continue };
        match id.0 {
            Class::Relation => {
                let names = (before.relation(id.1), after.relation(id.1));
                if let (Some(was), Some(is)) = names
                    && was != is
                {
                    found.tables.insert(was, is);
                }
            }
            _ if old.name != new.name => {
                let table = before.relation(id.1).unwrap_or_default();
                found.columns.insert((table, quote_ident(&old.name)), quote_ident(&new.name));
            }
            _ => {}
        }
    }
    found
}

/// One name to be given back.
struct Turn<'a> {
    id: Id,
    now: (u32, String),
    old: &'a Named,
}

/// The statements for one class: each when the name it wants is free, by way of a name in between where they want each other's.
fn give_back(class: Class, before: &Names, after: &Names, found: &mut Renamed) {
    let of_class = |names: &Names| {
        let range = (class, u32::MIN, i32::MIN)..=(class, u32::MAX, i32::MAX);
        names.all.range(range).map(|(id, named)| (*id, named.clone())).collect::<Vec<_>>()
    };
    let mut taken: BTreeSet<(u32, String)> =
        of_class(after).into_iter().map(|(_, named)| (named.within, named.name)).collect();
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (id, now) in of_class(after) {
        if let Some(old) = before.all.get(&id)
            && (old.within, &old.name) != (now.within, &now.name)
        {
            // By then its table is back.
            let within = if now.follows() { old.within } else { now.within };
            turns.push(Turn { id, now: (within, now.name), old });
        }
    }
    // What goes with its table comes last, and has nothing to do where that brought it back.
    turns.sort_by_key(|turn| turn.old.follows());
    turns.retain(|turn| turn.now != (turn.old.within, turn.old.name.clone()));
    make_way(class, before, after, &turns, &mut taken, found);
    let made = &mut found.back;
    let mut aside = 0;
    while !turns.is_empty() {
        let free = turns.iter().position(|turn| !taken.contains(&(turn.old.within, turn.old.name.clone())));
        let Some(at) = free else {
            // They want each other's: one steps aside.
            aside += 1;
            let turn = &mut turns[0];
            let between = (turn.now.0, format!("dbd_aside_{aside}"));
            made.extend(rename(before, after, turn.id, turn.old, &turn.now, &between));
            taken.remove(&turn.now);
            taken.insert(between.clone());
            turn.now = between;
            if aside > 1000 {
                return;
            }
            continue;
        };
        let turn = turns.remove(at);
        let wanted = (turn.old.within, turn.old.name.clone());
        made.extend(rename(before, after, turn.id, turn.old, &turn.now, &wanted));
        taken.remove(&turn.now);
        taken.insert(wanted);
    }
}

/// What names are wanted back into is there again, and what is new under one of them goes into a schema of their own, with all that is theirs.
fn make_way(
    class: Class,
    before: &Names,
    after: &Names,
    turns: &[Turn<'_>],
    taken: &mut BTreeSet<(u32, String)>,
    found: &mut Renamed,
) {
    if class != Class::Relation {
        return;
    }
    // A schema that went with what lay in it, unless there is one of that name again.
    let gone = turns.iter().map(|turn| turn.old.within).filter(|space| after.get(Class::Schema, *space).is_none());
    for space in gone.collect::<BTreeSet<_>>() {
        let Some(name) = before.schema(space) else { continue };
        if !after.all.iter().any(|(id, named)| id.0 == Class::Schema && named.name == name) {
            found.back.push(format!("CREATE SCHEMA {}", quote_ident(name)));
        }
    }
    let wanted: BTreeSet<(u32, &str)> = turns.iter().map(|turn| (turn.old.within, turn.old.name.as_str())).collect();
    let new = after.all.iter().filter(|(id, named)| id.0 == class && !named.follows() && !before.all.contains_key(*id));
    for (id, named) in new.filter(|(_, named)| wanted.contains(&(named.within, named.name.as_str()))) {
        let Some(is) = after.relation(id.1) else { continue };
        let room = format!("{ASIDE}{}", found.tables.len() + 1);
        found.back.push(format!("CREATE SCHEMA {room}"));
        found.back.push(format!("ALTER {} {is} SET SCHEMA {room}", named.kind()));
        found.tables.insert(qualified(&room, &named.name), is);
        taken.remove(&(named.within, named.name.clone()));
    }
}

/// The statements that make `now` into `wanted`. Schemas and tables have their old names back by the time what lies in them is asked for.
fn rename(
    before: &Names,
    after: &Names,
    id: Id,
    old: &Named,
    now: &(u32, String),
    wanted: &(u32, String),
) -> Vec<String> {
    let space = |oid: u32| before.schema(oid).or_else(|| after.schema(oid)).unwrap_or_default().to_owned();
    let table = |oid: u32| before.relation(oid).or_else(|| after.relation(oid)).unwrap_or_default();
    let (is, was) = (quote_ident(&now.1), quote_ident(&wanted.1));
    match id.0 {
        Class::Schema => vec![format!("ALTER SCHEMA {is} RENAME TO {was}")],
        Class::Relation | Class::Type | Class::Routine => {
            let (what, arguments) = match old.what.split_once('(') {
                Some((what, arguments)) => (what, format!("({arguments}")),
                None => (old.kind(), String::new()),
            };
            let mut made = Vec::new();
            let mut at = now.0;
            if now.0 != wanted.0 {
                let to = quote_ident(&space(wanted.0));
                made.push(format!("ALTER {what} {}{arguments} SET SCHEMA {to}", qualified(&space(now.0), &now.1)));
                at = wanted.0;
            }
            if now.1 != wanted.1 {
                made.push(format!("ALTER {what} {}{arguments} RENAME TO {was}", qualified(&space(at), &now.1)));
            }
            made
        }
        Class::Column => vec![format!("ALTER TABLE {} RENAME COLUMN {is} TO {was}", table(id.1))],
        Class::Constraint => vec![format!("ALTER TABLE {} RENAME CONSTRAINT {is} TO {was}", table(old.within))],
        Class::Trigger => vec![format!("ALTER TRIGGER {is} ON {} RENAME TO {was}", table(old.within))],
        Class::EnumValue => {
            let Some(kind) = before.get(Class::Type, old.within) else { return Vec::new() };
            let kind = qualified(&space(kind.within), &kind.name);
            vec![format!("ALTER TYPE {kind} RENAME VALUE {} TO {}", quote_literal(&now.1), quote_literal(&wanted.1))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[(Class, u32, i32, u32, &str, &str)]) -> Names {
        let all = all.iter().map(|(class, oid, sub, within, name, what)| {
            ((*class, *oid, *sub), Named { within: *within, name: (*name).to_owned(), what: (*what).to_owned() })
        });
        Names { all: all.collect() }
    }

    const PUBLIC: (Class, u32, i32, u32, &str, &str) = (Class::Schema, 1, 0, 0, "public", "SCHEMA");

    #[test]
    fn the_same_object_under_another_name_gets_the_old_one_back_before_its_columns_do() {
        let before = names(&[
            PUBLIC,
            (Class::Relation, 10, 0, 1, "orders", "TABLE"),
            (Class::Column, 10, 2, 10, "note", ""),
            (Class::Constraint, 20, 0, 10, "orders_pkey", ""),
        ]);
        let after = names(&[
            PUBLIC,
            (Class::Relation, 10, 0, 1, "Purchases", "TABLE"),
            (Class::Column, 10, 2, 10, "remark", ""),
            (Class::Constraint, 20, 0, 10, "purchases_pkey", ""),
        ]);
        let found = renamed(&before, &after);
        assert_eq!(
            found.back,
            [
                r#"ALTER TABLE public."Purchases" RENAME TO orders"#,
                "ALTER TABLE public.orders RENAME COLUMN remark TO note",
                "ALTER TABLE public.orders RENAME CONSTRAINT purchases_pkey TO orders_pkey",
            ]
        );
        assert_eq!(found.table("public.orders"), r#"public."Purchases""#);
        assert_eq!(found.column("public.orders", "note"), "remark");
        assert_eq!(found.column("public.orders", "id"), "id");
    }

    #[test]
    fn a_dropped_and_remade_table_is_not_a_renamed_one() {
        let before = names(&[PUBLIC, (Class::Relation, 10, 0, 1, "a", "TABLE")]);
        let after = names(&[PUBLIC, (Class::Relation, 11, 0, 1, "b", "TABLE")]);
        assert_eq!(renamed(&before, &after), Renamed::default());
    }

    #[test]
    fn names_that_were_handed_on_are_given_back_in_the_other_order_and_swapped_ones_by_one_in_between() {
        let column = |sub, name| (Class::Column, 10, sub, 10, name, "");
        let table = (Class::Relation, 10, 0, 1, "t", "TABLE");
        let before = names(&[PUBLIC, table, column(1, "a"), column(2, "a_new")]);
        let after = names(&[PUBLIC, table, column(1, "a_old"), column(2, "a")]);
        assert_eq!(
            renamed(&before, &after).back,
            ["ALTER TABLE public.t RENAME COLUMN a TO a_new", "ALTER TABLE public.t RENAME COLUMN a_old TO a"]
        );
        let after = names(&[PUBLIC, table, column(1, "a_new"), column(2, "a")]);
        assert_eq!(
            renamed(&before, &after).back,
            [
                "ALTER TABLE public.t RENAME COLUMN a_new TO dbd_aside_1",
                "ALTER TABLE public.t RENAME COLUMN a TO a_new",
                "ALTER TABLE public.t RENAME COLUMN dbd_aside_1 TO a",
            ]
        );
    }

    #[test]
    fn what_was_moved_is_moved_back_and_a_schemas_old_name_counts_by_then() {
        let before = names(&[
            PUBLIC,
            (Class::Schema, 2, 0, 0, "shop", "SCHEMA"),
            (Class::Relation, 10, 0, 1, "t", "TABLE"),
            (Class::Type, 30, 0, 2, "mood", "TYPE"),
            (Class::EnumValue, 31, 0, 30, "it's", ""),
        ]);
        let after = names(&[
            PUBLIC,
            (Class::Schema, 2, 0, 0, "store", "SCHEMA"),
            (Class::Relation, 10, 0, 2, "t", "TABLE"),
            (Class::Type, 30, 0, 2, "mood", "TYPE"),
            (Class::EnumValue, 31, 0, 30, "ok", ""),
        ]);
        let found = renamed(&before, &after);
        assert_eq!(
            found.back,
            [
                "ALTER SCHEMA store RENAME TO shop",
                "ALTER TABLE shop.t SET SCHEMA public",
                "ALTER TYPE shop.mood RENAME VALUE 'ok' TO 'it''s'",
            ]
        );
        assert_eq!(found.table("public.t"), "store.t");
    }

    #[test]
    fn what_goes_with_its_table_is_not_moved_by_itself_and_what_is_new_under_its_name_makes_way() {
        let mut before = vec![
            PUBLIC,
            (Class::Relation, 10, 0, 1, "t", "TABLE"),
            (Class::Relation, 11, 0, 1, "t_a", "INDEX"),
            (Class::Relation, 12, 0, 1, "t_id_seq", "OWNED SEQUENCE"),
        ];
        let now = vec![
            PUBLIC,
            (Class::Schema, 2, 0, 0, "dbd_keep_k_1", "SCHEMA"),
            (Class::Relation, 10, 0, 2, "t", "TABLE"),
            (Class::Relation, 11, 0, 2, "t_b", "INDEX"),
            (Class::Relation, 12, 0, 2, "t_id_seq", "OWNED SEQUENCE"),
        ];
        let found = renamed(&names(&before), &names(&now));
        assert_eq!(
            found.back,
            ["ALTER TABLE dbd_keep_k_1.t SET SCHEMA public", "ALTER INDEX public.t_b RENAME TO t_a"]
        );
        // A table or a view that took the name; what took another name stays.
        for (what, kind) in [("TABLE", "TABLE"), ("VIEW", "VIEW")] {
            let new = [(Class::Relation, 20, 0, 1, "t", what), (Class::Relation, 21, 0, 1, "other", "TABLE")];
            let found = renamed(&names(&before), &names(&[now.as_slice(), &new].concat()));
            assert_eq!(
                found.back[..3],
                [
                    "CREATE SCHEMA aside_by_dbd_1".to_owned(),
                    format!("ALTER {kind} public.t SET SCHEMA aside_by_dbd_1"),
                    "ALTER TABLE dbd_keep_k_1.t SET SCHEMA public".to_owned(),
                ]
            );
            assert_eq!(found.table("aside_by_dbd_1.t"), "public.t");
        }
        // Nothing moved, nothing to be said.
        before.truncate(2);
        assert_eq!(renamed(&names(&before), &names(&before)), Renamed::default());
    }
}
