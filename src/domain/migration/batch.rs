//! Large changes of data in batches: the comment that asks for it, and the statement for one batch.
//!
//! `-- dbd: batch size=5000 pause=100ms` in front of an `UPDATE` or a `DELETE` has it run along the table's primary key,
//! so many rows at a time, each batch in a transaction of its own. Locks are held for moments, and what was done before
//! a crash is not done again.

use super::AloneProbe;
use super::split::parse_one;
use super::statement::{Refusal, Role, qualified};
use crate::domain::code::Code;
use crate::domain::sql::quote_ident;
use pg_query::protobuf::{BoolExpr, BoolExprType, RangeVar};
use pg_query::{Node, NodeEnum};

/// The rows of one batch unless the comment says otherwise.
const SIZE: u32 = 5_000;

/// What a comment asks of dbd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// `-- dbd: no-transaction`: what may commit by itself runs alone.
    NoTransaction,
    /// `-- dbd: batch`, for the statement behind it.
    Batch {
        /// Rows.
        size: u32,
        /// Milliseconds.
        pause_ms: u64,
    },
}

/// What a comment asks of dbd; `None` if it does not speak to it.
pub(super) fn directive(comment: &str) -> Option<Result<Directive, String>> {
    let words = comment.strip_prefix("--")?.trim_start().strip_prefix("dbd:")?.trim();
    let mut words = words.split_whitespace();
    // Waivers are read where hazards are judged.
    if matches!(words.clone().next(), Some("allow" | "allow-file")) {
        return None;
    }
    Some(match words.next() {
        Some("no-transaction") => Ok(Directive::NoTransaction),
        Some("batch") => batch(words),
        other => Err(format!("dbd knows nothing called \"{}\"", other.unwrap_or_default())),
    })
}

fn batch<'a>(words: impl Iterator<Item = &'a str>) -> Result<Directive, String> {
    let (mut size, mut pause_ms) = (SIZE, 0);
    for word in words {
        match word.split_once('=') {
            Some(("size", value)) => {
                size = value
                    .parse()
                    .ok()
                    .filter(|size| (1..=1_000_000).contains(size))
                    .ok_or_else(|| format!("size is {value}; it must be a whole number from 1 to 1000000"))?;
            }
            Some(("pause", value)) => {
                pause_ms = milliseconds(value)
                    .filter(|pause| *pause <= 60_000)
                    .ok_or_else(|| format!("pause is {value}; it must be a time like 100ms or 2s, at most 60s"))?;
            }
            _ => return Err(format!("batch does not know \"{word}\"")),
        }
    }
    Ok(Directive::Batch { size, pause_ms })
}

fn milliseconds(text: &str) -> Option<u64> {
    match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse().ok(),
        (None, Some(number)) => number.parse::<u64>().ok()?.checked_mul(1000),
        (None, None) => None,
    }
}

/// The role of a statement that is to run in batches.
pub(super) fn role(sql: &str, size: u32, pause_ms: u64) -> Role {
    let refused = |message: &str| {
        Role::Refused(Refusal {
            code: Code::UnreadableMigration,
            message: message.to_owned(),
            hint: "batches are for an UPDATE or a DELETE of one table; take the comment away, or write it as one",
        })
    };
    let plain = match parse_one(sql) {
        Ok(NodeEnum::UpdateStmt(stmt)) => stmt
            .relation
            .filter(|_| stmt.from_clause.is_empty() && stmt.returning_clause.is_none() && stmt.with_clause.is_none()),
        Ok(NodeEnum::DeleteStmt(stmt)) => stmt
            .relation
            .filter(|_| stmt.using_clause.is_empty() && stmt.returning_clause.is_none() && stmt.with_clause.is_none()),
        Ok(_) => return refused("it is neither an UPDATE nor a DELETE, and cannot run in batches"),
        Err(_) => return refused("it is nested too deeply to be run in batches"),
    };
    match plain {
        Some(table) => {
            let probe = AloneProbe::Batch { called: called(&table), table: qualified(&table), size, pause_ms };
            Role::Alone(probe, "a statement in batches")
        }
        None => refused("a statement with FROM, USING, WITH or RETURNING cannot run in batches"),
    }
}

fn called(table: &RangeVar) -> String {
    quote_ident(table.alias.as_ref().map_or(&table.relname, |alias| &alias.aliasname))
}

/// The statement, an `UPDATE` or a `DELETE`, for the rows that meet `condition` as well.
///
/// # Errors
/// What the parser says, when one of the two does not parse: both have before, so that is a bug.
pub fn batched(sql: &str, condition: &str) -> Result<String, String> {
    let said = |error: pg_query::Error| error.to_string();
    let mut tree = pg_query::parse(sql, 0).map_err(said)?.protobuf;
    let more = match parse_one(&format!("SELECT WHERE {condition}")).map_err(said)? {
        NodeEnum::SelectStmt(select) => select.where_clause,
        _ => None,
    };
    let node = tree.stmts.first_mut().and_then(|raw| raw.stmt.as_mut()).and_then(|stmt| stmt.node.as_mut());
    let place = match node {
        Some(NodeEnum::UpdateStmt(stmt)) => &mut stmt.where_clause,
        Some(NodeEnum::DeleteStmt(stmt)) => &mut stmt.where_clause,
        _ => return Err("it is neither an UPDATE nor a DELETE".to_owned()),
    };
    let args: Vec<Node> = [more, place.take()].into_iter().flatten().map(|node| *node).collect();
    let both = BoolExpr { xpr: None, boolop: BoolExprType::AndExpr.into(), args, location: -1 };
    *place = Some(Box::new(Node { node: Some(NodeEnum::BoolExpr(Box::new(both))) }));
    tree.deparse(pg_query::DeparseOptions::default()).map_err(said)
}

/// The columns an `UPDATE` sets, as the catalog spells them; none for any other statement.
#[must_use]
pub fn columns_set(sql: &str) -> Vec<String> {
    let Ok(NodeEnum::UpdateStmt(stmt)) = parse_one(sql) else { return Vec::new() };
    let name = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
        _ => None,
    };
    stmt.target_list.iter().filter_map(name).collect()
}

/// The tables a statement names, as it spells them; fit for `to_regclass`. Nothing for what does not parse.
#[must_use]
pub fn tables_of(sql: &str) -> Vec<String> {
    let Ok(parsed) = pg_query::parse(sql, 0) else { return Vec::new() };
    let mut tables: Vec<String> =
        parsed.tables().iter().map(|name| name.split('.').map(quote_ident).collect::<Vec<_>>().join(".")).collect();
    tables.sort();
    tables.dedup();
    tables
}

/// What a `DROP TABLE` drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTables {
    /// The tables, as SQL writes them.
    pub tables: Vec<String>,
    /// Whether what depends on them goes with them.
    pub cascade: bool,
}

/// The tables that a statement drops; none if it is no `DROP TABLE`.
#[must_use]
pub fn dropped_tables(sql: &str) -> Option<DroppedTables> {
    let Ok(NodeEnum::DropStmt(stmt)) = parse_one(sql) else { return None };
    if stmt.remove_type() != pg_query::protobuf::ObjectType::ObjectTable {
        return None;
    }
    let parts = |node: &Node| match &node.node {
        Some(NodeEnum::List(list)) => Some(list.items.clone()),
        _ => None,
    };
    let word = |node: &Node| match &node.node {
        Some(NodeEnum::String(word)) => Some(quote_ident(&word.sval)),
        _ => None,
    };
    let name = |node: &Node| Some(parts(node)?.iter().map(word).collect::<Option<Vec<_>>>()?.join("."));
    let tables = stmt.objects.iter().map(name).collect::<Option<Vec<_>>>()?;
    Some(DroppedTables { tables, cascade: stmt.behavior() == pg_query::protobuf::DropBehavior::DropCascade })
}

/// Whom a statement grants something to, as SQL writes roles; nobody if it is no `GRANT` on an object, or one to everybody.
#[must_use]
pub fn granted_to(sql: &str) -> Vec<String> {
    let Ok(NodeEnum::GrantStmt(stmt)) = parse_one(sql) else { return Vec::new() };
    let role = |node: &Node| match &node.node {
        Some(NodeEnum::RoleSpec(role)) if !role.rolename.is_empty() => Some(quote_ident(&role.rolename)),
        _ => None,
    };
    if stmt.is_grant { stmt.grantees.iter().filter_map(role).collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::{UnitMode, split};
    use super::*;

    #[test]
    fn a_grant_names_its_roles_and_nothing_else_does() {
        assert_eq!(granted_to("GRANT SELECT ON t TO a, \"B c\" WITH GRANT OPTION"), ["a", "\"B c\""]);
        for nobody in ["GRANT ALL ON t TO PUBLIC", "REVOKE ALL ON t FROM a", "GRANT a TO b", "SELECT 1", "GRANT"] {
            assert!(granted_to(nobody).is_empty(), "{nobody}");
        }
    }

    #[test]
    fn a_comment_asks_for_batches_of_the_statement_behind_it() {
        let text =
            "UPDATE a SET b = 1;\n-- dbd: batch size=10 pause=2s\nUPDATE s.\"T x\" AS t SET b = 2 WHERE c;\nSELECT 1";
        let units = split(text).unwrap();
        assert_eq!(units.len(), 3);
        let probe =
            AloneProbe::Batch { table: "s.\"T x\"".to_owned(), called: "t".to_owned(), size: 10, pause_ms: 2000 };
        assert_eq!(units[1].mode, UnitMode::Alone { probe });
        let plain = split("-- dbd: batch\nDELETE FROM a").unwrap();
        assert!(matches!(&plain[0].mode, UnitMode::Alone { probe: AloneProbe::Batch { size: SIZE, pause_ms: 0, .. } }));
    }

    #[test]
    fn the_tables_of_a_drop_are_told_and_nothing_else_is_a_drop_of_tables() {
        let told = |tables: &[&str], cascade| {
            Some(DroppedTables { tables: tables.iter().map(|name| (*name).to_owned()).collect(), cascade })
        };
        assert_eq!(dropped_tables("drop table a"), told(&["a"], false));
        assert_eq!(
            dropped_tables("DROP TABLE IF EXISTS shop.\"Ord.ers\", b CASCADE"),
            told(&["shop.\"Ord.ers\"", "b"], true)
        );
        for other in ["drop view a", "drop foreign table a", "alter table a drop b", "do $$ begin drop table a; end $$"]
        {
            assert_eq!(dropped_tables(other), None, "{other}");
        }
    }

    #[test]
    fn what_cannot_run_in_batches_is_refused_at_its_place() {
        for text in [
            "SELECT 1;\n-- dbd: batch\nSELECT 2",
            "SELECT 1;\n-- dbd: batch\nUPDATE a SET b = c.b FROM c",
            "SELECT 1;\n-- dbd: batch\nDELETE FROM a RETURNING b",
            "SELECT 1;\n-- dbd: batch size=0\nDELETE FROM a",
            "SELECT 1;\n-- dbd: batch pause=100\nDELETE FROM a",
            "SELECT 1;\n-- dbd: bathc\nDELETE FROM a",
        ] {
            let error = split(text).unwrap_err();
            assert_eq!(error.code, Code::UnreadableMigration, "{text}");
            assert!(error.line >= 2, "{text}: {error}");
        }
    }

    #[test]
    fn a_batch_is_the_statement_for_some_rows() {
        let key = "ROW(a.id) > ROW('7'::bigint)";
        assert_eq!(
            batched("UPDATE a SET b = 'x;' WHERE c = 1 OR d", key).unwrap(),
            "UPDATE a SET b = 'x;' WHERE ROW(a.id) > ROW('7'::bigint) AND (c = 1 OR d)"
        );
        assert_eq!(batched("DELETE FROM a", "id > 1").unwrap(), "DELETE FROM a WHERE (id > 1)".replace(['(', ')'], ""));
    }

    #[test]
    fn the_columns_an_update_sets_are_known() {
        assert_eq!(columns_set("UPDATE a SET b = 1, (\"C\", d) = (2, 3) WHERE e"), ["b", "C", "d"]);
        assert_eq!(columns_set("DELETE FROM a WHERE b = 1"), [""; 0]);
    }

    #[test]
    fn a_procedure_that_may_commit_runs_alone_where_no_transaction_is_asked_for() {
        let alone = |text: &str| split(text).unwrap().iter().filter(|unit| unit.mode != UnitMode::Transaction).count();
        assert_eq!(alone("CALL p(); SELECT 1"), 0);
        assert_eq!(alone("-- dbd: no-transaction\nCALL p(); SELECT 1; DO $$ BEGIN END $$"), 2);
    }

    #[test]
    fn the_tables_of_a_statement_are_named_as_it_spells_them() {
        assert_eq!(tables_of("ALTER TABLE s.orders ADD COLUMN x int"), ["s.orders"]);
        assert_eq!(tables_of("UPDATE a SET b = (SELECT 1 FROM \"C\")"), ["\"C\"", "a"]);
        assert_eq!(tables_of("SELEC"), [""; 0]);
    }
}
