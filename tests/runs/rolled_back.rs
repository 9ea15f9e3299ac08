//! Runs that fail on the target and go back by themselves: schema, rows, sequences and tracking as they were.

use crate::support::pg;
use crate::support::project::{Output, Project, Running};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

/// With nothing but the backup to go back by.
pub const BY_THE_BACKUP: &str = "[rollback]\nin_place = false\ncapture = 'off'\n";

/// Two migrations that change schema, rows, sequences and a comment; the second in several units.
pub fn change_much(project: &Project) {
    project
        .migration(
            "0001_change",
            "drop view dear cascade;\n\
             alter table orders alter column price type numeric(12, 4), add column paid boolean not null default false;\n\
             update orders set price = price * 2;\n\
             insert into customers (name) values ('made by a migration');\n\
             comment on table orders is 'changed';\n\
             drop trigger stamped on customers;\n",
        )
        .migration(
            "0002_units",
            "create table later (id serial primary key);\ninsert into later default values;\n\
             create index concurrently orders_price on orders (price);\n\
             alter table later add column more text;\n",
        );
}

/// That the target is as it was before, and dbd knows of no migration of the run.
#[track_caller]
pub fn assert_back(project: &Project, output: &Output, before: &crate::support::project::Snapshot) {
    assert_eq!(output.json()["state"], "rolled_back", "{output:?}");
    assert_eq!(&project.snapshot(), before);
    assert_eq!(project.value(&format!("select count(*) from dbd.migration where run_id = '{}'", output.run())), "0");
    project.assert_sound();
}

/// A command that says it is at work, waits until it may go on, and ends with `status`.
pub fn gate(name: &str, status: u8) -> String {
    format!("touch {name}-began; while [ ! -e {name}-go ]; do sleep 0.02; done; exit {status}")
}

/// Waits until the command of [`gate`] is at work.
#[track_caller]
pub fn until_at_gate(running: &mut Running<'_>, project: &Project, name: &str) {
    let began = project.root().join(format!("{name}-began"));
    assert!(running.until("the command to begin", || began.exists()), "dbd ended before {name}");
}

/// Lets the command of [`gate`] go on.
pub fn open_gate(project: &Project, name: &str) {
    project.write(&format!("{name}-go"), "");
}

#[test]
fn what_was_there_before_the_backup_is_no_loss_though_a_transaction_elsewhere_is_older() {
    let elsewhere = Project::empty();
    let old = elsewhere.session();
    old.sql("begin; select txid_current()");
    let project = Project::new();
    change_much(&project);
    project.config(&format!("{BY_THE_BACKUP}[environments.dev]\nverify = {{ command = 'false' }}\n"));
    let output = project.start().expect(4).outcome("rolled_back");
    assert_eq!(output.json()["rollback"]["loss"]["rows"], 0, "{output:?}");
    old.sql("rollback");
}

#[test]
fn a_verification_that_fails_takes_everything_back_and_the_next_run_goes_through() {
    let project = Project::new();
    change_much(&project);
    project.config(&format!(
        "{BY_THE_BACKUP}[environments.dev]\nverify = {{ command = 'echo the shop is closed; exit 7' }}\n"
    ));
    let before = project.snapshot();
    let output = project.start().expect(4).outcome("rolled_back");
    let output = output.because("DBD-0502", &["status 7", "the shop is closed", "verify.log"]);
    assert_back(&project, &output, &before);
    let document = output.json();
    assert_eq!(document["checkpoint"]["schema_fingerprint"], document["schema_fingerprint"]);
    assert_eq!(document["rollback"]["loss"]["rows"], 0, "{output:?}");
    assert_eq!(document["verify"]["status"], 7);
    assert!(project.tracking().is_empty());
    let again = project.dbd(&["resume", &output.run(), "--json"]).expect(0);
    assert_eq!(again.json()["outcome"], "rolled_back");

    project.config("[environments.dev]\nverify = { command = 'true' }\n");
    project.start().expect(0).outcome("succeeded");
    assert_eq!(project.tracking(), ["0001_change", "0002_units"]);
    assert_eq!(project.value("select max(price) from orders"), "240.0000");
    project.assert_sound();
}

#[test]
fn a_verification_that_takes_too_long_is_ended_and_takes_everything_back() {
    let project = Project::new();
    change_much(&project);
    project
        .config(&format!("{BY_THE_BACKUP}[environments.dev.verify]\ncommand = 'exec sleep 600'\ntimeout = '200ms'\n"));
    let before = project.snapshot();
    let output = project.start().expect(4).because("DBD-0410", &["the verification", "200 ms", "exec sleep 600"]);
    assert_back(&project, &output, &before);
}

#[test]
fn rows_that_others_wrote_meanwhile_are_saved_before_they_leave() {
    let project = Project::new();
    change_much(&project);
    project.config(&format!("{BY_THE_BACKUP}[environments.dev]\nverify = {{ command = '{}' }}\n", gate("verify", 1)));
    let before = project.snapshot();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &project, "verify");
    let other = project.session();
    other.sql("insert into orders (customer, price, old_note) values (1, 4711, 'paid meanwhile'), (2, 4712, 'paid meanwhile')");
    other.sql("update customers set note = 'moved' where id = 3");
    open_gate(&project, "verify");
    // Nobody gave leave to lose them.
    let halted = running.wait().expect(5).outcome("needs_operator");
    let halted = halted.because("DBD-0603", &["2 row(s) in public.orders", "--restore"]);
    assert_eq!(project.value("select count(*) from orders where old_note = 'paid meanwhile'"), "2");
    drop(other);
    let output = project.dbd(&["rollback", &halted.run(), "--restore", "--yes", "--json"]).expect(0);
    let rollback = &output.json()["rollback"];
    assert_eq!(
        rollback["loss"]["written"],
        serde_json::json!({"public.orders": 2, "public.customers": 1}),
        "{output:?}"
    );
    assert_eq!(rollback["kept"], format!(".deployments/{}/before-rollback-2.dump", output.run()));
    assert_back(&project, &output, &before);

    let dump = project.artifact(&output.run(), "before-rollback-2.dump");
    let text = Command::new(pg::server().bin.join("pg_restore"))
        .args(["--data-only", "--file=-"])
        .arg(&dump)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert_eq!(text.matches("paid meanwhile").count(), 2, "{text}");
    assert_eq!(text.matches("moved").count(), 1);
}

/// Answers every request with a status, until nobody asks any more; says how many asked.
fn application(status: &'static str) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/health?key=Xq7", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, asked)
}

#[test]
fn an_application_that_is_not_healthy_takes_the_run_back() {
    let mut project = Project::new();
    change_much(&project);
    project.config(&format!("{BY_THE_BACKUP}[environments.dev.health]\nretries = 1\ntimeout = '5s'\n"));
    let before = project.snapshot();
    let (address, asked) = application("503 Service Unavailable");
    let output = project.set("DEV_URL", &address).start().expect(4).because("DBD-0503", &["503"]);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
    assert_back(&project, &output, &before);

    let (address, asked) = application("200 OK");
    project.set("DEV_URL", &address).start().expect(0).outcome("succeeded");
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    project.assert_sound();
}

#[test]
fn a_schema_that_turns_out_another_than_rehearsed_is_taken_back() {
    let project = Project::new();
    // Only the target's server keeps logical WAL: a migration that looks at its surroundings.
    project.migration(
        "0001_moody",
        "do $$ begin if current_setting('wal_level') = 'logical' then create table surprise (id int); end if; end $$;",
    );
    let before = project.snapshot();
    let output = project.start().expect(4).because("DBD-0501", &["surprise", "not the one that was rehearsed"]);
    assert_back(&project, &output, &before);
}
