//! Clients that note every commit the server acknowledged.
//!
//! Each transaction does several things at once and leaves a row in `acked` that says who did it, as which of its own, and what. What is
//! in the tables can so be held against what is in `acked`, and what is in `acked` against what the clients were told.

use super::rig::connect;
use dbd::domain::connection::ConnectionUrl;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio_postgres::Client;

/// The old shape.
pub const SCHEMA: &str = "
create type mood as enum ('good', 'bad');
create domain positive as numeric(12, 2) check (value > 0);
create table acked (client int, n bigint, account bigint not null, delta bigint not null, primary key (client, n));
create table accounts (id bigint generated always as identity primary key, balance bigint not null default 0, legacy text default 'l', note text);
create table audit (id serial primary key, account bigint not null, was bigint, became bigint);
create function audited() returns trigger language plpgsql as $$
begin insert into audit (account, was, became) values (new.id, old.balance, new.balance); return new; end $$;
create trigger audited after update of balance on accounts for each row execute function audited();
create table log (client int, n bigint, at timestamptz, extra json);
create table parents (id bigserial primary key, name text unique);
create table children (id bigserial primary key, parent bigint not null references parents on delete cascade on update cascade, what text);
create table scratch (id int primary key, t text);
create table things (
  id bigserial primary key, mood mood not null, price positive, tags text[], doc jsonb, raw bytea, at timestamptz, long text,
  twice numeric generated always as (price * 2) stored, span int4range, f double precision, c char(5), b bit varying(8), i interval);
create table parted (id int, k int, t text, primary key (id, k)) partition by list (k);
create table parted_0 partition of parted for values in (0);
create table parted_1 partition of parted for values in (1);
insert into accounts (note) select 'account ' || n from generate_series(1, 30) n;
insert into parents (name) select 'parent ' || n from generate_series(1, 5) n;
";

/// What is compared between the database that was gone back from and the one that came back, in columns the migration left alone.
pub const COMPARED: &[(&str, &str)] = &[
    ("acked", "client, n, account, delta"),
    ("audit", "id, account, was, became"),
    ("log", "client, n, at, extra"),
    ("parents", "id, name"),
    ("children", "id, parent, what"),
    ("scratch", "id, t"),
    ("things", "id, mood, price, tags, doc, raw, at, long, twice, span, f, c, b, i"),
    ("parted", "id, k, t"),
];

/// What the clients were told.
#[derive(Default)]
pub struct Told {
    /// Commits that were acknowledged.
    pub acked: BTreeSet<(i32, i64)>,
    /// Commits that may have happened: the connection ended before the answer.
    pub maybe: BTreeSet<(i32, i64)>,
}

pub struct Workload {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Told>>,
}

impl Workload {
    pub fn start(url: &ConnectionUrl, clients: i32) -> Self {
        Self::start_with(url, clients, true)
    }

    /// Without TRUNCATE, which keeps pg_dump waiting.
    pub fn start_with(url: &ConnectionUrl, clients: i32, truncates: bool) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..clients)
            .map(|client| tokio::spawn(run(url.clone(), client, truncates, stop.clone(), done.clone())))
            .collect();
        Self { stop, done, clients }
    }

    pub fn acknowledged(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more commits were acknowledged.
    pub async fn more(&self, count: u64) {
        let until = self.acknowledged() + count;
        while self.acknowledged() < until {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            assert!(self.clients.iter().any(|client| !client.is_finished()), "every client has ended");
        }
    }

    pub async fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.await.expect("a client does not fail");
            all.acked.extend(told.acked);
            all.maybe.extend(told.maybe);
        }
        all
    }
}

async fn run(url: ConnectionUrl, client: i32, truncates: bool, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Told {
    let mut told = Told::default();
    let mut session: Option<Client> = None;
    let mut balance = "balance";
    let mut n = 0_i64;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &session else {
            match connect(&url, &url.database()).await {
                Ok(open) => {
                    // A commit is acknowledged before it is on the disk: that one, too, must not be lost.
                    let _ = open.batch_execute("set synchronous_commit = off; set lock_timeout = '5s'").await;
                    session = Some(open);
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(3)).await,
            }
            continue;
        };
        n += 1;
        let (body, _) = transaction(client, n, balance, truncates);
        if let Err(error) = open.batch_execute(&format!("begin; {body}")).await {
            let code = error.code().map(|code| code.code().to_owned());
            match code.as_deref() {
                Some("42703") => balance = if balance == "balance" { "funds" } else { "balance" },
                // Another client was in the way.
                Some("40P01" | "55P03" | "40001" | "23503" | "23505" | "0A000") => {}
                Some("57P01" | "55000" | "3D000" | "08P01") | None => {}
                Some(other) => panic!("client {client}: {other}: {error:?}"),
            }
            if open.is_closed() || open.batch_execute("rollback").await.is_err() {
                session = None;
            }
            continue;
        }
        match open.batch_execute("commit").await {
            Ok(()) => {
                told.acked.insert((client, n));
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.as_db_error().is_some_and(|error| error.code().code().starts_with("23")) => {}
            Err(_) => {
                told.maybe.insert((client, n));
                session = None;
            }
        }
        // A debug build has to keep up with this.
        tokio::time::sleep(std::time::Duration::from_millis(4)).await;
    }
    told
}

/// The statements of one transaction, from nothing but who it is.
fn transaction(client: i32, n: i64, balance: &str, truncates: bool) -> (String, i64) {
    let mix =
        (n as u64).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(client as u64 * 1_442_695_040_888_963_407)
            >> 33;
    let account = mix % 30 + 1;
    let delta = (mix / 30 % 100) as i64 - 50;
    let key = client as i64 * 1_000_000 + n;
    let mut sql = format!(
        "update accounts set {balance} = {balance} + {delta} where id = {account}; \
         insert into acked values ({client}, {n}, {account}, {delta}); \
         insert into log values ({client}, {n}, clock_timestamp(), '{{\"n\":  {n}, \"q\": \"it''s \\\\ \\\"\"}}');"
    );
    match mix % 11 {
        0 => sql.push_str(&format!(
            "insert into parents (name) values ('p{key}'); insert into children (parent, what) select currval('parents_id_seq'), 'c' || g from generate_series(1, 3) g;"
        )),
        1 => sql.push_str(&format!("delete from parents where name = 'p{}';", key - 1)),
        2 => sql.push_str(&format!(
            "insert into things (mood, price, tags, doc, raw, at, long, span, f, c, b, i) values ('good', {}.25, array['a,b', '\"', null, '\\'], '{{\"k\": [1, null]}}', \
             '\\x00ff5c', now(), repeat(md5('{key}'), 200), '[1,{})', {} / 7.0, 'ab', b'101', '1 day 02:03:04.5');",
            mix % 1000 + 1,
            mix % 50 + 2,
            mix
        )),
        3 => sql.push_str("update things set mood = 'bad', price = coalesce(price, 1) + 1, doc = doc || '{\"x\": 1}' where id = (select max(id) from things);"),
        4 => sql.push_str("delete from things where id = (select min(id) from things) and (select count(*) from things) > 10;"),
        5 => sql.push_str(&format!("insert into scratch (id, t) values ({key}, 'x') on conflict do nothing;")),
        6 if truncates && n % 5 == 0 => sql.push_str("truncate scratch;"),
        7 => sql.push_str(&format!("insert into parted values ({key}, {}, 't');", mix % 2)),
        8 => sql.push_str(&format!("update parted set k = 1 - k, t = t || '.' where id = {};", key - 1)),
        9 => sql.push_str(&format!("update log set extra = null where client = {client} and n = {};", n - 1)),
        10 => sql.push_str(&format!(
            "savepoint a; insert into log values ({client}, -{n}, now(), null); rollback to a; update parents set id = id + 1000000 where name = 'p{}';",
            key - 1
        )),
        _ => {}
    }
    (sql, delta)
}

/// How the tables stand against what the clients were told: what is lost, what is invented, what does not add up.
pub async fn judge(client: &Client, told: &Told) -> (Vec<(i32, i64)>, Vec<(i32, i64)>, Vec<String>) {
    let rows = client.query("select client, n from acked", &[]).await.unwrap();
    let there: BTreeSet<(i32, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let lost = told.acked.difference(&there).copied().collect();
    let invented = there.iter().filter(|one| !told.acked.contains(one) && !told.maybe.contains(one)).copied().collect();
    let mut wrong = Vec::new();
    for (what, sql) in [
        (
            "balances",
            "select count(*) from (select a.id from accounts a left join acked k on k.account = a.id group by a.id, a.balance having a.balance <> coalesce(sum(k.delta), 0)) x",
        ),
        (
            "log rows without their transaction",
            "select count(*) from log l where n > 0 and not exists (select from acked k where k.client = l.client and k.n = l.n)",
        ),
        (
            "transactions without their log row",
            "select count(*) from acked k where (select count(*) from log l where k.client = l.client and k.n = l.n) <> 1",
        ),
        ("rows of savepoints that were rolled back", "select count(*) from log where n < 0"),
        ("audit rows", "select abs((select count(*) from audit) - (select count(*) from acked))"),
        ("orphans", "select count(*) from children c where not exists (select from parents p where p.id = c.parent)"),
        ("computed columns", "select count(*) from things where twice is distinct from price * 2"),
        (
            "sequences",
            "select count(*) from (select 1 where (select coalesce(max(id), 0) from things) >= nextval('things_id_seq') \
            union all select 1 where (select coalesce(max(id), 0) from audit) >= nextval('audit_id_seq')) x",
        ),
    ] {
        let count: i64 = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{what}: {error}")).get(0);
        if count != 0 {
            wrong.push(format!("{count} {what}"));
        }
    }
    (lost, invented, wrong)
}
