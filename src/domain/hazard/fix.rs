//! The safe form of a migration, where writing it is mechanical.
//!
//! What changes is cut into the text as it stands, so that comments and everything else stay; what has to wait for another transaction goes
//! into a migration that follows.

use super::act::{Act, Alter, Demand, Statement};
use super::judge::Judgement;
use super::rules;
use crate::domain::sql::{quote_ident, range, tokens};
use pg_query::protobuf::Token;

/// The safe form of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fix {
    /// The file's text, made safe.
    pub text: String,
    /// What the migration after it has to do, if anything.
    pub next: String,
    /// What was changed, a line each.
    pub notes: Vec<String>,
}

/// Writes the safe form of what was found, waived findings left alone; `None` where nothing is mechanical.
#[must_use]
pub fn fix(text: &str, statements: &[Statement], judgements: &[Judgement]) -> Option<Fix> {
    let mut fix = Fix::default();
    let mut from = 0;
    for (place, statement) in statements.iter().enumerate() {
        let in_block = statements[..place].iter().fold(false, |open, one| match one.acts.as_slice() {
            [Act::Begin] => true,
            [Act::Commit] => false,
            _ => open,
        });
        let found: Vec<&str> = judgements
            .iter()
            .filter(|one| one.statement == Some(place) && one.waived.is_none())
            .map(|one| one.code)
            .collect();
        let sql = &text[statement.start..statement.start + statement.len];
        // More than one action, or the file's own transaction: the order of things is its author's to say.
        let [act] = statement.acts.as_slice() else { continue };
        let Some(safe) = safe(sql, act, &found).filter(|safe| !(in_block && safe.alone)) else { continue };
        fix.text.push_str(&text[from..statement.start]);
        fix.text.push_str(&safe.sql);
        fix.next.push_str(&safe.next);
        fix.notes.push(format!("line {}: {}", statement.line, safe.note));
        from = statement.start + statement.len;
    }
    fix.text.push_str(&text[from..]);
    (!fix.notes.is_empty()).then_some(fix)
}

struct Safe {
    sql: String,
    next: String,
    note: &'static str,
    /// Whether it must not stand in a transaction.
    alone: bool,
}

fn safe(sql: &str, act: &Act, found: &[&str]) -> Option<Safe> {
    let has = |code: &str| found.contains(&code);
    match act {
        Act::CreateIndex { .. } if has(rules::index_not_concurrent::HAZARD.code) => {
            concurrently(sql, "the index is built CONCURRENTLY")
        }
        Act::DropIndex { .. } if has(rules::index_dropped_not_concurrently::HAZARD.code) => {
            concurrently(sql, "the index is dropped CONCURRENTLY")
        }
        Act::Alter { table, alter: Alter::AddConstraint(one), .. } => {
            let name = quote_ident(one.name.as_ref()?);
            match &one.demand {
                Demand::Check(_) | Demand::Foreign { .. }
                    if has(rules::check_added_valid::HAZARD.code)
                        || has(rules::foreign_key_added_valid::HAZARD.code) =>
                {
                    Some(Safe {
                        sql: format!("{sql} NOT VALID"),
                        next: format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name};\n"),
                        note: "the constraint is added NOT VALID, and validated by the next migration",
                        alone: false,
                    })
                }
                Demand::Unique(columns) if has(rules::unique_added_directly::HAZARD.code) && is_plain(sql) => {
                    let columns: Vec<String> = columns.iter().map(|column| quote_ident(column)).collect();
                    Some(Safe {
                        sql: format!(
                            "CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({});\nALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}",
                            columns.join(", ")
                        ),
                        next: String::new(),
                        note: "the index is built CONCURRENTLY, and the constraint takes it over",
                        alone: true,
                    })
                }
                _ => None,
            }
        }
        Act::Alter { table, alter: Alter::SetNotNull(column), .. } if has(rules::not_null_set::HAZARD.code) => {
            let name = quote_ident(&format!("{}_{column}_not_null", table.name));
            let column = quote_ident(column);
            Some(Safe {
                sql: format!("ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL) NOT VALID"),
                next: format!(
                    "ALTER TABLE {table} VALIDATE CONSTRAINT {name};\nALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n\
                     ALTER TABLE {table} DROP CONSTRAINT {name};\n"
                ),
                note: "a check stands in for NOT NULL until the next migration has validated it",
                alone: false,
            })
        }
        _ => None,
    }
}

/// Whether a unique constraint says nothing but its columns.
fn is_plain(sql: &str) -> bool {
    let odd =
        [Token::Deferrable, Token::Include, Token::With, Token::Distinct, Token::Using, Token::Initially, Token::Only];
    tokens(sql).is_ok_and(|tokens| !tokens.iter().any(|token| odd.contains(&token.token())))
}

/// Puts `CONCURRENTLY` behind the first `INDEX`.
fn concurrently(sql: &str, note: &'static str) -> Option<Safe> {
    let tokens = tokens(sql).ok()?;
    let index = tokens.iter().find(|token| token.token() == Token::Index)?;
    let end = range(index).1;
    Some(Safe { sql: format!("{} CONCURRENTLY{}", &sql[..end], &sql[end..]), next: String::new(), note, alone: true })
}

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::super::judge;
    use super::*;

    fn fixed(text: &str) -> Option<Fix> {
        let verdict = judge::migration(&mut Facts::of_text(), "1.sql", text, false);
        fix(text, &verdict.statements, &verdict.judgements)
    }

    #[test]
    fn the_safe_form_keeps_everything_else_and_has_nothing_left_to_find() {
        let text = "-- why\ncreate unique index a_i on a (b); /* c */\nalter table a add constraint c check (b > 0);\n\
                    alter table a alter column b set not null;\nalter table a add constraint u unique (b, \"C\");\ndrop index if exists x;\n";
        let fix = fixed(text).unwrap();
        assert_eq!(
            fix.text,
            "-- why\ncreate unique index CONCURRENTLY a_i on a (b); /* c */\nalter table a add constraint c check (b > 0) NOT VALID;\n\
             ALTER TABLE a ADD CONSTRAINT a_b_not_null CHECK (b IS NOT NULL) NOT VALID;\n\
             CREATE UNIQUE INDEX CONCURRENTLY u ON a (b, \"C\");\nALTER TABLE a ADD CONSTRAINT u UNIQUE USING INDEX u;\n\
             drop index CONCURRENTLY if exists x;\n"
        );
        assert_eq!(fix.notes.len(), 5);
        let mut facts = Facts::of_text();
        for text in [&fix.text, &fix.next] {
            let verdict = judge::migration(&mut facts, "1.sql", text, false);
            let left: Vec<_> = verdict.judgements.iter().filter(|one| one.danger.is_some()).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn what_is_not_mechanical_is_left_alone() {
        for text in [
            "begin; create index a_i on a (b); commit;",
            "alter table a alter column b type bigint;",
            "alter table a alter column b set not null, add constraint c check (b > 0);",
            "create index concurrently a_i on a (b);",
            "-- dbd: allow all reason=ten rows\ncreate index a_i on a (b);",
        ] {
            assert_eq!(fixed(text), None, "{text}");
        }
    }
}
