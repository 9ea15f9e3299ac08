//! Reading the catalog of a real server.

use crate::support::pg;
use dbd::adapters::postgres::catalog::{Exclude, read_catalog, row_counts};
use dbd::domain::schema::{Catalog, Kind, diff, fingerprint};
use serde_json::json;
use tokio_postgres::Client;

async fn read(client: &Client) -> Catalog {
    read_catalog(client, &Exclude::default()).await.expect("the catalog can be read")
}

fn keys(catalog: &Catalog) -> Vec<String> {
    catalog.objects.keys().map(ToString::to_string).collect()
}

/// One of nearly everything the reader knows, in a shape that a dump can carry.
const EVERYTHING: &str = r#"
    create schema shop;
    create extension hstore schema shop;
    create type shop.mood as enum ('sad', 'ok', 'happy');
    create domain shop.price as numeric(10, 2) default 0 not null constraint positive check (value >= 0);
    create type shop.pair as (a integer, "B" text collate "C");
    create type shop.span as range (subtype = float8, subtype_diff = float8mi);
    create collation shop.plain (provider = libc, locale = 'C');
    create sequence shop.ticket increment 5 minvalue 5 maxvalue 500 cycle;
    create table shop.customer (
      id bigint generated always as identity primary key,
      name text not null collate shop.plain,
      "Mixed Case" integer default 1 + 1,
      seen timestamptz default '2020-01-01 00:00:00+02',
      doubled integer generated always as (2 * 3) stored,
      moods shop.mood[] default '{sad}',
      price shop.price,
      unique (name, seen) include (doubled)
    );
    comment on column shop.customer.name is 'as written on the card';
    alter table shop.customer alter name set storage external, alter name set statistics 200;
    create table shop.orders (
      id serial primary key,
      customer bigint references shop.customer on delete set null,
      placed date not null,
      note text,
      exclude using gist (box(point(id, id), point(id, id)) with &&)
    ) with (fillfactor = 70);
    alter table shop.orders add constraint later check (placed > '2000-01-01') not valid;
    alter table shop.orders add channel text[] not null default '{web}';
    create table shop.events (at date not null, kind text) partition by range (at);
    create table shop.events_2020 partition of shop.events for values from ('2020-01-01') to ('2021-01-01');
    create table shop.events_rest partition of shop.events default;
    create index on shop.events (at);
    create table shop.base (a int check (a > 0));
    create table shop.derived (b int) inherits (shop.base);
    create unlogged table shop.scratch (x xml, h shop.hstore);
    create index orders_recent on shop.orders (placed desc nulls last, lower(note) text_pattern_ops) include (customer) where note is not null;
    create statistics shop.s (dependencies) on customer, placed from shop.orders;
    create function shop.add(a integer, b integer default 2, variadic rest integer[] default '{}') returns integer
      language sql immutable as 'select a + b';
    create function shop.touch() returns trigger language plpgsql as $$begin return new; end$$;
    create procedure shop.tidy(inout n integer) language plpgsql as $$begin n := n + 1; end$$;
    create aggregate shop.total (numeric) (sfunc = numeric_add, stype = numeric, initcond = '0');
    create function shop.same(shop.pair, shop.pair) returns boolean language sql immutable as 'select true';
    create operator shop.=== (leftarg = shop.pair, rightarg = shop.pair, function = shop.same, commutator = operator(shop.===));
    create function shop.to_mood(integer) returns shop.mood language sql immutable as $$select 'ok'::shop.mood$$;
    create cast (integer as shop.mood) with function shop.to_mood(integer);
    create operator class shop.backwards for type integer using btree as
      operator 1 >, operator 2 >=, operator 3 =, operator 4 <=, operator 5 <, function 1 btint4cmp(int4, int4);
    create trigger touched before update on shop.orders for each row execute function shop.touch();
    create trigger seen after insert on shop.events for each row execute function shop.touch();
    alter table shop.orders disable trigger touched;
    create view shop.recent with (security_barrier) as select o.id, c.name from shop.orders o join shop.customer c on c.id = o.customer;
    create materialized view shop.daily as select placed, count(*) as n from shop.orders group by placed;
    create unique index daily_placed on shop.daily (placed);
    create rule quiet as on delete to shop.recent do instead nothing;
    alter table shop.customer enable row level security;
    create policy own on shop.customer for select to public using (name = current_user);
    alter table shop.customer replica identity full;
    create publication news for table shop.orders (id, placed) where (id > 10), shop.customer with (publish = 'insert');
    create text search configuration shop.words (copy = simple);
    create foreign data wrapper files;
    create server elsewhere foreign data wrapper files options (host 'example.org', password 'hunter2');
    create foreign table shop.far (a integer options (x 'y')) server elsewhere options (path '/x');
    create event trigger watched on ddl_command_start when tag in ('CREATE TABLE') execute function shop.refuse();
    grant select (id, name) on shop.customer to app_reader;
    grant select, insert on shop.orders to app_reader with grant option;
    grant usage on schema shop to public;
    revoke execute on function shop.add(integer, integer, integer[]) from public;
    alter default privileges in schema shop grant select on tables to app_reader;
    alter default privileges revoke execute on functions from public;
    comment on schema shop is 'everything is sold here';
"#;

pub async fn everything(client: &Client) {
    let role = "do $$begin if not exists (select from pg_roles where rolname = 'app_reader') then create role app_reader; end if;
                exception when duplicate_object or unique_violation then null; end$$";
    client.batch_execute(role).await.unwrap();
    // The function of an event trigger must be there before it, and returns a pseudo-type.
    let (before, after) = EVERYTHING.split_once("    create event trigger").unwrap();
    client.batch_execute(before).await.unwrap();
    let refuse = "create function shop.refuse() returns event_trigger language plpgsql as 'begin end'";
    client.batch_execute(refuse).await.unwrap();
    client.batch_execute(&format!("create event trigger{after}")).await.unwrap();
}

#[tokio::test]
async fn every_kind_of_object_is_read() {
    let client = pg::database().await;
    everything(&client).await;
    let catalog = read(&client).await;
    let missing: Vec<&str> =
        Kind::ALL.iter().filter(|kind| catalog.of_kind(**kind).next().is_none()).map(|kind| kind.as_str()).collect();
    // A base type needs functions written in C.
    assert_eq!(missing, ["base_type"]);

    let column = catalog.find(Kind::Column, r#"shop.customer."Mixed Case""#).unwrap();
    assert_eq!(column.text("type"), Some("integer"));
    let function = "shop.add(a integer, b integer, VARIADIC rest integer[])";
    assert!(catalog.find(Kind::Function, function).is_some(), "{:#?}", keys(&catalog));
    let server = catalog.find(Kind::ForeignServer, "elsewhere").unwrap();
    assert_eq!(server.get("options"), &json!(["host=example.org", "password=[secret]"]));
    assert_eq!(catalog.find(Kind::Statistics, "shop.s").unwrap().parent.as_ref().unwrap().name, "shop.orders");
    assert!(catalog.find(Kind::Index, "shop.events_2020_at_idx").unwrap().inherited);
    assert!(catalog.find(Kind::Trigger, "shop.events_2020.seen").unwrap().inherited);
    assert!(catalog.find(Kind::Constraint, "shop.derived.base_a_check").unwrap().inherited);
    let revoked = format!("function:{function}:PUBLIC:EXECUTE");
    assert!(catalog.find(Kind::PrivilegeRevoked, &revoked).is_some());
    assert!(catalog.find(Kind::Privilege, "column:shop.customer.id:app_reader:SELECT").is_some());
    assert!(catalog.find(Kind::Privilege, "table:shop.orders:app_reader:INSERT").unwrap().is("grantable"));
    // What an extension brings is its own.
    assert!(!keys(&catalog).iter().any(|key| key.contains("hstore_to_array")));
}

#[tokio::test]
async fn every_parent_is_in_the_catalog_too() {
    let client = pg::database().await;
    everything(&client).await;
    let catalog = read(&client).await;
    for (key, object) in &catalog.objects {
        if let Some(parent) = &object.parent {
            assert!(catalog.get(parent).is_some(), "{key} hangs on {parent}, which is not there");
        }
    }
}

#[tokio::test]
async fn a_restored_dump_has_the_same_fingerprint() {
    let name = pg::create_database().await;
    let client = pg::connect(&name).await;
    everything(&client).await;
    let copy = pg::create_database().await;
    let dump = pg::program("pg_dump", &["--schema-only", &name]);
    let copied = pg::connect(&copy).await;
    // psql's own commands (newer dumps are wrapped in \restrict) are not SQL.
    let sql: String = dump.lines().filter(|line| !line.starts_with('\\')).map(|line| format!("{line}\n")).collect();
    copied.batch_execute(&sql).await.unwrap();

    let (original, copied) = (read(&client).await, read(&pg::connect(&copy).await).await);
    let differing: Vec<_> = diff(&original, &copied)
        .into_iter()
        .map(|change| format!("{} {} {:?}", change.change.as_str(), change.key(), change.attributes))
        .collect();
    assert_eq!(differing, Vec::<String>::new());
    assert_eq!(fingerprint(&original), fingerprint(&copied));
}

#[tokio::test]
async fn the_position_of_a_column_does_not_count() {
    let (one, other) = (pg::database().await, pg::database().await);
    one.batch_execute("create table t (a int, b text)").await.unwrap();
    other.batch_execute("create table t (x int, b text); alter table t drop x; alter table t add a int").await.unwrap();
    assert_eq!(fingerprint(&read(&one).await), fingerprint(&read(&other).await));
}

#[tokio::test]
async fn any_attribute_that_counts_changes_the_fingerprint() {
    let client = pg::database().await;
    everything(&client).await;
    let mut before = fingerprint(&read(&client).await);
    for statement in [
        "alter table shop.orders enable trigger touched",
        "alter table shop.orders validate constraint later",
        "alter table shop.customer alter price drop default, alter price set default 1",
        "alter view shop.recent reset (security_barrier)",
        "alter table shop.customer alter name set statistics 100",
        "alter sequence shop.ticket cache 7",
        "alter type shop.mood rename value 'ok' to 'fine'",
        "alter function shop.touch() security definer",
        "alter table shop.orders cluster on orders_pkey",
        "comment on index shop.daily_placed is 'x'",
        "grant usage on sequence shop.ticket to app_reader",
        "alter table shop.events detach partition shop.events_rest",
        "alter publication news drop table shop.customer",
        "alter statistics shop.s set statistics 50",
        "alter text search configuration shop.words drop mapping for asciiword",
        "alter table shop.orders owner to app_reader",
        "alter default privileges in schema shop revoke select on tables from app_reader",
        "alter event trigger watched disable",
    ] {
        client.batch_execute(statement).await.unwrap();
        let after = fingerprint(&read(&client).await);
        assert_ne!(before, after, "nobody would notice: {statement}");
        before = after;
    }
}

#[tokio::test]
async fn the_session_s_settings_do_not_change_what_is_read() {
    let client = pg::database().await;
    everything(&client).await;
    let plain = read(&client).await;
    client
        .batch_execute(
            "set search_path = shop, pg_catalog; set timezone = 'Asia/Tokyo'; set datestyle = 'German'; \
             set quote_all_identifiers = on; set intervalstyle = 'iso_8601'; set bytea_output = 'escape'",
        )
        .await
        .unwrap();
    let odd = read(&client).await;
    assert_eq!(plain, odd);
}

async fn setting(client: &Client, name: &str) -> String {
    client.query_one("select current_setting($1)", &[&name]).await.unwrap().get(0)
}

#[tokio::test]
async fn within_a_transaction_its_changes_are_seen_and_its_settings_put_back() {
    let mut client = pg::database().await;
    client.batch_execute("set search_path = pg_catalog, public; set timezone = 'Asia/Tokyo'").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("set local search_path = nowhere, public; create table public.t (a int)").await.unwrap();
    let catalog = read_catalog(&transaction, &Exclude::default()).await.unwrap();
    assert!(catalog.find(Kind::Table, "public.t").is_some());
    assert_eq!(transaction.query_one("show search_path", &[]).await.unwrap().get::<_, String>(0), "nowhere, public");
    assert_eq!(transaction.query_one("show timezone", &[]).await.unwrap().get::<_, String>(0), "Asia/Tokyo");
    transaction.commit().await.unwrap();
    assert_eq!(setting(&client, "search_path").await, "pg_catalog, public");
    assert_eq!(setting(&client, "timezone").await, "Asia/Tokyo");

    let catalog = read(&client).await;
    assert!(catalog.find(Kind::Table, "public.t").is_some());
    assert_eq!(setting(&client, "search_path").await, "pg_catalog, public");
    assert_eq!(setting(&client, "timezone").await, "Asia/Tokyo");
}

#[tokio::test]
async fn within_a_snapshot_what_others_do_meanwhile_is_not_seen() {
    let name = pg::create_database().await;
    let (mut client, other) = (pg::connect(&name).await, pg::connect(&name).await);
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .unwrap();
    transaction.query("select 1", &[]).await.unwrap();
    other.batch_execute("create table late (a int); create view late_view as select a from late").await.unwrap();
    let catalog = read_catalog(&transaction, &Exclude::default()).await.unwrap();
    assert!(!keys(&catalog).iter().any(|key| key.contains("late")), "{:#?}", keys(&catalog));
}

#[tokio::test]
async fn tracking_tables_and_dbd_s_own_objects_are_left_out() {
    let client = pg::database().await;
    client.batch_execute("create table public.t (a int)").await.unwrap();
    let before = read(&client).await;
    client
        .batch_execute(
            r#"create schema dbd; create table dbd.ledger (a int);
               create schema dbd_keep; create table dbd_keep.k1 (a int);
               create schema drizzle; create table drizzle.__drizzle_migrations (id serial primary key, hash text not null);
               comment on table drizzle.__drizzle_migrations is 'x';
               create table public."_Migrations" (id int primary key);
               create publication dbd_p for table public.t;"#,
        )
        .await
        .unwrap();
    let exclude = Exclude::tables(["drizzle.__drizzle_migrations", r#"public."_Migrations""#]);
    let after = read_catalog(&client, &exclude).await.unwrap();
    assert_eq!(keys(&after), keys(&before));
    assert_eq!(after, before);

    // With anything else in it, the schema is the user's.
    client.batch_execute("create type drizzle.e as enum ('a')").await.unwrap();
    let after = read_catalog(&client, &exclude).await.unwrap();
    assert!(after.find(Kind::Schema, "drizzle").is_some());
    assert!(after.find(Kind::Table, "drizzle.__drizzle_migrations").is_none());
}

#[tokio::test]
async fn a_role_with_no_privileges_reads_the_same() {
    let name = pg::create_database().await;
    let client = pg::connect(&name).await;
    everything(&client).await;
    client.batch_execute("revoke usage on schema shop from public").await.unwrap();
    let expected = read(&client).await;
    client.batch_execute("set role app_reader").await.unwrap();
    assert_eq!(read(&client).await, expected);
}

#[tokio::test]
async fn rows_are_counted_exactly_and_once() {
    let client = pg::database().await;
    client
        .batch_execute(
            r#"create table a (x int); insert into a select generate_series(1, 7);
               create table "B c" () inherits (a); insert into "B c" values (1), (2);
               create table p (x int) partition by list (x);
               create table p1 partition of p for values in (1);
               create table p2 partition of p for values in (2); insert into p values (1), (1), (2);
               create schema dbd; create table dbd.ledger as select 1;
               create table skipped as select 1"#,
        )
        .await
        .unwrap();
    let counts = row_counts(&client, &Exclude::tables(["public.skipped"])).await.unwrap();
    let expected = [(r#"public."B c""#, 2), ("public.a", 7), ("public.p1", 2), ("public.p2", 1)];
    assert_eq!(counts, expected.map(|(name, rows)| (name.to_owned(), rows)).into());
}
