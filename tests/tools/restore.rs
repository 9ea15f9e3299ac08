use super::{Workshop, effect};
use dbd::adapters::pg_tools::{
    DumpOrder, RestoreCopyOrder, RestoreInPlaceOrder, Restored, TocEntry, dump, restore_copy, restore_in_place,
};
use dbd::adapters::sandbox::Sandbox;
use dbd::adapters::support::child::Cancel;
use dbd::adapters::support::pg_bin::Programs;
use dbd::adapters::support::process::wait_until;
use dbd::adapters::support::psql;
use dbd::domain::code::Code;
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::failure::{Certainty, Failure};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub async fn copy(shop: &Workshop, dump: &Path, to: &Sandbox, roles: Vec<String>) -> Result<Restored, Failure> {
    let order = RestoreCopyOrder {
        bin: &shop.client,
        dump,
        sandbox: &to.url,
        server_major: to.server_major,
        roles,
        may_create_roles: true,
        drop_public: false,
        schema_only: false,
        section: None,
        without_foreign_keys: false,
        work_dir: std::path::Path::new("/tmp"),
        record: None,
        timeout: None,
    };
    restore_copy(&order, &Cancel::never(), &mut |_| {}).await
}

const SHOP: &str = r#"
create role "shop owner" nologin; create role clerk nologin;
do $$ begin
    -- Not every build of PostgreSQL comes with it.
    if exists (select from pg_available_extensions where name = 'pg_trgm') then
        create extension pg_trgm;
    end if;
end $$;
create table customers (id bigint generated always as identity primary key, name text not null);
create table orders (id int primary key, customer bigint references customers, note text);
insert into customers (name) select 'n' || n from generate_series(1, 100) n;
insert into orders select n, n % 100 + 1, 'x' from generate_series(1, 1000) n;
create index on customers (lower(name));
create view open_orders as select * from orders;
alter table orders owner to "shop owner"; grant select on orders to clerk;
alter table customers enable row level security; create policy p on customers to clerk using (true);
create schema dbd; create table dbd.ledger (effect text);
"#;

async fn target(shop: &Workshop, sql: &str) -> Sandbox {
    let target = shop.scratch("target").await;
    shop.sql(&target.url, sql).await;
    target
}

async fn dump_of(shop: &Workshop, url: &ConnectionUrl) -> PathBuf {
    let order = DumpOrder {
        bin: &shop.client,
        url,
        snapshot: None,
        exclude_schemas: vec!["dbd".to_owned()],
        final_path: shop.path("backup.dump"),
        effect: effect("dump"),
        record: None,
        timeout: None,
    };
    dump(&order, &Cancel::never(), &mut |_| {}).await.unwrap().path
}

fn back<'a>(shop: &'a Workshop, dump: &'a Path, target: &'a Sandbox) -> RestoreInPlaceOrder<'a> {
    RestoreInPlaceOrder {
        bin: &shop.client,
        dump,
        url: &target.url,
        server_major: target.server_major,
        prologue_sql: "drop schema public cascade; create schema public; insert into dbd.ledger values ('bäck');",
        epilogue_sql: "update dbd.ledger set effect = effect || ' done'",
        effect: effect("back"),
        work_dir: shop.folder.path(),
        record: Some(shop.path("back.json")),
        lock_timeout: Duration::from_millis(200),
        timeout: None,
    }
}

type Skip<'a> = &'a (dyn Fn(&TocEntry) -> bool + Send + Sync);

fn is_extension(entry: &TocEntry) -> bool {
    entry.tag.contains("pg_trgm")
}

#[tokio::test]
async fn a_copy_has_the_rows_owners_privileges_and_policies_of_the_target() {
    let shop = Workshop::new().await;
    let target = target(&shop, SHOP).await;
    let path = dump_of(&shop, &target.url).await;
    let copied = shop.scratch("copy").await;
    let roles = shop.sql(&target.url, "select rolname from pg_roles").await;
    let mut seen = Vec::new();
    let order = RestoreCopyOrder {
        bin: &shop.client,
        dump: &path,
        sandbox: &copied.url,
        server_major: copied.server_major,
        roles,
        may_create_roles: true,
        drop_public: false,
        schema_only: false,
        section: None,
        without_foreign_keys: false,
        work_dir: std::path::Path::new("/tmp"),
        record: Some(shop.path("copy.json")),
        timeout: None,
    };
    let restored = restore_copy(&order, &Cancel::never(), &mut |progress| seen.push(progress)).await.unwrap();
    assert_eq!(restored, Restored { owners_kept: true, notes: Vec::new() });
    assert_eq!(
        seen.iter().map(|at| (at.tables, at.of, at.table.as_str())).collect::<Vec<_>>(),
        [(1, 2, "public.customers"), (2, 2, "public.orders")]
    );
    for probe in [
        "select count(*), sum(id) from orders",
        "select tableowner from pg_tables where tablename = 'orders'",
        "select relacl from pg_class where relname = 'orders'",
        "select polname, polroles::regrole[] from pg_policy",
        "select last_value, is_called from customers_id_seq",
    ] {
        assert_eq!(shop.sql(&copied.url, probe).await, shop.sql(&target.url, probe).await, "{probe}");
    }
    assert_eq!(shop.sql(&copied.url, "select to_regnamespace('dbd') is null").await, ["t"]);
    assert_eq!(shop.sql(&copied.url, "select reltuples from pg_class where relname = 'orders'").await, ["1000"]);
    for sandbox in [&copied, &target] {
        shop.sandboxes.drop(&sandbox.location, &Cancel::never()).await.unwrap();
    }
}

#[tokio::test]
async fn without_leave_to_make_roles_the_copy_says_that_owners_are_missing() {
    let shop = Workshop::new().await;
    let target = target(&shop, SHOP).await;
    let path = dump_of(&shop, &target.url).await;
    let copied = shop.scratch("copy").await;
    let order = RestoreCopyOrder {
        bin: &shop.client,
        dump: &path,
        sandbox: &copied.url,
        server_major: copied.server_major,
        roles: vec!["shop owner".to_owned(), "postgres".to_owned(), "pg_monitor".to_owned()],
        may_create_roles: false,
        drop_public: false,
        schema_only: false,
        section: None,
        without_foreign_keys: false,
        work_dir: std::path::Path::new("/tmp"),
        record: None,
        timeout: None,
    };
    // The policy names a role too, and cannot be made without it.
    let failure = restore_copy(&order, &Cancel::never(), &mut |_| {}).await.unwrap_err();
    assert_eq!(failure.code, Code::RestoreFailed);
    assert!(failure.causes.concat().contains("clerk"), "{failure:?}");
    shop.sql(&target.url, "drop policy p on customers").await;
    let path = dump_of(&shop, &target.url).await;
    let restored =
        restore_copy(&RestoreCopyOrder { dump: &path, ..order }, &Cancel::never(), &mut |_| {}).await.unwrap();
    assert!(!restored.owners_kept && restored.notes[0].contains("shop owner"), "{restored:?}");
    assert_eq!(shop.sql(&copied.url, "select count(*) from orders").await, ["1000"]);
    for sandbox in [&copied, &target] {
        shop.sandboxes.drop(&sandbox.location, &Cancel::never()).await.unwrap();
    }
}

#[tokio::test]
async fn going_back_in_place_is_one_transaction_with_what_surrounds_it() {
    let shop = Workshop::new().await;
    let target = target(&shop, SHOP).await;
    let path = dump_of(&shop, &target.url).await;
    shop.sql(
        &target.url,
        "delete from orders where id > 10; alter table customers add extra int; drop view open_orders",
    )
    .await;
    let mut order = back(&shop, &path, &target);
    order.prologue_sql = "drop table orders, customers cascade; insert into dbd.ledger values ('bäck');";
    restore_in_place(&order, &is_extension, &Cancel::never()).await.unwrap();
    assert_eq!(shop.sql(&target.url, "select count(*) from open_orders").await, ["1000"]);
    assert_eq!(shop.sql(&target.url, "select effect from dbd.ledger").await, ["bäck done"]);
    assert_eq!(shop.sql(&target.url, "select count(*) from pg_attribute where attname = 'extra'").await, ["0"]);
    let left = fs_err::read_dir(shop.folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("restore-"));
    assert_eq!(left.count(), 0, "the scripts hold rows and must not stay");
    shop.sandboxes.drop(&target.location, &Cancel::never()).await.unwrap();
}

#[tokio::test]
async fn a_restore_in_place_that_fails_changes_nothing() {
    let shop = Workshop::new().await;
    let target = target(&shop, SHOP).await;
    let path = dump_of(&shop, &target.url).await;
    let mut order = back(&shop, &path, &target);
    // The way is not clear: the tables are still there.
    order.prologue_sql = "insert into dbd.ledger values ('back'); delete from orders;";
    let failure = restore_in_place(&order, &is_extension, &Cancel::never()).await.unwrap_err();
    assert_eq!((failure.code, failure.certainty), (Code::RestoreFailed, Certainty::Definite), "{failure:?}");
    assert!(failure.causes.concat().contains("already exists"), "{failure:?}");
    assert_eq!(shop.sql(&target.url, "select count(*) from orders, dbd.ledger").await, ["0"]);
    assert_eq!(shop.sql(&target.url, "select count(*) from orders").await, ["1000"]);
    shop.sandboxes.drop(&target.location, &Cancel::never()).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_a_passing_failure_wherever_it_is_met() {
    let shop = Workshop::new().await;
    let target =
        target(&shop, "create table t (x int primary key); create schema dbd; create table dbd.ledger (effect text)")
            .await;
    let path = dump_of(&shop, &target.url).await;
    // Met by the prologue, and by the restored script itself, whose own head would have it wait for ever.
    let only_constraint = |entry: &TocEntry| entry.kind != "CONSTRAINT";
    let cases: [(&str, &str, Skip); 2] = [
        ("select 1", "drop table t", &|_| false),
        ("alter table t drop constraint t_pkey", "select 1", &only_constraint),
    ];
    for (before, prologue, skip) in cases {
        shop.sql(&target.url, before).await;
        let (ready, go, cancel) = (shop.path("ready"), shop.path("go"), Cancel::never());
        let script = format!(
            "begin; lock table t in access share mode;\n\\! touch {}; until [ -e {} ]; do sleep 0.01; done\nrollback;\n",
            ready.display(),
            go.display()
        );
        let holder = psql::query(&shop.client, &target.url, &script, &cancel);
        let attempt = async {
            assert!(wait_until(Duration::from_secs(60), || ready.exists()).await);
            let order = RestoreInPlaceOrder { prologue_sql: prologue, ..back(&shop, &path, &target) };
            let result = restore_in_place(&order, skip, &cancel).await;
            fs_err::write(&go, "").unwrap();
            result.unwrap_err()
        };
        let (held, failure) = tokio::join!(holder, attempt);
        held.unwrap();
        assert_eq!((failure.code, failure.certainty), (Code::LockTimeout, Certainty::Transient), "{failure:?}");
        fs_err::remove_file(&ready).unwrap();
        fs_err::remove_file(&go).unwrap();
    }
    shop.sandboxes.drop(&target.location, &Cancel::never()).await.unwrap();
}

#[tokio::test]
async fn an_extension_the_sandbox_lacks_is_named_with_its_package() {
    let shop = Workshop::new().await;
    let copied = shop.scratch("copy").await;
    let bin = Programs { dir: shop.path("bin"), ..shop.client.clone() };
    fs_err::create_dir(&bin.dir).unwrap();
    fs_err::os::unix::fs::symlink(shop.client.path("psql"), bin.path("psql")).unwrap();
    super::write_script(
        &bin.path("pg_restore"),
        "echo '2; 3079 16400 EXTENSION - postgis '; echo '3; 3079 1 EXTENSION - plpgsql '",
    );
    let order = RestoreCopyOrder {
        bin: &bin,
        dump: &shop.path("backup.dump"),
        sandbox: &copied.url,
        server_major: 15,
        roles: Vec::new(),
        may_create_roles: true,
        drop_public: false,
        schema_only: false,
        section: None,
        without_foreign_keys: false,
        work_dir: std::path::Path::new("/tmp"),
        record: None,
        timeout: None,
    };
    let failure = restore_copy(&order, &Cancel::never(), &mut |_| {}).await.unwrap_err();
    assert_eq!(failure.code, Code::SandboxFailed);
    assert!(failure.message.ends_with("an extension of the target: postgis"), "{failure}");
    assert!(failure.hints[0].ends_with("apt-get install postgresql-15-postgis-3"), "{failure:?}");
    shop.sandboxes.drop(&copied.location, &Cancel::never()).await.unwrap();
}
