//! [`Backups`] by PostgreSQL's programs.

use super::{
    RestoreCopyOrder, RestoreInPlaceOrder, dump, dumped, remove_leftovers, restore_copy, restore_in_place, verify,
};
use crate::adapters::support::child::{Cancel, kill_leftover, run};
use crate::adapters::support::pg_bin::{Need, Programs, Search, find};
use crate::adapters::support::psql::{explain, psql_spec};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::failure::Failure;
use crate::domain::ids::EffectId;
use crate::ports::backup::{Backups, DumpOrder, Dumped, FillOrder, Filled, Progress, RestoreOrder};
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// PostgreSQL's programs, working for one run.
#[derive(Clone, Debug)]
pub struct PgTools {
    /// Where the programs are looked for.
    pub search: Search,
    /// A private folder of the run: child processes are recorded here and scripts lie here while they run.
    pub work_dir: PathBuf,
}

impl PgTools {
    async fn client(&self, server_major: u32) -> Result<Programs, Failure> {
        find(&self.search, Need::Client, Some(server_major)).await
    }

    /// Where the process that works for `effect` is recorded.
    fn record(&self, effect: &EffectId) -> PathBuf {
        self.work_dir.join(format!("{effect}.process.json"))
    }

    /// Runs a script against an empty database by psql, which reads whatever `pg_dump` writes.
    ///
    /// # Errors
    /// What psql said.
    pub async fn run_file(&self, url: &ConnectionUrl, path: &Path) -> Result<(), Failure> {
        let bin = find(&self.search, Need::Client, None).await?;
        let spec = psql_spec(&bin, url, "dbd", None).args(["--file"]).args([path]);
        let done = run(spec, &Cancel::never()).await?;
        if done.status.success() {
            return Ok(());
        }
        Err(explain(&done, Code::StatementFailed, &format!("{} could not be loaded", path.display()), path))
    }

    fn make_work_dir(&self) -> Result<(), Failure> {
        fs_err::create_dir_all(&self.work_dir)
            .map_err(|error| crate::adapters::support::files::unwritable(&self.work_dir, &error))
    }
}

#[async_trait(?Send)]
impl Backups for PgTools {
    async fn programs(&self, server_major: u32) -> Result<String, Failure> {
        let programs = self.client(server_major).await?;
        Ok(format!("pg_dump {}.{} in {}", programs.version.major, programs.version.minor, programs.dir.display()))
    }

    async fn dump(&self, order: &DumpOrder, progress: Progress<'_>) -> Result<Dumped, Failure> {
        self.make_work_dir()?;
        let bin = self.client(order.server_major).await?;
        let expected = order.expected_bytes;
        let order = super::DumpOrder {
            bin: &bin,
            url: &order.url,
            snapshot: order.snapshot.clone(),
            exclude_schemas: ["dbd", "dbd_keep", "dbd_keep_*", "dbd_capture"].map(str::to_owned).to_vec(),
            final_path: order.path.clone(),
            effect: order.effect.clone(),
            record: Some(self.record(&order.effect)),
            timeout: None,
        };
        // The dump is compressed: how large it will be is not known, only that the database is larger.
        let finished =
            dump(&order, &Cancel::never(), &mut |bytes| progress(bytes, (bytes > expected).then_some(bytes))).await?;
        Ok(Dumped { digest: finished.digest, bytes: finished.bytes })
    }

    async fn fence(&self, effect: &EffectId) -> Result<Fenced, Failure> {
        let record = self.record(effect);
        let there = record.exists();
        kill_leftover(&record).await?;
        remove_leftovers(&self.work_dir, effect)?;
        let evidence = if there { "the program it had started is gone" } else { "no program of it is recorded" };
        Ok(Fenced::after(effect.clone(), evidence))
    }

    async fn finished(&self, fenced: &Fenced, path: &Path) -> Result<Option<Dumped>, Failure> {
        let found = dumped(path, fenced.effect()).await?;
        Ok(found.map(|finished| Dumped { digest: finished.digest, bytes: finished.bytes }))
    }

    async fn verify(&self, path: &Path, digest: &Digest) -> Result<(), Failure> {
        let bin = find(&self.search, Need::Client, None).await?;
        verify(&bin, path, digest, &Cancel::never()).await
    }

    async fn fill(&self, order: &FillOrder, progress: Progress<'_>) -> Result<Filled, Failure> {
        self.make_work_dir()?;
        let bin = self.client(order.target_major.max(order.server_major)).await?;
        let copy = RestoreCopyOrder {
            bin: &bin,
            dump: &order.dump,
            sandbox: &order.url,
            server_major: order.server_major,
            roles: order.roles.clone(),
            may_create_roles: order.may_create_roles,
            drop_public: order.drop_public,
            schema_only: order.schema_only,
            section: order.section,
            without_foreign_keys: order.without_foreign_keys,
            work_dir: &self.work_dir,
            record: Some(self.record(&order.effect)),
            timeout: None,
        };
        let restored =
            restore_copy(&copy, &Cancel::never(), &mut |at| progress(at.tables as u64, Some(at.of as u64))).await?;
        Ok(Filled { roles_kept: restored.owners_kept, notes: restored.notes })
    }

    async fn restore(&self, order: &RestoreOrder) -> Result<(), Failure> {
        self.make_work_dir()?;
        let bin = self.client(order.server_major).await?;
        verify(&bin, &order.dump, &order.digest, &Cancel::never()).await?;
        let in_place = RestoreInPlaceOrder {
            bin: &bin,
            dump: &order.dump,
            url: &order.url,
            server_major: order.server_major,
            prologue_sql: &order.prologue,
            epilogue_sql: &order.epilogue,
            effect: order.effect.clone(),
            work_dir: &self.work_dir,
            record: Some(self.record(&order.effect)),
            lock_timeout: Duration::from_millis(order.lock_timeout_ms),
            timeout: None,
        };
        let keep = order.keep_schemas.clone();
        restore_in_place(
            &in_place,
            &|entry| {
                super::of_capture(entry) || entry.kind == "SCHEMA" && keep.iter().any(|name| name == entry.tag.trim())
            },
            &Cancel::never(),
        )
        .await
    }
}
