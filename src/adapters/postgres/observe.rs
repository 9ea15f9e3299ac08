//! Watching a statement: the locks it takes on what existed before, what it rewrites, what the server says it scans and builds.

use crate::domain::rehearsal::{StatementTrace, Window};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Error};

/// What existed before the migration began, and what was seen since.
pub struct Observer {
    names: BTreeMap<u32, String>,
    /// What existed before, by what it is called now, without schema.
    tables: BTreeMap<String, Vec<String>>,
    files: BTreeMap<u32, u32>,
    changed: BTreeMap<u32, i64>,
    held: BTreeSet<(String, String)>,
    exclusive_before: BTreeSet<String>,
    wal: String,
}

const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname), \
     COALESCE(pg_catalog.pg_relation_filenode(c.oid), 0::oid), c.relkind::text, \
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) \
         + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) ELSE 0 END \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbd') AND n.nspname !~ '^dbd_keep'";

const REMEMBER: &str = "CREATE TABLE IF NOT EXISTS dbd.watched (oid oid PRIMARY KEY); TRUNCATE dbd.watched; \
     INSERT INTO dbd.watched SELECT oid FROM pg_catalog.pg_class";

const LOCKS: &str = "SELECT relation, mode FROM pg_catalog.pg_locks WHERE pid = $1 AND locktype = 'relation' AND granted \
     AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

const FOREIGN_KEYS: &str =
    "SELECT conname::text, conrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conname = ANY ($1::text[])";

impl Observer {
    /// Looks at what exists. What an earlier unit of the same migration made does not count, so the `first` one writes down in the
    /// copy's ledger what there was.
    pub async fn begin(client: &Client, first: bool) -> Result<Self, Error> {
        if first {
            client.batch_execute(REMEMBER).await?;
        }
        let mut this = Self {
            names: BTreeMap::new(),
            tables: BTreeMap::new(),
            files: BTreeMap::new(),
            changed: BTreeMap::new(),
            held: BTreeSet::new(),
            exclusive_before: BTreeSet::new(),
            wal: String::new(),
        };
        for row in client.query(&format!("{RELATIONS} AND c.oid IN (SELECT oid FROM dbd.watched)"), &[]).await? {
            let (oid, bare, name, file): (u32, String, String, u32) = (row.get(0), row.get(2), row.get(3), row.get(4));
            this.names.insert(oid, name.clone());
            this.files.insert(oid, file);
            this.tables.entry(bare).or_default().push(name);
        }
        this.wal = wal(client).await?;
        Ok(this)
    }

    /// The locks of backend `pid` on what existed before, weaker ones left out.
    pub async fn locks_of(&self, client: &Client, pid: i32) -> Result<Vec<(String, String)>, Error> {
        let rows = client.query(LOCKS, &[&pid]).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let (oid, mode): (u32, String) = (row.get(0), row.get(1));
                self.names.get(&oid).map(|name| (name.clone(), mode))
            })
            .collect())
    }

    /// Fills in what the statement did, from the backend's own locks, the files of relations, and the server's messages.
    ///
    /// `seen` are locks somebody else saw the statement hold, where it has let go of them by now.
    pub async fn after(
        &mut self,
        client: &Client,
        trace: &mut StatementTrace,
        notices: &[String],
        seen: Vec<Window>,
    ) -> Result<(), Error> {
        let pid: i32 = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.get(0);
        let mut now: BTreeSet<(String, String)> = self.locks_of(client, pid).await?.into_iter().collect();
        now.extend(seen.iter().map(|one| (one.object.clone(), one.lock.clone())));
        trace.windows = seen.into_iter().filter(|one| one.lock != "AccessShareLock").collect();
        let mut new: Vec<(String, String)> = now.difference(&self.held).cloned().collect();
        if trace.transactional {
            self.held.extend(new.iter().cloned());
        }
        // Reading the catalogs of a view or function takes weak locks on everything it names; they hold nobody up.
        new.retain(|(_, mode)| mode != "AccessShareLock");
        trace.locks = new;
        let mut tables_rewritten = false;
        self.tables.clear();
        for row in client.query(RELATIONS, &[]).await? {
            let (oid, file, kind): (u32, u32, String) = (row.get(0), row.get(4), row.get(5));
            // The server's messages use the newest name, everything that is told the first.
            if let Some(name) = self.names.get(&oid) {
                self.tables.entry(row.get(2)).or_default().push(name.clone());
            }
            // Counted from the beginning of the transaction.
            let rows: i64 = row.get(6);
            if trace.transactional && self.names.contains_key(&oid) {
                let before = self.changed.insert(oid, rows).unwrap_or(0);
                if let Some(rows) = u64::try_from(rows - before).ok().filter(|rows| *rows > 0) {
                    trace.changed.push((self.names.get(&oid).cloned().unwrap_or_default(), rows));
                }
            }
            if self.files.get(&oid).is_some_and(|before| *before != file) {
                // An index gets a new file when its table is rewritten; the table says it all, unless it was the index alone.
                let name = self.names.get(&oid).cloned().unwrap_or_default();
                if kind != "S" {
                    trace.rewrites.push(name);
                }
                tables_rewritten |= kind != "S" && kind != "i";
                self.files.insert(oid, file);
            }
        }
        let before = std::mem::replace(&mut self.wal, wal(client).await?);
        let bytes: i64 = client
            .query_one(
                "SELECT pg_catalog.pg_wal_lsn_diff($1::text::pg_lsn, $2::text::pg_lsn)::bigint",
                &[&self.wal, &before],
            )
            .await?
            .get(0);
        trace.wal_bytes = u64::try_from(bytes).unwrap_or(0);
        let mut built_on = Vec::new();
        for notice in notices {
            built_on.extend(self.read_notice(notice, trace));
        }
        let mut checked = Vec::new();
        if !trace.fk_validations.is_empty() {
            // The server names only the constraint; one of a table that the migration made itself keeps nobody waiting.
            let rows = client.query(FOREIGN_KEYS, &[&trace.fk_validations]).await?;
            for row in &rows {
                if let Some(table) = self.names.get(&row.get::<_, u32>(1)) {
                    checked.push((row.get::<_, String>(0), table.clone()));
                }
            }
            trace.fk_validations.retain(|name| checked.iter().any(|(known, _)| known == name));
        }
        trace.danger = self.danger(trace, tables_rewritten, &built_on, &checked);
        self.exclusive_before
            .extend(trace.locks.iter().filter(|(_, mode)| mode == "AccessExclusiveLock").map(|(name, _)| name.clone()));
        Ok(())
    }

    /// Fills in what the server said before the statement failed. Nothing else can be asked: its transaction is gone, and its locks with it.
    pub fn after_failure(&self, trace: &mut StatementTrace, notices: &[String]) {
        for notice in notices {
            if let (true, Some(table)) = (notice.starts_with("rewriting table"), notice.split('"').nth(1)) {
                trace.rewrites.extend(self.before(trace, table));
            }
            self.read_notice(notice, trace);
        }
    }

    /// Reads the server's DEBUG1 messages (`src/backend/commands/tablecmds.c`, `src/backend/catalog/index.c`), and what it logs of temporary
    /// files where `log_temp_files` is on (`src/backend/storage/file/fd.c`).
    ///
    /// Gives the table an index is built on.
    fn read_notice(&self, notice: &str, trace: &mut StatementTrace) -> Option<String> {
        if notice.starts_with("temporary file:") {
            trace.temp_bytes += notice.rsplit(' ').next().and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0);
        }
        let quoted: Vec<&str> = notice.split('"').skip(1).step_by(2).collect();
        match quoted.as_slice() {
            [table] if notice.starts_with("verifying table") => trace.table_scans.extend(self.before(trace, table)),
            [index, table] if notice.starts_with("building index") => {
                // An index lies in the schema of its table.
                let on = self.before(trace, table)?;
                let (schema, _) = on.split_once('.')?;
                trace.index_builds.push(format!("{schema}.{}", crate::domain::sql::quote_ident(index)));
                return Some(on);
            }
            [constraint] if notice.starts_with("validating foreign key constraint") => {
                trace.fk_validations.push((*constraint).to_owned());
            }
            _ => {}
        }
        None
    }

    /// The whole name of what existed before, from the name alone or with its schema.
    pub fn whole(&self, name: &str) -> Option<String> {
        let whole = || self.names.values().find(|known| *known == name).cloned();
        self.tables.get(name).and_then(|names| names.first().cloned()).or_else(whole)
    }

    /// What existed before, of the name a message uses. It gives no schema, but the statement holds a lock on what it means.
    fn before(&self, trace: &StatementTrace, bare: &str) -> Option<String> {
        let names = self.tables.get(bare)?;
        let locked = |name: &&String| trace.locks.iter().chain(&self.held).any(|(object, _)| object == *name);
        names.iter().find(locked).or(names.first()).cloned()
    }

    fn danger(
        &self,
        trace: &StatementTrace,
        tables_rewritten: bool,
        built_on: &[String],
        checked: &[(String, String)],
    ) -> Vec<String> {
        // Also a lock an earlier statement of the transaction took keeps writers waiting.
        let no_writes = |table: &String| {
            trace.locks.iter().chain(&self.held).any(|(object, mode)| {
                object == table
                    && ["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]
                        .contains(&mode.as_str())
            })
        };
        let exclusive = |name: &String| {
            self.held.contains(&(name.clone(), "AccessExclusiveLock".to_owned()))
                || trace.locks.iter().any(|(object, mode)| object == name && mode == "AccessExclusiveLock")
        };
        let mut danger = Vec::new();
        if tables_rewritten {
            danger.push("rewrite");
        }
        if !tables_rewritten && trace.table_scans.iter().any(exclusive) {
            danger.push("scan_under_access_exclusive");
        }
        if !tables_rewritten && built_on.iter().any(no_writes) {
            danger.push("index_build_blocks_writes");
        }
        if checked.iter().any(|(_, table)| no_writes(table)) {
            danger.push("fk_validation_blocks_writes");
        }
        if trace.transactional && !self.exclusive_before.is_empty() && trace.duration_ms >= 200 {
            danger.push("statement_while_holding_access_exclusive");
        }
        danger.into_iter().map(str::to_owned).collect()
    }
}

async fn wal(client: &Client) -> Result<String, Error> {
    Ok(client.query_one("SELECT pg_catalog.pg_current_wal_insert_lsn()::text", &[]).await?.get(0))
}
