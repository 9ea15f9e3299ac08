use super::{Workshop, scratch};
use dbd::adapters::sandbox::{CreateOrder, SandboxKind, SandboxLocation};
use dbd::adapters::support::child::Cancel;
use dbd::adapters::support::process::{Process, wait_until, working_in};
use dbd::domain::code::Code;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

fn folder(location: &SandboxLocation) -> PathBuf {
    match location {
        SandboxLocation::Scratch { folder } => folder.clone(),
        SandboxLocation::Configured { .. } => panic!("not a scratch server"),
    }
}

fn postmaster(location: &SandboxLocation) -> Process {
    let text = fs_err::read_to_string(folder(location).join("data/postmaster.pid")).unwrap();
    Process::of(text.lines().next().unwrap().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_scratch_server_is_made_used_and_leaves_nothing() {
    let shop = Workshop::new().await;
    let sandbox = shop.scratch("deploy-dev-1728149445123").await;
    assert_eq!((sandbox.url.database().as_str(), sandbox.notes.len()), ("shop", 0));
    let row = shop.sql(&sandbox.url, "select current_database(), current_user, current_setting('fsync')").await;
    assert_eq!(row, ["shop|postgres|off"]);
    assert_eq!(shop.sql(&sandbox.url, "show listen_addresses").await, [""]);

    let folder = folder(&sandbox.location);
    let mode = |path: PathBuf| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(folder.join("s")), mode(folder.join("data"))), (0o700, 0o700), "nobody else may connect or read");
    let server = postmaster(&sandbox.location);
    shop.sandboxes.drop(&sandbox.location, &Cancel::never()).await.unwrap();
    assert!(!server.is_alive() && !folder.exists());
    shop.sandboxes.drop(&sandbox.location, &Cancel::never()).await.unwrap();
    assert_eq!(shop.sandboxes.list(&Cancel::never()).await.unwrap(), []);
}

#[tokio::test]
async fn making_it_again_starts_from_nothing() {
    let shop = Workshop::new().await;
    let first = shop.scratch("again").await;
    shop.sql(&first.url, "create table t ()").await;
    let old = postmaster(&first.location);
    let second = shop.scratch("again").await;
    assert_eq!(second.location, first.location);
    assert!(!old.is_alive());
    assert_eq!(shop.sql(&second.url, "select to_regclass('t') is null").await, ["t"]);
    shop.sandboxes.drop(&second.location, &Cancel::never()).await.unwrap();
}

#[tokio::test]
async fn a_collation_this_machine_lacks_is_replaced_and_said() {
    let shop = Workshop::new().await;
    let mut order = scratch("locale");
    order.locale.collate = "xx_XX.utf8".to_owned();
    let sandbox = shop.sandboxes.create(&order, &Cancel::never()).await.unwrap();
    assert!(sandbox.notes[0].contains("xx_XX.utf8"), "{:?}", sandbox.notes);
    assert_eq!(shop.sql(&sandbox.url, "show server_encoding").await, ["UTF8"]);
    shop.sandboxes.drop(&sandbox.location, &Cancel::never()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_and_leaves_nothing() {
    let shop = Workshop::new().await;
    let order = CreateOrder { server_settings: vec![("no_such_setting".to_owned(), "1".to_owned())], ..scratch("bad") };
    let failure = shop.sandboxes.create(&order, &Cancel::never()).await.unwrap_err();
    assert_eq!(failure.code, Code::SandboxFailed);
    assert!(failure.causes.concat().contains("no_such_setting"), "{failure:?}");
    assert_eq!(shop.sandboxes.list(&Cancel::never()).await.unwrap(), []);
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_what_was_committed() {
    let shop = Workshop::new().await;
    let sandbox = shop.scratch("reopened").await;
    shop.sql(&sandbox.url, "create table t as select 42 as x").await;
    let old = postmaster(&sandbox.location);
    old.signal(Signal::KILL);
    assert!(old.wait_gone(Duration::from_secs(30)).await);
    let again = shop.sandboxes.open(&sandbox.location, &Cancel::never()).await.unwrap().unwrap();
    assert_eq!(shop.sql(&again.url, "select x from t").await, ["42"]);
    assert_ne!(postmaster(&again.location), old);
    shop.sandboxes.drop(&again.location, &Cancel::never()).await.unwrap();
    assert!(shop.sandboxes.open(&sandbox.location, &Cancel::never()).await.unwrap().is_none());
}

/// Makes the recorded owner of a sandbox one that has ended.
fn orphan(location: &SandboxLocation) {
    let path = folder(location).join("owner.json");
    let mut owner: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    owner["owner"]["start_time"] = "long ago".into();
    // As if killed before the server was written down.
    owner["postmaster"] = serde_json::Value::Null;
    fs_err::write(&path, owner.to_string()).unwrap();
}

#[tokio::test]
async fn gc_removes_what_the_dead_left_and_nothing_else() {
    let shop = Workshop::new().await;
    let cancel = Cancel::never();
    let dead = shop.scratch("dead").await;
    let resumed = shop.scratch("resumed").await;
    let ours = shop.scratch("ours").await;
    let kept = shop.sandboxes.create(&CreateOrder { persistent: true, ..scratch("kept") }, &cancel).await.unwrap();
    for sandbox in [&dead, &resumed, &kept] {
        orphan(&sandbox.location);
    }
    fs_err::create_dir(shop.path("dbd-sandbox-half-removed")).unwrap();
    fs_err::create_dir(shop.path("unrelated")).unwrap();
    let server = postmaster(&dead.location);

    let removed = shop.sandboxes.gc(&|id| id == "resumed", &cancel).await.unwrap();
    let removed: Vec<_> = removed.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(removed, ["dead", ""]);
    assert!(!server.is_alive() && !folder(&dead.location).exists());
    assert!(shop.path("unrelated").exists());
    for sandbox in [&resumed, &ours, &kept] {
        assert_eq!(shop.sql(&sandbox.url, "select 1").await, ["1"], "{}", sandbox.id);
        shop.sandboxes.drop(&sandbox.location, &cancel).await.unwrap();
    }
}

#[tokio::test]
async fn a_location_that_is_no_sandbox_is_never_removed() {
    let shop = Workshop::new().await;
    let precious = shop.path("precious");
    fs_err::create_dir(&precious).unwrap();
    let location = SandboxLocation::Scratch { folder: precious.clone() };
    shop.sandboxes.drop(&location, &Cancel::never()).await.unwrap_err();
    assert!(precious.exists());
}

#[tokio::test]
async fn a_sandbox_on_a_server_of_the_users_is_a_database_with_its_run_in_a_comment() {
    let servers = Workshop::new().await;
    let cancel = Cancel::never();
    let server = servers.scratch("server").await;
    let shop = Workshop::with(Some(server.url.clone())).await;
    let order = CreateOrder { kind: SandboxKind::Configured, ..scratch("deploy-dev-7") };
    let sandbox = shop.sandboxes.create(&order, &cancel).await.unwrap();
    assert_eq!(shop.sql(&sandbox.url, "select current_database()").await, ["dbd_sandbox_deploy_dev_7"]);
    assert!(!serde_json::to_string(&sandbox.location).unwrap().contains("postgres@"));

    // A session left behind, and a database that merely has such a name.
    shop.sql(&server.url, "create database dbd_sandbox_theirs").await;
    let found = shop.sandboxes.list(&cancel).await.unwrap();
    assert_eq!(found.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["deploy-dev-7"]);
    assert!(shop.sandboxes.gc(&|_| false, &cancel).await.unwrap().is_empty(), "its owner runs");

    shop.sql(&sandbox.url, "create table t ()").await;
    let again = shop.sandboxes.create(&order, &cancel).await.unwrap();
    assert_eq!(shop.sql(&again.url, "select to_regclass('t') is null").await, ["t"]);
    let comment = "do $$ begin execute format('comment on database dbd_sandbox_deploy_dev_7 is %L', replace(shobj_description(
        (select oid from pg_database where datname = 'dbd_sandbox_deploy_dev_7'), 'pg_database'), 'start_time\":\"', 'start_time\":\"not ')); end $$";
    let its =
        "select shobj_description(oid, 'pg_database') from pg_database where datname = 'dbd_sandbox_deploy_dev_7'";
    let alive = shop.sql(&server.url, its).await.concat();
    shop.sql(&server.url, comment).await;
    // Its run is resumed while the list is gone through, in a sandbox of the same name: it stays.
    let resumed = |_: &str| {
        let sql = format!("comment on database dbd_sandbox_deploy_dev_7 is '{alive}'");
        let own = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let said = || own().block_on(shop.sql(&server.url, &sql));
        std::thread::scope(|scope| scope.spawn(said).join()).unwrap();
        false
    };
    assert!(shop.sandboxes.gc(&resumed, &cancel).await.unwrap().is_empty());
    assert_eq!(shop.sql(&again.url, "select 1").await, ["1"]);
    shop.sql(&server.url, comment).await;
    let removed = shop.sandboxes.gc(&|_| false, &cancel).await.unwrap();
    assert_eq!(removed[0].id, "deploy-dev-7");
    let left = "select datname from pg_database where datname like 'dbd%'";
    assert_eq!(shop.sql(&server.url, left).await, ["dbd_sandbox_theirs"]);
    shop.sandboxes.drop(&sandbox.location, &cancel).await.unwrap();
    servers.sandboxes.drop(&server.location, &cancel).await.unwrap();
}

/// PostgreSQL marks a database before it removes it; one whose removal was cut short takes no connections any more and can only be dropped.
#[tokio::test]
async fn a_sandbox_whose_removal_was_cut_short_is_found_and_removed_for_good() {
    let servers = Workshop::new().await;
    let cancel = Cancel::never();
    let server = servers.scratch("server").await;
    let shop = Workshop::with(Some(server.url.clone())).await;
    let left = "select datname from pg_database where datname like 'dbd%' order by 1";
    for by in ["gc", "the next attempt", "its run"] {
        let order = CreateOrder { kind: SandboxKind::Configured, ..scratch("deploy-dev-8") };
        let sandbox = shop.sandboxes.create(&order, &cancel).await.unwrap();
        let database = "dbd_sandbox_deploy_dev_8";
        let oid = shop.sql(&server.url, &format!("select oid from pg_database where datname = '{database}'")).await;
        // What a server that crashed in the middle of DROP DATABASE leaves: the mark, the comment, and not all of the files.
        shop.sql(
            &server.url,
            &format!("update pg_database set datconnlimit = -2 where datname = '{database}'; checkpoint"),
        )
        .await;
        for entry in fs_err::read_dir(folder(&server.location).join("data/base").join(&oid[0])).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with('1') {
                fs_err::remove_file(entry.path()).unwrap();
            }
        }
        match by {
            "gc" => {
                let comment = format!(
                    "do $$ begin execute format('comment on database {database} is %L', replace(shobj_description((select oid from \
                     pg_database where datname = '{database}'), 'pg_database'), 'start_time\":\"', 'start_time\":\"not ')); end $$"
                );
                shop.sql(&server.url, &comment).await;
                let removed = shop.sandboxes.gc(&|_| false, &cancel).await.unwrap();
                assert_eq!(removed.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["deploy-dev-8"]);
            }
            "the next attempt" => {
                let again = shop.sandboxes.create(&order, &cancel).await.unwrap();
                assert_eq!(shop.sql(&again.url, "select current_database()").await, [database]);
                shop.sandboxes.drop(&again.location, &cancel).await.unwrap();
            }
            _ => shop.sandboxes.drop(&sandbox.location, &cancel).await.unwrap(),
        }
        assert!(shop.sql(&server.url, left).await.is_empty(), "{by}");
    }
    servers.sandboxes.drop(&server.location, &cancel).await.unwrap();
}

/// The net that holds when nothing else can: the process that made the server is killed outright.
///
/// A thread stands in for the process: the kernel ties a child to the thread that started it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_scratch_server_ends_with_the_thread_that_made_it_unless_it_is_to_persist() {
    let shop = Workshop::new().await;
    let orders = [scratch("mortal"), CreateOrder { persistent: true, ..scratch("immortal") }];
    let sandboxes = shop.sandboxes.clone();
    let made = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut made = Vec::new();
            for order in &orders {
                made.push(sandboxes.create(order, &Cancel::never()).await.unwrap());
            }
            made
        })
    })
    .join()
    .unwrap();
    let data = folder(&made[0].location).join("data");
    assert!(wait_until(Duration::from_secs(30), || working_in(&data).is_empty()).await);
    assert_eq!(shop.sql(&made[1].url, "select 1").await, ["1"]);
    shop.sandboxes.drop(&made[1].location, &Cancel::never()).await.unwrap();
}
