use super::{Workshop, effect};
use dbd::adapters::pg_tools::{DumpOrder, Dumped, dump, dumped, list, partial_path, verify};
use dbd::adapters::sandbox::Sandbox;
use dbd::adapters::support::child::Cancel;
use dbd::adapters::support::pg_bin::{Programs, Version};
use dbd::adapters::support::process::wait_until;
use dbd::adapters::support::psql;
use dbd::domain::code::Code;
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::digest::Digest;
use dbd::domain::failure::Failure;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

async fn target(shop: &Workshop) -> Sandbox {
    let target = shop.scratch("target").await;
    let sql = "create schema dbd; create table dbd.ledger (x int); create schema dbdx; create table dbdx.t (x int); \
               create table orders as select n as id, md5(n::text) as note from generate_series(1, 5000) n;";
    shop.sql(&target.url, sql).await;
    target
}

fn order<'a>(shop: &Workshop, bin: &'a Programs, url: &'a ConnectionUrl) -> DumpOrder<'a> {
    DumpOrder {
        bin,
        url,
        snapshot: None,
        exclude_schemas: vec!["dbd".to_owned()],
        final_path: shop.path("backup.dump"),
        effect: effect("dump"),
        record: Some(shop.path("dump.child.json")),
        timeout: None,
    }
}

async fn take(order: &DumpOrder<'_>) -> Result<Dumped, Failure> {
    dump(order, &Cancel::never(), &mut |_| {}).await
}

#[tokio::test]
async fn a_dump_is_whole_private_described_and_found_again() {
    let shop = Workshop::new().await;
    let target = target(&shop).await;
    let order = order(&shop, &shop.client, &target.url);
    let mut last = 0;
    let made = dump(&order, &Cancel::never(), &mut |bytes| last = bytes).await.unwrap();
    assert_eq!((made.bytes, last), (fs_err::metadata(&made.path).unwrap().len(), made.bytes));
    assert_eq!(made.digest, Digest::of(fs_err::read(&made.path).unwrap()));
    for path in [&made.path, &shop.path("backup.dump.json")] {
        assert_eq!(fs_err::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!partial_path(&made.path, &order.effect).exists() && !shop.path("dump.child.json").exists());
    assert_eq!(dumped(&made.path, &order.effect).await.unwrap(), Some(made.clone()));
    assert_eq!(dumped(&made.path, &effect("another")).await.unwrap(), None);
    verify(&shop.client, &made.path, &made.digest, &Cancel::never()).await.unwrap();

    let entries = list(&shop.client, &made.path, &Cancel::never()).await.unwrap();
    let schemas: Vec<_> =
        entries.iter().filter(|entry| entry.kind == "SCHEMA").map(|entry| entry.tag.as_str()).collect();
    assert_eq!(schemas, ["dbdx"], "dbd's own schema is left out, by its exact name");
    shop.sandboxes.drop(&target.location, &Cancel::never()).await.unwrap();
}

#[tokio::test]
async fn a_damaged_dump_is_noticed_wherever_it_is_hurt() {
    let shop = Workshop::new().await;
    let target = target(&shop).await;
    let order = order(&shop, &shop.client, &target.url);
    let made = take(&order).await.unwrap();
    shop.sandboxes.drop(&target.location, &Cancel::never()).await.unwrap();

    let whole = fs_err::read(&made.path).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_chunk_mut::<2000>().unwrap().first_mut().unwrap() ^= 1;
    for (what, bytes) in
        [("a flipped bit", flipped.as_slice()), ("a lost end", &whole[..whole.len() - 700]), ("nothing", b"")]
    {
        fs_err::write(&made.path, bytes).unwrap();
        let failure = dumped(&made.path, &order.effect).await.unwrap_err();
        assert_eq!(failure.code, Code::DumpDamaged, "{what}");
        // And by what is in it, even if the digest had been taken of the damaged bytes.
        let failure = verify(&shop.client, &made.path, &Digest::of(bytes), &Cancel::never()).await.unwrap_err();
        assert_eq!(failure.code, Code::DumpDamaged, "{what}");
        assert!(failure.message.contains("backup.dump"));
    }
}

#[tokio::test]
async fn a_dump_of_an_exported_snapshot_shows_that_moment() {
    let shop = Workshop::new().await;
    let target = target(&shop).await;
    let cancel = Cancel::never();
    // psql holds the snapshot open while its own child takes the dump: one process after the other, no clock involved.
    let script = format!(
        "begin isolation level repeatable read; select pg_export_snapshot() as snapshot \\gset\n\
         \\setenv SNAPSHOT :snapshot\n\
         \\! printf '%s' \"$SNAPSHOT\" > {0}/snapshot; until [ -e {0}/go ]; do sleep 0.01; done\ncommit;\n",
        shop.folder.path().display()
    );
    let holder = psql::query(&shop.client, &target.url, &script, &cancel);
    let dump_then_release = async {
        let path = shop.path("snapshot");
        let there = || fs_err::read_to_string(&path).is_ok_and(|text| !text.is_empty());
        assert!(wait_until(std::time::Duration::from_secs(60), there).await);
        shop.sql(&target.url, "delete from orders").await;
        let mut order = order(&shop, &shop.client, &target.url);
        order.snapshot = Some(fs_err::read_to_string(&path).unwrap());
        let made = take(&order).await;
        fs_err::write(shop.path("go"), "").unwrap();
        made.unwrap()
    };
    let (held, made) = tokio::join!(holder, dump_then_release);
    held.unwrap();
    let copy = shop.scratch("copy").await;
    super::restore::copy(&shop, &made.path, &copy, Vec::new()).await.unwrap();
    assert_eq!(shop.sql(&copy.url, "select count(*) from orders").await, ["5000"]);
    for sandbox in [&copy, &target] {
        shop.sandboxes.drop(&sandbox.location, &Cancel::never()).await.unwrap();
    }
}

#[tokio::test]
async fn what_stops_a_dump_is_named_and_leaves_no_partial() {
    let shop = Workshop::new().await;
    let target = target(&shop).await;
    let missing = target.url.with_database("nowhere");
    let failure = take(&order(&shop, &shop.client, &missing)).await.unwrap_err();
    assert_eq!(failure.code, Code::NoSuchDatabase, "{failure:?}");

    shop.sql(&target.url, "create role guest login").await;
    let guest = ConnectionUrl::of_socket(&target.url.host(), "guest", "shop");
    let failure = take(&order(&shop, &shop.client, &guest)).await.unwrap_err();
    assert_eq!(failure.code, Code::MissingPrivilege, "{failure:?}");

    let closed = ConnectionUrl::parse("postgres://me:hunter2@127.0.0.1:1/shop").unwrap();
    let failure = take(&order(&shop, &shop.client, &closed)).await.unwrap_err();
    assert_eq!(failure.code, Code::CannotConnect);
    assert!(!format!("{failure:?}").contains("hunter2"));
    let names: Vec<_> = fs_err::read_dir(shop.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("backup"))
        .collect();
    assert_eq!(names, [] as [String; 0]);
    shop.sandboxes.drop(&target.location, &Cancel::never()).await.unwrap();
}

/// Programs that are shell scripts.
fn fake(folder: &Path, major: u32, pg_dump: &str) -> Programs {
    for (name, body) in [("pg_dump", pg_dump), ("pg_restore", "echo '1; 1 1 TABLE public t me'")] {
        super::write_script(&folder.join(name), body);
    }
    Programs { dir: folder.to_owned(), version: Version { major, minor: 0 } }
}

#[tokio::test]
async fn a_full_disk_is_a_failure_of_its_own_and_the_partial_goes() {
    let folder = tempfile::tempdir().unwrap();
    let bin = fake(
        folder.path(),
        15,
        "echo 'pg_dump: error: could not write to output file: No space left on device' >&2; exit 1",
    );
    let url = ConnectionUrl::parse("postgres://me@db/shop").unwrap();
    let order = DumpOrder {
        bin: &bin,
        url: &url,
        snapshot: None,
        exclude_schemas: Vec::new(),
        final_path: folder.path().join("backup.dump"),
        effect: effect("full"),
        record: None,
        timeout: None,
    };
    let failure = take(&order).await.unwrap_err();
    assert_eq!(failure.code, Code::DiskFull);
    assert!(failure.message.contains("backup.dump.partial") && failure.message.contains("free"), "{failure}");
    assert!(!partial_path(&order.final_path, &order.effect).exists());
}

#[tokio::test]
async fn a_pg_dump_built_without_zstandard_compresses_by_gzip() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"case "$*" in *zstd*)
echo 'pg_dump: error: invalid compression specification: this build does not support compression with ZSTD' >&2; exit 1;; esac
while [ $# -gt 0 ]; do [ "$1" = --file ] && echo gzip > "$2"; shift; done"#;
    let bin = fake(folder.path(), 16, script);
    let url = ConnectionUrl::parse("postgres://me@db/shop").unwrap();
    let order = DumpOrder {
        bin: &bin,
        url: &url,
        snapshot: None,
        exclude_schemas: Vec::new(),
        final_path: folder.path().join("backup.dump"),
        effect: effect("gzip"),
        record: None,
        timeout: None,
    };
    let made = take(&order).await.unwrap();
    assert_eq!(made.compression, dbd::adapters::pg_tools::Compression::Gzip);
    assert_eq!(fs_err::read_to_string(&made.path).unwrap(), "gzip\n");
}
