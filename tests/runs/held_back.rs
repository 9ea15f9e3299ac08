//! Rollbacks by a swap while the application comes through PgBouncer: its clients wait at the pooler, and not one is turned away.

use super::rolled_back::{gate, open_gate, until_at_gate};
use crate::support::bouncer::Bouncer;
use crate::support::project::{Output, Project};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio_postgres::NoTls;

/// A project whose one migration goes back by a swap, as its verification fails once the gate is open.
fn project(bouncer: &Bouncer, with: &str) -> Project {
    let mut project = Project::new();
    project.set("POOLER_URL", &bouncer.admin_url());
    project.migration("0001_change", "alter table orders add column paid boolean not null default false;");
    project.config(&format!(
        "[rollback]\nin_place = false\n[environments.dev]\nverify = {{ command = '{}' }}\n{with}",
        gate("verify", 1)
    ));
    project
}

const AT_HAND: &str = "[environments.dev.pooler]\nadmin_url = { env = 'POOLER_URL' }\n";

/// Somebody who writes through the pooler and notes what was acknowledged.
struct Client {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Client {
    /// Writes rows of `customer`, each in a transaction of its own; with a new connection for each, or all over one.
    fn of(bouncer: &Bouncer, database: &str, customer: u32, anew: bool) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let config = bouncer.config(database);
        let (stopped, counted) = (stop.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut errors = Vec::new();
                let mut kept = None;
                while !stopped.load(Ordering::Relaxed) {
                    if kept.is_none() || anew {
                        match config.connect(NoTls).await {
                            Ok((client, connection)) => {
                                tokio::spawn(connection);
                                kept = Some(client);
                            }
                            Err(error) => {
                                errors.push(format!("{error:?}"));
                                continue;
                            }
                        }
                    }
                    let sql = format!("begin; insert into orders (customer, price) values ({customer}, 1); commit");
                    match kept.as_ref().unwrap().simple_query(&sql).await {
                        Ok(_) => _ = counted.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            errors.push(format!("{error:?}"));
                            kept = None;
                        }
                    }
                }
                errors
            })
        });
        Self { stop, acknowledged, thread }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// How the swap went, as the journal has it.
fn swapped(project: &Project) -> serde_json::Value {
    let events = project.events();
    let found = events.iter().find(|event| event.body["outcome"]["of"] == "swapped");
    found.unwrap_or_else(|| panic!("nothing was swapped: {:?}", project.said())).body["outcome"].clone()
}

/// Rolls back while two clients write, and a third is in the midst of a transaction if there is to be one; what they were told by way of errors.
fn with_clients(bouncer: &Bouncer, project: &Project, third: bool) -> (Output, Vec<String>) {
    project.quiet();
    let mut running = project.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, project, "verify");
    let clients: Vec<Client> =
        [(1, false), (2, true)].map(|(who, anew)| Client::of(bouncer, &project.database, who, anew)).into();
    let wrote = |least: u64| clients.iter().all(|client| client.acknowledged() >= least);
    assert!(running.until("both clients to write", || wrote(20)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let third = third.then(|| {
        runtime.block_on(async {
            let (client, connection) = bouncer.config(&project.database).connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.simple_query("begin; insert into orders (customer, price) values (3, 1)").await.unwrap();
            client
        })
    });
    open_gate(project, "verify");
    let output = running.wait().expect(4).outcome("rolled_back");
    let cut_off = third.and_then(|client| runtime.block_on(client.simple_query("commit")).err());
    // They go on where they were.
    let before: Vec<u64> = clients.iter().map(Client::acknowledged).collect();
    let deadline = std::time::Instant::now() + crate::support::project::DEADLINE;
    while clients.iter().zip(&before).any(|(client, before)| client.acknowledged() < before + 5) {
        assert!(std::time::Instant::now() < deadline, "clients hang after the rollback");
        std::thread::yield_now();
    }
    let counts: Vec<Arc<AtomicU64>> = clients.iter().map(|client| client.acknowledged.clone()).collect();
    let mut errors: Vec<String> = clients.into_iter().flat_map(Client::end).collect();
    errors.extend(cut_off.map(|error| format!("{error:?}")));
    for (who, count) in counts.iter().enumerate() {
        let rows = project.value(&format!("select count(*) from orders where customer = {} and price = 1", who + 1));
        let acknowledged = count.load(Ordering::Relaxed);
        assert!(rows.parse::<u64>().unwrap() >= acknowledged, "{rows} rows of {acknowledged} acknowledged");
    }
    (output, errors)
}

#[test]
fn clients_of_a_pooler_see_no_error_while_the_names_change() {
    let Some(bouncer) = Bouncer::before_the_server() else { return };
    let it = project(&bouncer, AT_HAND);
    let (output, errors) = with_clients(&bouncer, &it, false);
    assert!(errors.is_empty(), "{errors:#?}");
    let swap = swapped(&it);
    assert!(swap["pooler"].as_str().unwrap().starts_with("clients waited at the pooler for "), "{swap:#}");
    let events = it.events();
    let checks = events.iter().find(|event| event.body["outcome"]["of"] == "preflight").unwrap();
    assert!(checks.body.to_string().contains("clients wait at the pooler"), "{:#}", checks.body);
    assert!(!bouncer.is_paused(&it.database));
    assert!(!format!("{output:?}").contains("pooler_password"));

    // The same without it: the test can fail. The two that write may be lucky and knock while nothing is closed; the third cannot.
    let it = project(&bouncer, "");
    let (_, errors) = with_clients(&bouncer, &it, true);
    assert!(!errors.is_empty(), "clients that nobody held back should have been turned away");
}

#[test]
fn a_pooler_that_cannot_hold_its_clients_back_in_time_holds_nothing_up() {
    let Some(bouncer) = Bouncer::before_the_server() else { return };
    let it = project(&bouncer, AT_HAND);
    it.quiet();
    let mut running = it.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &it, "verify");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let idle = runtime.block_on(async {
        let (client, connection) = bouncer.config(&it.database).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client.simple_query("begin; select 1").await.unwrap();
        client
    });
    open_gate(&it, "verify");
    running.wait().expect(4).outcome("rolled_back");
    let swap = swapped(&it);
    assert!(swap["pooler"].as_str().unwrap().contains("did not end within"), "{swap:#}");
    assert!(!bouncer.is_paused(&it.database));
    drop(idle);

    // A swap that comes to nothing lets them go on as well.
    let it = project(&bouncer, AT_HAND);
    it.quiet();
    let mut running = it.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &it, "verify");
    bouncer.sql(&it.database, "alter table customers add column by_hand int");
    open_gate(&it, "verify");
    running.wait().expect(5);
    assert!(bouncer.said().contains(&format!("PAUSE '{}' command issued", it.database)), "{}", bouncer.said());
    assert!(!bouncer.is_paused(&it.database));
    bouncer.sql(&it.database, "select 1");

    // One that is not there at all is said beforehand.
    let mut it = project(&bouncer, AT_HAND);
    it.set("POOLER_URL", &bouncer.admin_url().replace("6432", "6433"));
    it.quiet();
    let mut running = it.spawn(&["start", "dev", "--json"]);
    until_at_gate(&mut running, &it, "verify");
    open_gate(&it, "verify");
    running.wait().expect(4).outcome("rolled_back");
    assert!(
        it.said().contains("does not answer")
            || it.events().iter().any(|event| event.body.to_string().contains("does not answer"))
    );
    assert!(swapped(&it)["pooler"].as_str().unwrap().starts_with("clients were not held back"), "{:#}", swapped(&it));
}

#[test]
fn killed_while_clients_wait_they_are_let_go_on_by_whoever_is_left() {
    let Some(bouncer) = Bouncer::before_the_server() else { return };
    let it = project(&bouncer, AT_HAND);
    it.write("verify-go", "");
    // The pooler knows databases that somebody asked for.
    bouncer.sql(&it.database, "select 1");
    it.quiet();
    let (_, gaps) = it.drill(None, &["start", "dev", "--json"]);
    let closed = gaps.iter().position(|gap| gap.0 == "target closed").expect("a swap closes the target") + 1;
    for watched in [true, false] {
        let mut it = project(&bouncer, AT_HAND);
        it.write("verify-go", "");
        bouncer.sql(&it.database, "select 1");
        it.quiet();
        let (killed, _) = it.drill(Some(closed), &["start", "dev", "--json"]);
        assert!(killed.code.is_none(), "{killed:?}");
        let said = bouncer.said();
        assert!(said.contains(&format!("PAUSE '{}' command issued", it.database)), "{said}");
        // The process that is left behind opens the target, then lets clients go on.
        let deadline = std::time::Instant::now() + crate::support::project::DEADLINE;
        while bouncer.is_paused(&it.database) {
            assert!(std::time::Instant::now() < deadline, "clients were forgotten at the pooler");
            std::thread::yield_now();
        }
        bouncer.sql(&it.database, "insert into orders (customer, price) values (1, 4711)");
        if !watched {
            // As if that had not come to it; whoever clears up looks after it, and so does whoever goes on.
            bouncer.console(&format!("PAUSE \"{}\"", it.database));
            it.dbd(&["sandbox", "gc", "--json"]).expect(0);
            assert!(!bouncer.is_paused(&it.database));
            bouncer.console(&format!("PAUSE \"{}\"", it.database));
        }
        it.set("RESUMED", "yes");
        it.dbd(&["resume", "--last", "--json"]).expect(4).outcome("rolled_back");
        assert!(!bouncer.is_paused(&it.database));
        assert_eq!(it.value("select count(*) from orders where price = 4711"), "1");
        it.assert_sound();
    }
}
