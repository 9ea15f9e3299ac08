//! The step itself, applied by the adapter that the engine uses.

use crate::support::pg;
use dbd::adapters::postgres::Postgres;
use dbd::domain::code::Code;
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::digest::Digest;

use dbd::domain::failure::{Certainty, Failure};
use dbd::domain::ids::{EffectId, RunId};
use dbd::domain::migration::{Unit, split};
use dbd::domain::plan::{PlanStep, UndoClass};
use dbd::ports::database::{Anchor, Applied, ApplyOrder, Around, Database, Holder, NotApplied, ProbeOrder, Standing};
use tokio_postgres::Client;

/// A prepared database and its holder.
struct Target {
    database: Postgres,
    url: ConnectionUrl,
    client: Client,
    holder: Holder,
    anchor: Anchor,
}

/// What a try came to, and the effect it was.
struct Tried {
    result: Result<Applied, NotApplied>,
    effect: EffectId,
}

impl Tried {
    #[track_caller]
    fn failure(self) -> Failure {
        self.result.expect_err("the step fails").failure
    }

    #[track_caller]
    fn applied(self) -> Applied {
        self.result.unwrap_or_else(|not| panic!("{}", not.failure))
    }
}

fn words(failure: &Failure) -> String {
    format!("{} {}", failure.message, failure.causes.join(" "))
}

fn owned(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|sql| (*sql).to_owned()).collect()
}

fn step(text: &str, units: &[Unit]) -> PlanStep {
    PlanStep {
        migration: 0,
        unit: 0,
        last: true,
        mode: units[0].mode.clone(),
        statements: units[0].statements.clone(),
        digest: Digest::of(text),
        undo: UndoClass::Restore,
    }
}

impl Target {
    /// A database with a table, and a trigger on it that notes for each row whether it was written while a migration ran.
    async fn new() -> Self {
        let name = pg::create_database().await;
        let socket = pg::server().socket.to_str().expect("a plain path").to_owned();
        let url = format!("postgres://{}@localhost/{name}?host={socket}", pg::USER);
        let url = ConnectionUrl::parse(&url).expect("it is a URL");
        let run = RunId::parse("deploy-dev-1").expect("it is a run's id");
        let holder = Holder::new(run, "tests".to_owned(), 1, "b3:0123456789abcdef", "a test".to_owned());
        let database = Postgres::default();
        database.prepare(&url, None, &holder).await.unwrap_or_else(|failure| panic!("{failure}"));
        let client = pg::connect(&name).await;
        client
            .batch_execute(
                "create table t (id int primary key, by text);
                 create table seen (what text, at bigint generated always as identity);
                 create function note() returns trigger language plpgsql as
                 $$ begin new.by := coalesce(nullif(current_setting('dbd.migrating', true), ''), 'off'); return new; end $$;
                 create trigger noted before insert or update on t for each row execute function note();
                 insert into t values (1)",
            )
            .await
            .expect("the shop can be made");
        let anchor = Anchor { origin: "tests".to_owned(), seq: 7, hash: "b3:07".to_owned() };
        Self { database, url, client, holder, anchor }
    }

    async fn apply(&self, text: &str, before: &[&str], after: &[&str], bookkeeping: Option<&str>) -> Tried {
        let units = split(text).expect("it parses");
        let step = step(text, &units);
        let effect = EffectId::derive("tests", &self.holder.run, "step", text.as_bytes());
        let (before, after) = (owned(before), owned(after));
        let order = ApplyOrder {
            url: &self.url,
            holder: &self.holder,
            effect: &effect,
            anchor: &self.anchor,
            step: &step,
            units: &units,
            file: "migrations/0001_one.sql",
            text,
            bookkeeping: bookkeeping.map(str::to_owned),
            around: Around { before: &before, after: &after, ..Around::default() },
            lock_timeout_ms: 200,
            lock_budget_ms: 400,
            statement_timeout_ms: None,
            timeout_ms: 60_000,
            pooled: false,
            brief: false,
            watch: false,
            progress: &|_| {},
        };
        let result = self.database.apply(order).await;
        Tried { result, effect }
    }

    async fn probe(&self, text: &str, effect: &EffectId, after: &[&str]) -> Result<Standing, Failure> {
        let step = step(text, &split(text).expect("it parses"));
        let after = owned(after);
        let fenced = self.database.fence(&self.url, effect).await?;
        let order = ProbeOrder {
            url: &self.url,
            holder: &self.holder,
            anchor: &self.anchor,
            step: Some(&step),
            bookkeeping: Some("insert into seen values ('bookkeeping')".to_owned()),
            around: Around { before: &[], after: &after, ..Around::default() },
        };
        self.database.probe(order, &fenced).await
    }

    async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.client.query(sql, &[]).await.expect("the question can be asked");
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn seen(&self) -> Vec<String> {
        self.column("select what from seen order by at").await
    }

    async fn phases(&self) -> Vec<String> {
        self.column("select phase from dbd.ledger order by at").await
    }
}

const BOOKKEEPING: &str = "insert into seen values ('bookkeeping')";

/// Notes which transaction a statement belongs to, and how many rows the ledger has by then.
const LOOK: &str = "insert into seen select %what% || ' ' || (select count(*) from dbd.ledger where xid = txid_current()::text) || ' of ' || (select count(*) from dbd.ledger)";

fn look(what: &str) -> String {
    LOOK.replace("%what%", &format!("'{what}'"))
}

#[tokio::test]
async fn what_dbd_adds_is_part_of_the_steps_transaction_and_no_statement_of_the_migration() {
    let target = Target::new().await;
    let text = "insert into seen values ('first');\ninsert into seen values ('last');\n";
    let (before, after) = (look("before"), look("after"));
    let applied = target.apply(text, &["select 1", &before], &[&after], Some(BOOKKEEPING)).await.applied();
    assert_eq!(target.seen().await, ["before 1 of 1", "first", "last", "after 1 of 1", "bookkeeping"]);
    assert_eq!(applied.trace.len(), 2, "only the migration's own statements are traced: {:?}", applied.trace);
    let xids = target.column("select distinct xmin::text from seen").await;
    assert_eq!(Some(&xids[0]), applied.report.xid.as_ref(), "all of it is one transaction");
    assert_eq!(xids.len(), 1);
}

#[tokio::test]
async fn a_migration_is_recognised_by_triggers_while_it_runs_and_nothing_else_is() {
    let target = Target::new().await;
    let by = || target.column("select by from t order by id");
    assert_eq!(by().await, ["off"]);
    target.apply("insert into t values (2);", &[], &[], None).await.applied();
    assert_eq!(by().await, ["off", "on"]);
    // Alone: VACUUM cannot be in a transaction and writes nothing, so its neighbours tell.
    let before = "insert into t values (3)";
    target.apply("vacuum t;", &[before], &["update t set id = 4 where id = 1"], None).await.applied();
    assert_eq!(target.column("select id::text || ' ' || by from t order by id").await, ["2 on", "3 on", "4 on"]);
    target.client.batch_execute("insert into t values (9)").await.expect("a row can be written");
    assert_eq!(target.column("select by from t where id = 9").await, ["off"]);
}

#[tokio::test]
async fn a_statement_of_dbds_own_that_fails_takes_the_step_back_and_says_whose_it_was() {
    let target = Target::new().await;
    let text = "insert into seen values ('first');";
    for (before, after) in [(&["select 1/0"][..], &[][..]), (&[], &["select 1/0"])] {
        let failure = target.apply(text, before, after, Some(BOOKKEEPING)).await.failure();
        assert_eq!((failure.code, failure.certainty), (Code::QueryFailed, Certainty::Definite), "{failure:?}");
        let said = words(&failure);
        let place = if before.is_empty() { "after" } else { "before" };
        for word in [
            "dbd's own",
            place,
            "migrations/0001_one.sql",
            "no part of the migration",
            "division by zero",
            "select 1/0",
        ] {
            assert!(said.contains(word), "`{word}` is not said: {said}");
        }
        assert!(target.seen().await.is_empty() && target.phases().await.is_empty(), "nothing of it is left");
    }
}

#[tokio::test]
async fn around_a_statement_that_runs_alone_they_come_before_its_rows_in_the_ledger() {
    let target = Target::new().await;
    let text = "create index concurrently t_by on t (by);";
    let (before, after) = (look("before"), look("after"));
    target.apply(text, &[&before], &[&after], Some(BOOKKEEPING)).await.applied();
    assert_eq!(target.seen().await, ["before 0 of 0", "after 0 of 1", "bookkeeping"]);
    assert_eq!(target.phases().await, ["started", "finished"]);
}

#[tokio::test]
async fn what_comes_after_a_statement_that_ran_alone_is_made_up_for_by_the_probe() {
    let target = Target::new().await;
    let text = "create index concurrently t_by on t (by);";
    let tried = target.apply(text, &[], &["insert into seen select 'after' from not_there"], Some(BOOKKEEPING)).await;
    let effect = tried.effect.clone();
    let failure = tried.failure();
    // The index is there: it would be wrong to say that the step did not happen.
    assert_eq!(failure.certainty, Certainty::InDoubt, "{failure:?}");
    assert!(words(&failure).contains("dbd's own"), "{failure:?}");
    assert_eq!(target.phases().await, ["started"]);
    let still = target.probe(text, &effect, &["insert into seen select 'after' from not_there"]).await;
    assert!(words(&still.expect_err("it fails again")).contains("dbd's own"));
    assert_eq!(target.phases().await, ["started"], "without it the step is not finished");
    let standing = target.probe(text, &effect, &["insert into seen values ('after')"]).await.expect("it can be probed");
    assert!(matches!(standing, Standing::Applied { .. }), "{standing:?}");
    assert_eq!(target.seen().await, ["after", "bookkeeping"]);
    assert_eq!(target.phases().await, ["started", "finished"]);
}

#[tokio::test]
async fn nothing_is_added_for_a_holder_that_lost_its_lease() {
    let target = Target::new().await;
    target.client.batch_execute("update dbd.lease set token = 'somebody else'").await.expect("a lease can be taken");
    for text in ["insert into seen values ('first');", "create index concurrently t_by on t (by);"] {
        let failure = target.apply(text, &["insert into seen values ('before')"], &[], None).await.failure();
        assert_eq!(failure.code, Code::LostOwnership, "{failure:?}");
    }
    assert!(target.seen().await.is_empty() && target.phases().await.is_empty());
}

#[tokio::test]
async fn a_lock_that_a_statement_of_dbds_own_waits_for_is_tried_for_like_any_other() {
    let target = Target::new().await;
    target.client.batch_execute("begin; lock table seen in access exclusive mode").await.expect("a lock can be taken");
    let failure = target.apply("select 1;", &["insert into seen values ('before')"], &[], None).await.failure();
    assert_eq!(failure.code, Code::LockTimeout, "{failure:?}");
    assert!(words(&failure).contains("dbd's own"), "{failure:?}");
    target.client.batch_execute("rollback").await.expect("it can be let go");
    target.apply("select 1;", &["insert into seen values ('before')"], &[], None).await.applied();
    assert_eq!(target.seen().await, ["before"]);
}

/// The backend that runs the migration: an INSERT of this kind leaves its session as it was.
const WHO: &str = "insert into seen values (pg_backend_pid()::text);";

#[tokio::test]
async fn steps_that_leave_nothing_behind_share_a_session_until_no_step_follows() {
    let target = Target::new().await;
    for text in [WHO, "create table a (id int); insert into seen values (pg_backend_pid()::text);"] {
        target.apply(text, &[], &[], None).await.applied();
    }
    let pids = target.seen().await;
    assert_eq!(pids[0], pids[1], "{pids:?}");
    let sessions =
        "select count(*)::text from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    assert_eq!(target.column(sessions).await, ["1"]);
    target.database.rest().await;
    // The server needs a moment to take leave.
    while target.column(sessions).await != ["0"] {}
}

#[tokio::test]
async fn a_shared_session_is_as_good_as_new() {
    let target = Target::new().await;
    let dirty = "create schema elsewhere;
        create temporary table only_here (id int);
        insert into seen values (set_config('search_path', 'elsewhere', false)), (set_config('application_name', 'mine', false)),
          (pg_advisory_lock(4711)::text), (pg_backend_pid()::text);";
    target.apply(dirty, &[], &[], None).await.applied();
    let look = "create table after_it (id int);
        insert into public.seen values (coalesce(to_regclass('only_here')::text, 'no temporary table')), (pg_backend_pid()::text),
          ((select string_agg(application_name, ' ') from pg_stat_activity where pid = pg_backend_pid())),
          ((select count(*)::text from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'));";
    let tried = target.apply(look, &[], &[], None).await;
    let name = tried.effect.application_name();
    tried.applied();
    let seen = target.seen().await;
    assert_eq!(seen[3], seen[5], "both ran in one session: {seen:?}");
    assert_eq!([&seen[4], &seen[6], &seen[7]], ["no temporary table", name.as_str(), "1"], "{seen:?}");
    assert_eq!(
        target.column("select oid::regclass::text from pg_class where relname = 'after_it'").await,
        ["after_it"]
    );
}

#[tokio::test]
async fn what_an_earlier_step_wrote_is_not_counted_as_written_by_the_next() {
    let target = Target::new().await;
    target.apply("insert into t values (2), (3);", &[], &[], None).await.applied();
    // As the guard of a way back asks.
    let asks = "insert into seen select relname || ' ' || n_tup_ins from pg_stat_xact_user_tables where n_tup_ins > 0 and relname = 't'";
    target.apply("create table a (id int);", &[], &[asks], None).await.applied();
    assert_eq!(target.seen().await, Vec::<String>::new());
    target.apply("insert into t values (4);", &[], &[asks], None).await.applied();
    assert_eq!(target.seen().await, ["t 1"]);
}

#[tokio::test]
async fn what_changes_what_sessions_begin_with_is_followed_by_a_new_one() {
    for text in [
        "alter database %d set search_path = elsewhere, public;",
        "do $$ begin execute format('alter database %I set search_path = elsewhere, public', current_database()); end $$;",
    ] {
        let target = Target::new().await;
        let name = target.column("select current_database()::text").await;
        target.apply("create schema elsewhere;", &[], &[], None).await.applied();
        target.apply(&text.replace("%d", &name[0]), &[], &[], None).await.applied();
        target.apply("create table after_it (id int);", &[], &[], None).await.applied();
        let place =
            target.column("select relnamespace::regnamespace::text from pg_class where relname = 'after_it'").await;
        assert_eq!(place, ["elsewhere"], "{text}");
    }
}

#[tokio::test]
async fn a_shared_session_that_was_ended_meanwhile_is_not_missed() {
    let target = Target::new().await;
    target.apply(WHO, &[], &[], None).await.applied();
    let end = "select pg_terminate_backend(what::int)::text from seen";
    assert_eq!(target.column(end).await, ["true"]);
    let gone = "select count(*)::text from pg_stat_activity where pid = (select what::int from seen limit 1)";
    while target.column(gone).await != ["0"] {}
    let tried = target.apply("insert into seen values ('again');", &[], &[], None).await;
    match tried.result {
        Ok(_) => {}
        // The goodbye had not been read yet: then nobody may say that nothing happened.
        Err(not) => assert_eq!(not.failure.certainty, Certainty::InDoubt, "{}", not.failure),
    }
    target.apply("insert into seen values ('once more');", &[], &[], None).await.applied();
}

#[tokio::test]
async fn a_failing_statement_is_named_although_others_were_sent_behind_it() {
    let target = Target::new().await;
    let mut text = "insert into seen values ('first');\n".repeat(40);
    text += "insert into seen\n  values (no_such_column);\n";
    text += &"insert into seen values ('last');\n".repeat(40);
    let tried = target.apply(&text, &[], &[], Some(BOOKKEEPING)).await;
    let not = tried.result.expect_err("it fails");
    assert_eq!(not.trace.len(), 41);
    assert_eq!(not.failure.place.as_ref().map(|at| (at.line, at.column)), Some((42, 11)), "{:?}", not.failure);
    assert!(target.seen().await.is_empty() && target.phases().await.is_empty());
}
