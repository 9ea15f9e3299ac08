//! A target on the test server, and everything a capture of it is called with.

use crate::support::pg;
use dbd::adapters::pg_tools::PgTools;
use dbd::adapters::postgres::Postgres;
use dbd::adapters::postgres::capture::PostgresCaptures;
use dbd::adapters::support::pg_bin::{Search, known_places};
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::digest::Digest;
use dbd::domain::failure::Failure;
use dbd::domain::ids::{EffectId, RunId};
use dbd::domain::schema::fingerprint;
use dbd::ports::backup::{Backups, DumpOrder};
use dbd::ports::capture::{
    Backlog, Base, Capture, CaptureOrder, Captures, CatchUpOrder, Shadow, ShadowOrder, Started, SwapOrder, Swapped, Way,
};
use dbd::ports::database::{Anchor, Database, Holder};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

/// Whom the target belongs to, and who does everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Superuser,
    /// A plain role that owns the database and may create others; for a slot it may replicate, too.
    Owner,
}

pub struct Rig {
    pub url: ConnectionUrl,
    pub capture: Capture,
    pub captures: PostgresCaptures,
    pub tools: PgTools,
    pub holder: Holder,
    pub own: Vec<String>,
    pub modified: BTreeMap<String, Vec<String>>,
    pub wal_limit: Option<u64>,
    pub proof_budget: Duration,
    /// What is run on the target when the swap says that it closes it now, which is the last moment anybody can write.
    pub at_closing: Option<String>,
    /// What the last swap told, and when.
    pub steps: std::cell::RefCell<Vec<String>>,
    folder: tempfile::TempDir,
}

pub fn tools(work_dir: PathBuf) -> PgTools {
    // Not the test server's own word: the process that is killed must not start a server.
    #[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
    let pg_bin = std::env::var_os("PG_BIN").map(Into::into);
    let search = Search { pg_bin, places: known_places(), ..Search::default() };
    PgTools { search, work_dir }
}

impl Rig {
    /// A new target that holds what `schema` makes.
    pub async fn new(way: Way, who: Who, schema: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let database = format!("app_{}_{number}", std::process::id());
        let admin = pg::connect("postgres").await;
        let role = match who {
            Who::Superuser => pg::USER.to_owned(),
            Who::Owner => {
                let role = format!("owner_{}_{number}", std::process::id());
                let replication = if way == Way::Slot { "replication" } else { "" };
                admin.batch_execute(&format!("create role {role} login createdb {replication}")).await.unwrap();
                role
            }
        };
        admin.batch_execute(&format!("create database {database} template template0 owner {role}")).await.unwrap();
        let socket = pg::server().socket.to_string_lossy().into_owned();
        let url = ConnectionUrl::of_socket(&socket, &role, &database);
        let run = RunId::parse(&format!("deploy-dev-{}{number}", std::process::id())).unwrap();
        let capture = Capture { run: run.clone(), way, database, maintenance: "postgres".to_owned() };
        let rig = Self::of(url, capture);
        rig.client().await.batch_execute(schema).await.unwrap();
        Postgres::default().prepare(&rig.url, None, &rig.holder).await.unwrap();
        rig
    }

    /// Everything again for a target that is there: what another process would have.
    pub fn of(url: ConnectionUrl, capture: Capture) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let holder =
            Holder::new(capture.run.clone(), "test/journal".to_owned(), 1, "b3:0123456789abcdef", "tests".to_owned());
        Self {
            url,
            captures: PostgresCaptures {
                backups: Box::new(tools(folder.path().join("shadow"))),
                search: tools(folder.path().to_owned()).search,
                pooler: None,
            },
            tools: tools(folder.path().join("work")),
            capture,
            holder,
            own: Vec::new(),
            modified: BTreeMap::new(),
            wal_limit: None,
            proof_budget: Duration::from_secs(20),
            at_closing: None,
            steps: std::cell::RefCell::default(),
            folder,
        }
    }

    pub fn effect(&self, name: &str) -> EffectId {
        EffectId::derive("test", &self.capture.run, name, b"")
    }

    pub fn anchor(&self) -> Anchor {
        Anchor { origin: "test/journal".to_owned(), seq: 7, hash: "b3:seven".to_owned() }
    }

    pub async fn client(&self) -> Client {
        self.client_of(&self.url.database()).await.unwrap()
    }

    pub async fn client_of(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        connect(&self.url, database).await
    }

    /// A superuser's session in a database.
    pub async fn admin(&self, database: &str) -> Client {
        pg::connect(database).await
    }

    pub async fn start(&self) -> Result<Started, Failure> {
        let effect = self.effect("start");
        self.captures.start(&CaptureOrder { url: &self.url, capture: &self.capture, effect: &effect }).await
    }

    pub async fn base(&self) -> Result<Base, Failure> {
        let effect = self.effect("base");
        self.captures.base(&CaptureOrder { url: &self.url, capture: &self.capture, effect: &effect }, None).await
    }

    /// The dump at a base, and the shadow of it.
    pub async fn shadow(&self) -> Result<Shadow, Failure> {
        let base = self.base().await?;
        let path = self.folder.path().join("dump");
        let order = DumpOrder {
            url: self.url.clone(),
            snapshot: base.snapshot.name.clone(),
            server_major: 0,
            path: path.clone(),
            effect: self.effect("dump"),
            expected_bytes: 0,
        };
        self.tools.dump(&order, &|_, _| ()).await?;
        drop(base.snapshot);
        let effect = self.effect("shadow");
        let order = ShadowOrder {
            url: &self.url,
            capture: &self.capture,
            effect: &effect,
            dump: path,
            seen: &base.seen,
            contents: &base.contents,
            tracking: None,
        };
        self.captures.raise_shadow(&order).await
    }

    /// A migration as dbd runs one: marked, with its row in the ledger, covered at its end. Gives its transaction.
    pub async fn migrate(&self, sql: &str) -> String {
        let client = self.client().await;
        let row = format!(
            "INSERT INTO dbd.ledger (effect_id, phase, run_id, step, digest, origin, seq, hash, token) \
             VALUES ('migrate', 'applied', '{}', 'one', 'd', 'test/journal', 3, 'b3:three', '{}')",
            self.capture.run, self.holder.token
        );
        let cover = self.captures.cover(&self.capture).join(";");
        let told = |error: tokio_postgres::Error| panic!("the migration: {:?}", error.as_db_error());
        client
            .batch_execute(&format!("BEGIN; SET LOCAL dbd.migrating = 'on'; {row}; {sql}; {cover}"))
            .await
            .unwrap_or_else(told);
        let xid = client.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
        client.batch_execute("COMMIT").await.unwrap();
        xid
    }

    pub async fn catch_up(&self) -> Result<Backlog, Failure> {
        let effect = self.effect("catch up");
        let order = CatchUpOrder {
            url: &self.url,
            capture: &self.capture,
            effect: &effect,
            own: &self.own,
            budget: Duration::from_secs(20),
            wal_limit: self.wal_limit,
        };
        self.captures.catch_up(&order).await
    }

    pub async fn fingerprint(&self) -> Digest {
        fingerprint(&Postgres::default().catalog(&self.url, &[]).await.unwrap())
    }

    pub async fn swap(&self, expected: Option<&Digest>) -> Result<Swapped, Failure> {
        let (effect, anchor) = (self.effect("swap"), self.anchor());
        let begun = std::time::Instant::now();
        let order = SwapOrder {
            url: &self.url,
            capture: &self.capture,
            holder: &self.holder,
            effect: &effect,
            anchor: &anchor,
            own: &self.own,
            expected,
            tracking: None,
            modified: &self.modified,
            fence_timeout: Duration::from_secs(20),
            proof_budget: self.proof_budget,
            progress: &|text| {
                self.steps.borrow_mut().push(format!("{text} at {:?}", begun.elapsed()));
                if let (Some(sql), "closing the target") = (&self.at_closing, text) {
                    pg::program(
                        "psql",
                        &["--dbname", &self.url.database(), "--set", "ON_ERROR_STOP=1", "--command", sql],
                    );
                }
            },
        };
        self.captures.swap(&order).await
    }

    pub async fn settle(&self) -> Vec<String> {
        let effect = self.effect("settle");
        let order = CaptureOrder { url: &self.url, capture: &self.capture, effect: &effect };
        self.captures.settle(&order).await.unwrap()
    }

    pub async fn end(&self) {
        let effect = self.effect("end");
        let order = CaptureOrder { url: &self.url, capture: &self.capture, effect: &effect };
        self.captures.end(&order).await.unwrap();
    }

    /// Whether nothing at all is left of the capture, but the database that was gone back from.
    pub async fn is_clean(&self) -> bool {
        let left = self.captures.leftovers(&self.url).await.unwrap();
        let client = self.client().await;
        let schemas = client
            .query_one("select count(*) from pg_namespace where nspname in ('dbd_capture', 'dbd_shadow')", &[])
            .await
            .unwrap();
        left.iter().all(|one| one.kind == "failed database") && schemas.get::<_, i64>(0) == 0
    }
}

/// A session as the role of `url`.
pub async fn connect(url: &ConnectionUrl, database: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(url.host()).user(url.user()).dbname(database).application_name("app");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Every row of every table of the user's, as text, by table and in order.
pub async fn contents(client: &Client, tables: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    client.batch_execute("set timezone = 'UTC'; set extra_float_digits = 1").await.unwrap();
    for (table, columns) in tables {
        let sql = format!("select row({columns})::text from {table} order by 1");
        let rows = client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{table}: {error}"));
        all.insert((*table).to_owned(), rows.iter().map(|row| row.get(0)).collect());
    }
    all
}
