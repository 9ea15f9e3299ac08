//! The way back of a step as values: what is kept, and in which order it comes back.

use super::generate::{Changed, Seen, generate};
use super::kept::Column;
use super::names::Renamed;
use super::{InPlace, Rung};
use crate::domain::schema::catalog::Catalog;
use crate::domain::schema::diff::tests::catalog;
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
        let mut lines =
            vec![("table:public.t", "", json!({})), ("column:public.t.a", "table:public.t", json!({"type": "text"}))];
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
        &["(t.n::integer)::bigint::text IS DISTINCT FROM t.n::text", "ALTER COLUMN n TYPE integer USING n::integer"],
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
    assert_eq!((column("numeric(12,2)").held("t.a"), column("numeric(12,2)").back("b")), ("t.a".into(), "b".into()));
}
