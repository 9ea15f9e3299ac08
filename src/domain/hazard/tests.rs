//! What every hazard has to keep to, and the cases that are easy to get wrong.

use super::facts::Facts;
use super::judge::{self, Judgement};
use super::*;
use proptest::prelude::*;

/// The codes found in `sql`, several migrations parted by a line, in a database that `setup` made.
fn codes(setup: &str, sql: &str) -> Vec<&'static str> {
    judged(setup, sql).iter().map(|one| one.code).collect()
}

fn judged(setup: &str, sql: &str) -> Vec<Judgement> {
    let mut facts = Facts::of_text();
    let before = judge::migration(&mut facts, "0.sql", setup, false).judgements;
    assert!(before.iter().all(|one| one.danger != Some(Danger::Fails)), "{setup}: {before:?}");
    sql.split("-- next migration\n")
        .flat_map(|sql| judge::migration(&mut facts, "1.sql", sql, true).judgements)
        .collect()
}

/// The dangers found in `sql`, in order.
fn dangers(setup: &str, sql: &str) -> Vec<&'static str> {
    let mut all: Vec<_> = judged(setup, sql).iter().filter_map(|one| one.danger).map(Danger::as_str).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Hazards that no text shows: they are seen when it runs, or need a server that is asked.
const NOT_IN_TEXT: &[&str] = &[
    "extension_missing",
    "rewrite",
    "scan_under_access_exclusive",
    "index_build_blocks_writes",
    "fk_validation_blocks_writes",
    "statement_fails",
];

#[test]
fn every_hazard_is_found_in_its_bad_script_and_not_in_its_good_one() {
    for hazard in rules::ALL {
        let (bad, good) = (codes(hazard.setup, hazard.bad), codes(hazard.setup, hazard.good));
        if !NOT_IN_TEXT.contains(&hazard.code) {
            assert!(bad.contains(&hazard.code), "{}: {bad:?}", hazard.code);
        }
        assert!(!good.contains(&hazard.code), "{}: {good:?}", hazard.code);
    }
}

#[test]
fn codes_are_distinct_and_not_those_of_the_comparison() {
    let mut seen = BTreeSet::new();
    for hazard in rules::ALL {
        assert!(seen.insert(hazard.code), "{} comes twice", hazard.code);
        assert!(crate::domain::finding::page(hazard.code).is_none(), "{} is a finding of the comparison", hazard.code);
        assert!(page(hazard).lines().count() > 15, "{}", hazard.code);
    }
}

#[test]
fn what_the_migration_made_itself_is_no_hazard() {
    for sql in [
        "create table n (a int); create index n_a on n (a); alter table n alter column a set not null;",
        "create table n (a int); alter table n add column id bigserial primary key; alter table n add check (a > 0);",
        "create temp table n as select 1 as a; create index on n (a); truncate n; drop table n;",
        "do $$ begin create table n (a int); create index n_a on n (a); end $$;",
    ] {
        assert_eq!(dangers("", sql), Vec::<&str>::new(), "{sql}");
    }
    // The same in a migration that follows is one again: by then somebody may use it.
    assert_eq!(
        dangers("", "create table n (a int);\n-- next migration\ncreate index n_a on n (a);"),
        ["index_build_blocks_writes"]
    );
}

#[test]
fn what_is_known_of_a_column_decides() {
    let setup = "create table t (id bigint primary key, a varchar(10), n numeric(8,2) not null, at timestamp, k int unique);\
                 create table c (t int references t (k)); create domain plain as text; create domain tight as text check (value <> '');";
    for (sql, expected) in [
        ("alter table t alter a type varchar(20);", &[][..]),
        ("alter table t alter a type text;", &[]),
        ("alter table t alter a type varchar(5);", &["rewrite"]),
        ("alter table t alter a type plain;", &[]),
        ("alter table t alter a type tight;", &["rewrite"]),
        ("alter table t alter n type numeric(12,2);", &[]),
        ("alter table t alter n set not null;", &[]),
        // Without a word about it the session's time zone is taken for UTC, where nothing is rewritten.
        ("alter table t alter at type timestamptz;", &[]),
        ("set timezone = 'UTC'; alter table t alter at type timestamptz;", &[]),
        ("alter table t alter k type bigint;", &["fk_validation_blocks_writes", "rewrite"]),
        ("alter table t add column b timestamptz not null default now();", &[]),
        ("alter table t add column b uuid default gen_random_uuid();", &["rewrite"]),
        (
            "alter table t add column b text not null default 'x', add check (b <> '');",
            &["scan_under_access_exclusive"],
        ),
        ("alter table t add column b int references c2;", &[]),
        ("alter table t add column b int default 1 references c2;", &["fk_validation_blocks_writes"]),
        ("alter table t add column b int default null not null;", &["scan_under_access_exclusive"]),
        ("alter table t add column b tight default 'x';", &["rewrite"]),
        ("alter table t add column b plain default 'x';", &[]),
        ("alter table t add column b int, alter id type text using id::text, add check (id <> '');", &["rewrite"]),
        ("alter table t add column if not exists a text not null;", &[]),
        ("create index if not exists t_pkey on t (a);", &[]),
        ("alter table if exists t drop constraint t_pkey;", &[]),
    ] {
        assert_eq!(dangers(setup, sql), expected, "{sql}");
    }
}

#[test]
fn a_check_that_holds_spares_the_scan_and_one_that_may_be_null_does_not() {
    let after = "alter table t alter a set not null;";
    for (check, spared) in [
        ("a is not null", true),
        ("a is not null and b > 0", true),
        ("not (a is null)", true),
        ("a > 0", false),
        ("a is not null or b > 0", false),
    ] {
        let setup = format!("create table t (a int, b int, constraint k check ({check}));");
        assert_eq!(dangers(&setup, after).is_empty(), spared, "{check}");
    }
    let not_valid =
        "create table t (a int);\n-- next migration\nalter table t add constraint k check (a is not null) not valid;";
    assert_eq!(dangers("", &format!("{not_valid}\n-- next migration\n{after}")), ["scan_under_access_exclusive"]);
}

#[test]
fn blocks_and_functions_are_looked_into() {
    let setup = "create table t (a int);\
        create function build() returns void language plpgsql as $$ begin create index on t (a); end $$;\
        create procedure widen() language sql as $$ alter table t alter a type bigint $$;";
    for (sql, expected) in [
        ("do $$ begin alter table t alter a type bigint; end $$;", &["rewrite"][..]),
        ("do $$ begin execute 'alter table t alter a type bigint'; end $$;", &["rewrite"]),
        ("do $$ begin execute format('create index on %I (a)', 't'); end $$;", &["index_build_blocks_writes"]),
        (
            "do $$ declare r record; begin for r in select 1 loop execute format('alter table %I alter a set not null', r.x); end loop; end $$;",
            &["scan_under_access_exclusive"],
        ),
        ("select build();", &["index_build_blocks_writes"]),
        ("call widen();", &["rewrite"]),
        ("do $$ begin perform build(); exception when others then null; end $$;", &["index_build_blocks_writes"]),
        (
            "do $$ begin if true then create index on t (a); else truncate t; end if; end $$;",
            &["index_build_blocks_writes", "rewrite"],
        ),
        (
            "do $$ begin if not exists (select from pg_class where relname = 't') then create index on t (a); end if; end $$;",
            &[],
        ),
        (
            "do $$ begin if not exists (select 1 from information_schema.columns where table_name = 't' and column_name = 'a') then \
          alter table t add column a bigserial; end if; end $$;",
            &[],
        ),
        ("create function f() returns void language plpgsql as $$ begin create index on t (a); end $$;", &[]),
    ] {
        assert_eq!(dangers(setup, sql), expected, "{sql}");
    }
}

#[test]
fn a_finding_weighs_as_much_as_its_table() {
    let mut facts = Facts { complete: true, ..Facts::of_text() };
    for (rows, bytes, severity) in [
        (20, 8192, Severity::Info),
        (1_000_000, 100 << 20, Severity::Warning),
        (500_000_000, 200 << 30, Severity::Error),
    ] {
        let relation = facts::Relation {
            rows: Some(rows),
            bytes: Some(bytes),
            ..facts::Relation::new(facts::RelationKind::Table)
        };
        facts.relations.insert(Rel::new("public", "t"), relation);
        let found = judge::migration(&mut facts.clone(), "1.sql", "alter table t set unlogged;", false).judgements;
        assert_eq!((found[0].severity, found[0].basis), (severity, Basis::Catalog), "{found:?}");
        assert!(found[0].message.contains("estimate"), "{}", found[0].message);
    }
}

#[test]
fn a_waiver_lets_pass_what_it_names_and_needs_a_reason() {
    let of = |sql: &str| -> Vec<(&'static str, bool)> {
        judged("", sql).iter().map(|one| (one.code, one.waived.is_some())).collect()
    };
    assert_eq!(
        of("-- dbd: allow index_not_concurrent reason=ten rows\ncreate index i on t (a);\ncreate index j on t (b);"),
        [("index_not_concurrent", true), ("index_not_concurrent", false)]
    );
    assert_eq!(
        of("create index i on t (a); -- dbd: allow index-build-blocks-writes reason=\"ten rows\""),
        [("index_not_concurrent", true)]
    );
    assert_eq!(
        of("/* dbd: allow-file all reason=a new shop */\nselect 1;\ncreate index i on t (a);"),
        [("index_not_concurrent", true)]
    );
    assert_eq!(
        of("-- dbd: allow index_not_concurrent\ncreate index i on t (a);"),
        [("waiver_without_reason", false), ("index_not_concurrent", false)]
    );
    assert_eq!(of("-- dbd: allow table_dropped reason=x\ncreate index i on t (a);"), [("index_not_concurrent", false)]);
    assert_eq!(judged("", "-- dbd: allow all reason=x\nselec 1;")[0].waived, None);
}

#[test]
fn a_text_that_does_not_parse_is_a_finding_with_its_place() {
    let found = judged("", "select 1;\nalter table t add colum c int;");
    assert_eq!(
        (found[0].code, found[0].line, found[0].column, found[0].danger),
        ("syntax_error", 2, 27, Some(Danger::Fails))
    );
    assert_eq!(judged("", "select '\0'")[0].code, "unreadable_file");
    assert_eq!(judged("", "create table t (a in")[0].code, "syntax_error");
    assert_eq!(judged("", &" ".repeat(judge::MOST_BYTES + 1))[0].code, "unreadable_file");
}

#[test]
fn deep_nesting_is_survived() {
    for sql in [
        format!("select {}1{};", "(".repeat(100_000), ")".repeat(100_000)),
        format!("select 1{};", "+1".repeat(100_000)),
        format!("select 1{};", " union select 1".repeat(20_000)),
        format!("alter table t add check ({}true{});", "(not ".repeat(3_000), ")".repeat(3_000)),
        format!("create view v as select {}1{};", "array[".repeat(2_000), "]".repeat(2_000)),
        format!("do $$ begin {} end $$;", "begin ".repeat(500) + &"end; ".repeat(500)),
        format!("do $$ begin perform {}1{}; end $$;", "(".repeat(5_000), ")".repeat(5_000)),
    ] {
        let _ = judged("", &sql);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = judged("", &text);
    }

    #[test]
    fn no_half_or_mixed_up_script_makes_it_panic(
        parts in prop::collection::vec((0..rules::ALL.len(), any::<bool>(), 0usize..200), 1..6),
    ) {
        let mut text = String::new();
        for (place, bad, cut) in parts {
            let sql = if bad { rules::ALL[place].bad } else { rules::ALL[place].setup };
            text.extend(sql.chars().take(cut));
            text.push_str(";\n");
        }
        for one in judged("", &text) {
            prop_assert!(one.line >= 1 && one.column >= 1);
        }
    }
}

#[test]
fn a_block_with_more_questions_than_anybody_asks_is_read() {
    let leave = "if exists (select from pg_class where relname = 'gone') then return; end if; ".repeat(20_000);
    let all = vec!["exists (select from pg_class where relname = 'gone')"; 5_000].join(" and ");
    let text = format!("do $$ begin {leave} if {all} then truncate t; end if; end $$");
    let verdict = judge::migration(&mut Facts::of_text(), "1.sql", &text, false);
    assert!(verdict.judgements.iter().any(|one| one.danger == Some(Danger::Rewrite)), "{:?}", verdict.judgements);
}
