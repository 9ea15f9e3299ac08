//! Every hazard's claim, measured: its bad script does on a real server what the page says, and its good one does not.

use crate::support::pg;
use dbd::adapters::postgres::Postgres;
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::hazard::facts::Facts;
use dbd::domain::hazard::{Danger, Hazard, judge, observed, page, rules};
use dbd::domain::ids::{EnvironmentName, RunId};
use dbd::domain::migration::split;
use dbd::engine::observe::{Seen, Watched, observe};
use dbd::ports::database::Database;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

const NEXT: &str = "-- next migration\n";

/// A database that is used again for every script: making one takes longer than everything else.
pub(super) struct Ground {
    url: ConnectionUrl,
    client: tokio_postgres::Client,
    /// Its name.
    pub(super) database: String,
}

impl Ground {
    pub(super) async fn new() -> Self {
        let name = pg::create_database().await;
        let url = format!("postgres://{}@localhost/{name}?host={}", pg::USER, pg::server().socket.display());
        let (url, client) = (ConnectionUrl::parse(&url).unwrap(), pg::connect(&name).await);
        Self { url, client, database: name }
    }

    /// As `setup` makes it.
    pub(super) async fn prepared(&self, setup: &str) -> &ConnectionUrl {
        let schemas = "select quote_ident(nspname) from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'dbd')";
        let schemas = self.client.query(schemas, &[]).await.unwrap();
        let drops: String =
            schemas.iter().map(|row| format!("drop schema {} cascade; ", row.get::<_, String>(0))).collect();
        let sql = format!("{drops}create schema public; {setup}");
        self.client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{setup}: {error:?}"));
        &self.url
    }
}

/// Runs the migrations of a script and watches.
pub(super) async fn run(url: &ConnectionUrl, script: &str) -> Seen {
    // The ledger knows a step by its run.
    static NUMBER: AtomicI64 = AtomicI64::new(1);
    let run = RunId::new(&EnvironmentName::parse("check").unwrap(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut watched = Vec::new();
    for (place, text) in script.split(NEXT).enumerate() {
        let units = split(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let id = place.to_string();
        watched.push(Watched { file: format!("{id}.sql"), id, text: text.to_owned(), units });
    }
    observe(&Postgres::default(), url, &run, &watched, &|_| {}).await.unwrap()
}

pub(super) fn dangers(seen: &Seen) -> BTreeSet<Danger> {
    let statements = seen.migrations.iter().flat_map(|migration| &migration.statements);
    statements.flat_map(|one| one.danger.iter().filter_map(|word| Danger::parse(word))).collect()
}

/// Dangers that the text or a catalog expects.
fn expected(facts: &Facts, script: &str) -> BTreeSet<Danger> {
    let mut facts = facts.clone();
    let judged = script.split(NEXT).flat_map(|text| judge::migration(&mut facts, "1.sql", text, false).judgements);
    judged.filter_map(|one| one.danger).collect()
}

/// Runs both scripts, and tells what is not as the page says.
async fn prove(ground: &Ground, hazard: &Hazard) -> Vec<String> {
    let code = hazard.code;
    let mut wrong = Vec::new();
    let url = ground.prepared(hazard.setup).await;
    match (hazard.danger, split(hazard.bad)) {
        (Some(Danger::Fails), Err(_)) => {}
        (_, Err(error)) => wrong.push(format!("{code}: {error}")),
        (Some(Danger::Fails), Ok(_)) => {
            if run(url, hazard.bad).await.failure.is_none() {
                wrong.push(format!("{code}: the bad script does not fail"));
            }
        }
        (danger, Ok(_)) => {
            let seen = run(url, hazard.bad).await;
            if seen.failure.is_some() {
                wrong.push(format!("{code}: {:?}", seen.failure));
            }
            // How long something takes depends on the rows, and these are few.
            if let Some(danger) = danger.filter(|danger| *danger != Danger::StatementWhileHoldingAccessExclusive)
                && !dangers(&seen).contains(&danger)
            {
                wrong.push(format!("{code} does not do what is claimed: {seen:?}"));
            }
            if let Some(lock) = hazard.lock {
                let mut locks = seen.migrations.iter().flat_map(|one| &one.statements).flat_map(|one| &one.locks);
                // A statement that runs alone lets go of its locks before anybody can look twice.
                let alone = hazard.bad.starts_with("vacuum") || hazard.bad.starts_with("drop database");
                if !alone && !locks.any(|(_, mode)| mode == lock) {
                    wrong.push(format!("{code} does not take {lock}: {seen:?}"));
                }
            }
        }
    }
    let url = ground.prepared(hazard.setup).await;
    match split(hazard.good.split(NEXT).next().unwrap_or_default()) {
        Err(error) => wrong.push(format!("{code}, the good script: {error}")),
        Ok(_) => {
            let seen = run(url, hazard.good).await;
            if seen.failure.is_some() {
                wrong.push(format!("{code}, the good script: {:?}", seen.failure));
            }
            if hazard.danger.is_some_and(|danger| dangers(&seen).contains(&danger)) {
                wrong.push(format!("{code}, the good script: {seen:?}"));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn every_hazards_bad_script_does_what_its_page_says_and_its_good_one_does_not() {
    let ground = Ground::new().await;
    let mut wrong = Vec::new();
    for hazard in rules::ALL {
        wrong.extend(prove(&ground, hazard).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What every case below starts from.
const SETUP: &str = "
create table t (id bigint primary key, a varchar(10), n numeric(8,2) not null default 0, at timestamp, k int unique, plain text,
  s text constraint s_short check (length(s) < 9), v int, constraint v_there check (v is not null));
create table c (id int primary key, k int references t (k), t bigint references t);
create table p (id int not null, x text) partition by range (id);
create table p1 partition of p for values from (0) to (100);
create table empty_parts (id int not null) partition by range (id);
create domain free as text;
create domain tight as text check (value <> '');
create index t_plain on t (plain);
create index t_at on t (at);
create materialized view mv as select id, k from c;
create unique index mv_id on mv (id);
create function steady() returns int immutable language sql as 'select 1';
create function wild() returns int language sql as 'select 1';
create function build() returns void language plpgsql as $$ begin create index on t (a); end $$;
create view w as select id from c;
";

/// Statements that are easy to get wrong, each run by itself.
const CASES: &[&str] = &[
    "alter table t alter a type varchar(20)",
    "alter table t alter a type varchar(5)",
    "alter table t alter a type text",
    "alter table t alter a type free",
    "alter table t alter a type tight",
    "alter table t alter a type char(10)",
    "alter table t alter a type text using a::text",
    "alter table t alter a type text using upper(a)",
    "alter table t alter n type numeric(12,2)",
    "alter table t alter n type numeric",
    "alter table t alter n type numeric(12,3)",
    "alter table t alter at type timestamptz",
    "alter table t alter at type timestamptz using at at time zone 'UTC'",
    "alter table t alter at type timestamp(3)",
    "alter table t alter k type bigint",
    "alter table t alter id type int",
    "alter table t alter plain type varchar",
    "alter table t alter plain type varchar(40)",
    "alter table t alter s type varchar",
    "alter table t alter n set not null",
    "alter table t alter v set not null",
    "alter table t alter a set not null",
    "alter table t alter a set default 'x'",
    "alter table t add column b int",
    "alter table t add column b int default 5",
    "alter table t add column b int not null default 5",
    "alter table t add column b int not null",
    "alter table t add column b timestamptz default now()",
    "alter table t add column b timestamptz default clock_timestamp()",
    "alter table t add column b uuid default gen_random_uuid()",
    "alter table t add column b int default steady()",
    "alter table t add column b int default wild()",
    "alter table t add column b float default random()",
    "alter table t add column b serial",
    "alter table t add column b int generated always as identity",
    "alter table t add column b int generated always as (k * 2) stored",
    "alter table t add column b free",
    "alter table t add column b tight",
    "alter table t add column b tight default 'x'",
    "alter table t add column b int unique",
    "alter table t add column b int check (b > 0)",
    "alter table t add column b int references c",
    "alter table t add column b int default null references c",
    "alter table t add column if not exists a int not null",
    "alter table t add constraint x check (k > 0)",
    "alter table t add constraint x check (k > 0) not valid",
    "alter table t add constraint x unique (a)",
    "alter table c add constraint x foreign key (id) references t (k)",
    "alter table c add constraint x foreign key (id) references t (k) not valid",
    "alter table c add constraint x exclude using btree (k with =)",
    "alter table t drop constraint t_k_key cascade",
    "alter table t drop column a cascade",
    "alter table c set unlogged",
    "alter table t set (fillfactor = 80)",
    "alter table t enable row level security",
    "alter table t rename column s to z",
    "alter table p add column b int",
    "alter table p add column b int not null default 1",
    "alter table p add column b uuid default gen_random_uuid()",
    "alter table p alter x set not null",
    "alter table p add constraint x check (id >= 0)",
    "alter table p add primary key (id)",
    "create index on p (x)",
    "create index on only p (x)",
    "alter table empty_parts add primary key (id)",
    "create index on empty_parts (id)",
    "alter table empty_parts add column b uuid default gen_random_uuid()",
    "create table p2 partition of p for values from (100) to (200)",
    "create table p3 (id int not null, x text); alter table p attach partition p3 for values from (200) to (300)",
    "alter table p detach partition p1",
    "create index on t (a)",
    "create unique index on t (a)",
    "create index if not exists t_plain on t (plain)",
    "create index on mv (k)",
    "create index concurrently i on t (a)",
    "drop index t_plain",
    "drop index concurrently t_plain",
    "reindex table concurrently t",
    "refresh materialized view mv",
    "refresh materialized view concurrently mv",
    "cluster t using t_pkey",
    "vacuum full c",
    "vacuum c",
    "truncate c",
    "drop table c cascade",
    "create table n (a int); create index on n (a); alter table n alter a type bigint; alter table n add check (a > 0)",
    "create table n as select * from t; alter table n add primary key (id)",
    "create table n (id int primary key, t bigint references t)",
    "create temp table n (a int); create index on n (a)",
    "do $$ begin alter table t alter k type bigint; end $$",
    "do $$ begin execute 'create index on t (a)'; end $$",
    "do $$ begin execute format('alter table %I add column b serial', 't'); end $$",
    "do $$ begin if not exists (select from pg_class where relname = 't_plain') then create index t_plain on t (plain); end if; end $$",
    "do $$ begin if not exists (select from information_schema.columns where table_name = 't' and column_name = 'zz') then \
       alter table t add column zz serial; end if; end $$",
    "do $$ begin alter table c add constraint y foreign key (id) references t (k); exception when duplicate_object then null; end $$",
    "select build()",
    "create or replace function build() returns void language plpgsql as $$ begin truncate c; end $$",
    "create trigger g before update on t for each row execute function suppress_redundant_updates_trigger()",
    "create or replace view w as select id, k from c",
    "update t set a = 'y'",
    "delete from c",
    "insert into t (id) select 5 where false",
    "comment on table t is 'x'",
    "grant select on t to public",
    "alter table t rename to t2",
    "create extension if not exists plpgsql",
    "set timezone = 'UTC'; alter table c add column at timestamp; alter table c alter at type timestamptz;",
    "begin; alter table t add constraint x check (k > 0) not valid; alter table t validate constraint x; commit",
    "begin; alter table t add column b int; commit; alter table t alter b type bigint",
    "alter table t alter a type text, alter k set not null, add check (n >= 0)",
    "alter table t alter k type bigint, add unique (a)",
];

#[tokio::test]
async fn what_a_catalog_makes_expect_is_what_the_server_does() {
    let mut wrong = Vec::new();
    let ground = Ground::new().await;
    for sql in CASES {
        let url = ground.prepared(SETUP).await;
        let facts = Postgres::default().hazard_facts(url).await.unwrap();
        let mut text = Facts::of_text();
        let _ = judge::migration(&mut text, "0.sql", SETUP, false);
        let seen = run(url, sql).await;
        if let Some(failure) = &seen.failure {
            wrong.push(format!("{sql}: {failure:?}"));
        }
        let truth = dangers(&seen);
        let (by_catalog, by_folder) = (expected(&facts, sql), expected(&text, sql));
        if by_catalog != truth {
            wrong.push(format!("{sql}\n  seen {truth:?}, expected from the catalog {by_catalog:?}"));
        }
        // No text says in which zone the server's sessions are.
        if by_folder != truth && !sql.ends_with("at type timestamptz") {
            wrong.push(format!("{sql}\n  seen {truth:?}, expected from the folder {by_folder:?}"));
        }
        // What was expected and did not happen is gone once it has been seen, and nothing that was seen is left out.
        let mut before = facts.clone();
        let verdict = judge::migration(&mut before, "0.sql", sql, false);
        let laid_over =
            observed::observe(&facts, "0.sql", &verdict.statements, verdict.judgements, &seen.migrations[0]);
        let after: BTreeSet<Danger> = laid_over.iter().filter_map(|one| one.danger).collect();
        if after != truth {
            wrong.push(format!("{sql}\n  seen {truth:?}, told after the rehearsal {after:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pages_say_what_the_hazards_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hazards");
    let found: BTreeSet<String> = fs_err::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, rules::ALL.iter().map(|hazard| hazard.code.to_owned()).collect());
    for hazard in rules::ALL {
        let written = fs_err::read_to_string(folder.join(format!("{}.md", hazard.code))).unwrap();
        assert_eq!(
            written,
            page(hazard),
            "{}: run `cargo test --test main write_the_hazard_pages -- --ignored`",
            hazard.code
        );
    }
}

#[test]
#[ignore = "writes docs/hazards"]
fn write_the_hazard_pages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/hazards");
    let _ = fs_err::remove_dir_all(&folder);
    fs_err::create_dir_all(&folder).unwrap();
    for hazard in rules::ALL {
        fs_err::write(folder.join(format!("{}.md", hazard.code)), page(hazard)).unwrap();
    }
}
