//! Behind a pooler in transaction mode: what DBD-0111 warns of, and that nothing is wrong afterwards all the same.

use crate::support::bouncer::Bouncer;
use crate::support::pg::DEPLOYER;
use crate::support::project::{Output, Project};

/// The project's database, through `bouncer`.
fn url(project: &Project, bouncer: &Bouncer) -> String {
    let (database, socket) = (&project.database, bouncer.socket().display());
    format!("postgres://{DEPLOYER}:{}@localhost:6432/{database}?host={socket}", Project::password())
}

/// A project whose URL leads through `bouncer`.
fn behind(bouncer: &Bouncer) -> Project {
    let mut project = Project::new();
    let url = url(&project, bouncer);
    project.set("DEV_POSTGRES_URL", &url).with_sandboxes_on_the_server();
    project.migration("0001_first", "create table first_one as select 1 as id;\n").migration(
        "0002_second",
        "insert into first_one values (2);\ncreate index concurrently first_id on first_one (id);\n",
    );
    project
}

/// As [`Project::assert_sound`]; the sessions that the pooler keeps open are its own, and end with it.
fn assert_sound(project: &Project, bouncer: Bouncer) {
    let verdict = project.dbd(&["audit", "verify", "--json"]).expect(0).json();
    assert_eq!(verdict["sound"], true, "{verdict}");
    drop(bouncer);
    project.assert_tidy();
    project.assert_secret();
}

/// Whether a run was refused or went back because the pooler parted two halves of a query; then nobody is left without the way out.
fn was_parted(output: &Output) -> bool {
    let said = format!("{output:?}");
    let parted = said.contains("SQLSTATE 26000") || said.contains("SQLSTATE 42P05");
    assert!(!parted || said.contains("direct URL"), "{said}");
    parted
}

/// Starts, again if the pooler got in the way, until the run ends by itself.
fn insist(project: &Project) -> Output {
    let before = project.snapshot();
    for _ in 0..20 {
        let mut output = project.start();
        while output.code == Some(75) {
            output = project.dbd(&["resume", "--last", "--json"]);
        }
        if !was_parted(&output) {
            return output;
        }
        assert!(matches!(output.code, Some(3 | 4)), "{output:?}");
        assert_eq!(project.snapshot(), before, "{output:?}");
    }
    panic!("the pooler was in the way of twenty runs");
}

#[test]
fn behind_a_pooler_the_direct_url_is_asked_for_and_the_run_is_whole_or_nothing_happened() {
    let Some(bouncer) = Bouncer::before_the_server() else { return };
    let project = behind(&bouncer);
    let output = insist(&project).expect(0).outcome("succeeded");
    let said = project.said();
    assert!(said.contains("DBD-0111") && said.contains("direct URL"), "{output:?}");
    assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2"]);
    assert_eq!(project.tracking(), ["0001_first", "0002_second"]);
    assert_sound(&project, bouncer);
}

#[test]
fn a_look_through_a_pooler_leaves_no_setting_behind_in_it() {
    let Some(bouncer) = Bouncer::before_the_server() else { return };
    let project = behind(&bouncer);
    let url = url(&project, &bouncer);
    project.sql("create table looked_at (id integer primary key); insert into looked_at values (1)");
    for looked in
        [&["compare", "dev", "dev", "--data", "--json"][..], &["drift", "dev", "--json"], &["check", "--json"]]
    {
        let output = project.dbd(looked);
        assert!(matches!(output.code, Some(0 | 2)) || was_parted(&output), "{output:?}");
    }
    let settings = "select string_agg(name, ' ') from pg_settings where source = 'session' and name not in \
                    ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'extra_float_digits', 'standard_conforming_strings')";
    // Each asks while the ones before it hold their backend, so that all the pooler has are asked.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..8 {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("begin").await.unwrap();
            let left = client.simple_query(settings).await.unwrap();
            let left = left.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(left, None);
            held.push(client);
        }
    });
}

#[test]
fn killed_behind_a_pooler_it_is_resumed_through_what_the_dead_process_left_in_it() {
    for (name, about) in [("ledger row written", "target"), ("alone done", "target")] {
        let Some(bouncer) = Bouncer::before_the_server() else { return };
        // A run that is refused because of the pooler passes no such gap; then it is begun anew.
        let project = (0..20).find_map(|_| {
            let learned = behind(&bouncer);
            let (_, gaps) = learned.drill(None, &["start", "dev", "--json"]);
            let at = gaps.iter().rposition(|gap| gap.0 == name && gap.1 == about)? + 1;
            let project = behind(&bouncer);
            let (killed, _) = project.drill(Some(at), &["start", "dev", "--json"]);
            killed.code.is_none().then_some(project)
        });
        let project = project.expect("a run is killed there");
        let mut output = project.dbd(&["resume", "--last", "--json"]);
        while output.code == Some(75) {
            output = project.dbd(&["resume", "--last", "--json"]);
        }
        if was_parted(&output) {
            output = insist(&project);
        }
        output.expect(0).outcome("succeeded");
        assert_eq!(project.rows("select id from first_one order by 1"), ["1", "2"], "{name}");
        assert_eq!(project.tracking(), ["0001_first", "0002_second"]);
        assert_sound(&project, bouncer);
    }
}

#[test]
fn behind_a_pooler_a_failed_verification_takes_everything_back() {
    let Some(bouncer) = Bouncer::before_the_server() else { return };
    let project = behind(&bouncer);
    let before = project.snapshot();
    project.config("[environments.dev]\nverify = { command = 'false' }\n");
    insist(&project).expect(4).outcome("rolled_back");
    assert_eq!(project.snapshot(), before);
    assert_sound(&project, bouncer);
}
