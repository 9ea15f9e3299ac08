//! How well hazards are told: several hundred migrations, each run on a real server, whose word is the truth.
//!
//! The truth is taken without dbd: as `psql` runs a file, with the locks, the files of relations and the server's own messages watched.
//! Against it stand what the text alone says, the text with the setup as an earlier file, the catalog, and dbd's own rehearsal.

use super::hazards::{Ground, dangers, run};
use crate::support::pg;
use dbd::adapters::postgres::Postgres;
use dbd::domain::hazard::facts::Facts;
use dbd::domain::hazard::{Danger, judge, observed, read};
use dbd::ports::database::Database;
use futures_util::{StreamExt, future, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// `== name`, the setup, `--`, the migration. `DBD_HAZARD_CASES` names a file of others in the same form.
const CASES: &str = include_str!("hazard_cases.sql");

/// What counts in the score: work that keeps others waiting. That something fails or only waits behind a lock does not.
const HEAVY: [Danger; 4] = [
    Danger::Rewrite,
    Danger::ScanUnderAccessExclusive,
    Danger::IndexBuildBlocksWrites,
    Danger::FkValidationBlocksWrites,
];

struct Sample<'a> {
    name: &'a str,
    setup: &'a str,
    migration: &'a str,
}

#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
fn samples() -> Vec<Sample<'static>> {
    let cases = match std::env::var("DBD_HAZARD_CASES") {
        Ok(file) => fs_err::read_to_string(file).unwrap().leak(),
        Err(_) => CASES,
    };
    let blocks = cases.split("\n== ").skip(1);
    let sample = |block: &'static str| {
        let (name, rest) = block.split_once('\n').expect("a case has a name");
        let (setup, migration) = match rest.strip_prefix("--\n") {
            Some(migration) => ("", migration),
            None => rest.split_once("\n--\n").unwrap_or_else(|| panic!("{name} has no migration")),
        };
        Sample { name, setup, migration }
    };
    blocks.map(sample).collect()
}

/// A session that keeps what the server says to it.
struct Witness {
    client: Client,
    said: Arc<Mutex<Vec<String>>>,
}

/// Every relation: its number, its name without schema, its kind and its file.
const RELATIONS: &str = "select c.oid, c.relname::text, c.relkind::text, coalesce(pg_relation_filenode(c.oid), 0::oid)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";

impl Witness {
    async fn new(database: &str) -> Self {
        let (client, mut connection) = tokio_postgres::Config::new()
            .host_path(&pg::server().socket)
            .user(pg::USER)
            .dbname(database)
            .connect(NoTls)
            .await
            .unwrap();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = said.clone();
        let messages = stream::poll_fn(move |context| connection.poll_message(context));
        tokio::spawn(messages.for_each(move |message| {
            if let Ok(AsyncMessage::Notice(notice)) = message {
                kept.lock().unwrap().push(notice.message().to_owned());
            }
            future::ready(())
        }));
        Self { client, said }
    }

    /// What a migration does to what existed before, and whether it came to its end.
    async fn truth(&self, migration: &str) -> (BTreeSet<Danger>, Option<String>) {
        // The last migration may have set something for its session.
        self.client.batch_execute("reset all; discard temp; set client_min_messages = debug1").await.unwrap();
        let mut files: BTreeMap<u32, u32> = BTreeMap::new();
        for row in self.client.query(RELATIONS, &[]).await.unwrap() {
            files.insert(row.get(0), row.get(3));
        }
        let mut found = BTreeSet::new();
        let mut block = false;
        for span in read::read(migration).unwrap() {
            let statement = &migration[span.start..span.start + span.len];
            let words: Vec<String> = without_comments(statement).split_whitespace().map(str::to_lowercase).collect();
            match words.first().map(String::as_str) {
                None => continue,
                Some("begin") => {
                    self.client.batch_execute("begin").await.unwrap();
                    block = true;
                    continue;
                }
                Some("commit") => {
                    self.client.batch_execute("commit").await.unwrap();
                    block = false;
                    continue;
                }
                Some(_) => {}
            }
            let concurrently = words.iter().any(|word| word.trim_matches(|c| "(,);".contains(c)) == "concurrently")
                && words[0] != "refresh";
            let alone = concurrently || words[0] == "vacuum" || statement.starts_with("reindex schema");
            if !alone && !block {
                self.client.batch_execute("begin").await.unwrap();
            }
            self.said.lock().unwrap().clear();
            if let Err(error) = self.client.batch_execute(statement).await {
                let _ = self.client.batch_execute("rollback").await;
                return (found, Some(format!("{error:?}")));
            }
            let said = std::mem::take(&mut *self.said.lock().unwrap());
            let held = match alone {
                true => Vec::new(),
                false => {
                    let sql =
                        "select relation, mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation'";
                    self.client.query(sql, &[]).await.unwrap()
                }
            };
            let held: BTreeSet<(u32, String)> = held.iter().map(|row| (row.get(0), row.get(1))).collect();
            let mut named: BTreeMap<String, Vec<u32>> = BTreeMap::new();
            let mut rewritten = BTreeSet::new();
            for row in self.client.query(RELATIONS, &[]).await.unwrap() {
                let (oid, name, kind, file): (u32, String, String, u32) =
                    (row.get(0), row.get(1), row.get(2), row.get(3));
                let Some(before) = files.get_mut(&oid) else { continue };
                if *before != file && (kind == "r" || kind == "m") {
                    rewritten.insert(oid);
                }
                *before = file;
                named.entry(name).or_default().push(oid);
            }
            if !rewritten.is_empty() {
                found.insert(Danger::Rewrite);
            }
            let no_writes = ["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"];
            let holds = |oid: &u32, modes: &[&str]| modes.iter().any(|mode| held.contains(&(*oid, (*mode).to_owned())));
            for message in said {
                let quoted: Vec<&str> = message.split('"').skip(1).step_by(2).collect();
                let tables = |name: &str| named.get(name).cloned().unwrap_or_default();
                if message.starts_with("verifying table") {
                    if tables(quoted[0]).iter().any(|oid| holds(oid, &["AccessExclusiveLock"])) {
                        found.insert(Danger::ScanUnderAccessExclusive);
                    }
                } else if message.starts_with("building index") {
                    if tables(quoted[1]).iter().any(|oid| !rewritten.contains(oid) && holds(oid, &no_writes)) {
                        found.insert(Danger::IndexBuildBlocksWrites);
                    }
                } else if message.starts_with("validating foreign key") {
                    let sql = "select conrelid from pg_constraint where contype = 'f' and conname = $1::text";
                    let tables = self.client.query(sql, &[&quoted[0]]).await.unwrap();
                    let mut tables = tables.iter().map(|row| row.get::<_, u32>(0));
                    if tables.any(|oid| files.contains_key(&oid) && holds(&oid, &no_writes)) {
                        found.insert(Danger::FkValidationBlocksWrites);
                    }
                }
            }
            if !alone && !block {
                self.client.batch_execute("commit").await.unwrap();
            }
        }
        if block {
            self.client.batch_execute("commit").await.unwrap();
        }
        (found, None)
    }
}

fn without_comments(statement: &str) -> String {
    let lines = statement.lines().filter(|line| !line.trim_start().starts_with("--"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Right alarms, false ones, missed ones, and sets of dangers that are exactly the server's.
#[derive(Clone, Copy, Default)]
struct Score {
    right: u32,
    wrong: u32,
    missed: u32,
    exact: u32,
}

impl Score {
    fn count(&mut self, said: &BTreeSet<Danger>, truth: &BTreeSet<Danger>) {
        self.right += u32::from(!said.is_empty() && !truth.is_empty());
        self.wrong += u32::from(!said.is_empty() && truth.is_empty());
        self.missed += u32::from(said.is_empty() && !truth.is_empty());
        self.exact += u32::from(said == truth);
    }

    fn recall(self) -> f64 {
        f64::from(self.right) / f64::from((self.right + self.missed).max(1))
    }

    fn precision(self) -> f64 {
        f64::from(self.right) / f64::from((self.right + self.wrong).max(1))
    }
}

fn heavy(dangers: BTreeSet<Danger>) -> BTreeSet<Danger> {
    dangers.into_iter().filter(|danger| HEAVY.contains(danger)).collect()
}

fn judged(facts: &Facts, migration: &str) -> BTreeSet<Danger> {
    let judged = judge::migration(&mut facts.clone(), "2.sql", migration, false).judgements;
    heavy(judged.into_iter().filter_map(|one| one.danger).collect())
}

/// With `--nocapture` it prints what is told otherwise, and the table of `docs/benchmarks.md`.
#[allow(clippy::print_stderr, reason = "the table is read by whoever asked for it")]
#[tokio::test]
async fn what_is_said_of_a_migration_is_what_the_server_does() {
    let ground = Ground::new().await;
    let witness = Witness::new(&ground.database).await;
    let samples = samples();
    let mut scores = [("text", 0.85), ("text, setup as an earlier file", 0.93), ("catalog", 0.93), ("observed", 0.98)]
        .map(|(basis, bar)| (basis, bar, Score::default()));
    let (mut lines, mut failed, mut hurt) = (Vec::new(), Vec::new(), 0);
    for (place, Sample { name, setup, migration }) in samples.iter().enumerate() {
        // What so many schemas leave dead in the catalogs makes reading them five times as slow.
        if place % 50 == 0 {
            witness.client.batch_execute("vacuum analyze").await.unwrap();
        }
        ground.prepared(setup).await;
        let (truth, failure) = witness.truth(migration).await;
        if let Some(failure) = failure {
            failed.push(format!("{name}: {failure}"));
            continue;
        }
        hurt += u32::from(!truth.is_empty());
        let url = ground.prepared(setup).await;
        let facts = Postgres::default().hazard_facts(url).await.unwrap();
        let mut folder = Facts::of_text();
        let _ = judge::migration(&mut folder, "1.sql", setup, false);
        let seen = run(url, migration).await;
        if let Some(failure) = &seen.failure {
            failed.push(format!("{name}: {failure:?}"));
            continue;
        }
        let verdict = judge::migration(&mut facts.clone(), "2.sql", migration, false);
        let laid_over =
            observed::observe(&facts, "2.sql", &verdict.statements, verdict.judgements, &seen.migrations[0]);
        let observed = heavy(laid_over.iter().filter_map(|one| one.danger).collect());
        let said =
            [judged(&Facts::of_text(), migration), judged(&folder, migration), judged(&facts, migration), observed];
        for ((basis, _, score), said) in scores.iter_mut().zip(&said) {
            score.count(said, &truth);
            if *said != truth {
                lines
                    .push(format!("{basis}: {name}: said {said:?}, the server {truth:?}, traced {:?}", dangers(&seen)));
            }
        }
    }
    for line in &lines {
        eprintln!("{line}");
    }
    eprintln!("{} migrations, {hurt} of them with a danger", samples.len());
    for (basis, _, score) in scores {
        eprintln!(
            "| {basis} | {} | {} | {} | {:.3} | {:.3} | {} |",
            score.right,
            score.wrong,
            score.missed,
            score.recall(),
            score.precision(),
            score.exact
        );
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for (basis, bar, score) in scores {
        assert!(score.recall() >= bar && score.precision() >= bar, "{basis} falls below {bar}:\n{}", lines.join("\n"));
    }
}

/// Types of columns, as people write them.
const TYPES: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(8,2)",
    "numeric(10,2)",
    "numeric(10,4)",
    "money",
    "text",
    "varchar",
    "varchar(5)",
    "varchar(9)",
    "char(3)",
    "char(5)",
    "\"char\"",
    "name",
    "citext",
    "bytea",
    "boolean",
    "uuid",
    "json",
    "jsonb",
    "xml",
    "date",
    "time",
    "time(3)",
    "timetz",
    "timestamp",
    "timestamp(3)",
    "timestamptz",
    "timestamptz(3)",
    "interval",
    "interval(3)",
    "inet",
    "cidr",
    "macaddr",
    "bit(3)",
    "bit(5)",
    "bit varying(3)",
    "bit varying(5)",
    "bit varying",
    "oid",
    "regclass",
    "integer[]",
    "bigint[]",
    "text[]",
    "varchar[]",
    "varchar(5)[]",
    "numeric(8,2)[]",
    "numeric[]",
    "int4range",
    "tsvector",
    "free",
    "tight",
    "longer",
    "mood",
    "pair",
    "point",
];

#[tokio::test]
async fn a_change_between_any_two_types_rewrites_exactly_what_is_said() {
    let ground = Ground::new().await;
    let tables: String = TYPES.iter().enumerate().map(|(at, ty)| format!("create table t{at} (a {ty}); ")).collect();
    let setup = format!(
        "create extension citext; create domain free as text; create domain tight as text check (value <> '');
         create domain longer as varchar(9); create type mood as enum ('ok'); create type pair as (a int); {tables}"
    );
    let url = ground.prepared(&setup).await;
    let facts = Postgres::default().hazard_facts(url).await.unwrap();
    let mut folder = Facts::of_text();
    let _ = judge::migration(&mut folder, "1.sql", &setup, false);
    let session = pg::connect(&ground.database).await;
    session.batch_execute("set timezone = 'UTC'").await.unwrap();
    let (facts, mut wrong, mut tried) = (Facts { utc: true, ..facts }, Vec::new(), 0);
    for zone in [true, false] {
        let facts = Facts { utc: zone, ..facts.clone() };
        session.batch_execute(if zone { "set timezone = 'UTC'" } else { "set timezone = 'Asia/Tokyo'" }).await.unwrap();
        for (at, old) in TYPES.iter().enumerate() {
            for new in TYPES {
                let times = old.starts_with("time") && new.starts_with("time");
                if !zone && !times {
                    continue;
                }
                let file = format!("select pg_relation_filenode('t{at}'::regclass)");
                let change = format!("alter table t{at} alter a type {new}");
                let before: u32 = session.query_one(&file, &[]).await.unwrap().get(0);
                session.batch_execute("begin").await.unwrap();
                // What cannot be assigned needs a USING of somebody's own, which always rewrites.
                if session.batch_execute(&change).await.is_ok() {
                    let after: u32 = session.query_one(&file, &[]).await.unwrap().get(0);
                    let truth = before != after;
                    tried += 1;
                    if judged(&facts, &change).contains(&Danger::Rewrite) != truth {
                        wrong.push(format!("catalog: {old} to {new}: the server rewrites: {truth}, in UTC: {zone}"));
                    }
                    if zone && judged(&folder, &change).contains(&Danger::Rewrite) != truth {
                        wrong.push(format!("folder: {old} to {new}: the server rewrites: {truth}"));
                    }
                }
                session.batch_execute("rollback").await.unwrap();
            }
        }
    }
    assert!(tried > 700, "{tried} pairs");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}
