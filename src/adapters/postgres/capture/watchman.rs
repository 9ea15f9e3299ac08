//! Opens a target that is left closed because this process died: a shell that waits on a pipe nobody writes to, and psql.
//!
//! However the process ends, the pipe closes, and the target is opened again within a moment, unless the names are swapped. The transaction
//! that swaps them looks whether the target is still closed, so a watchman that acts late does no harm to a later swap.

use super::pooler::Pooler;
use crate::adapters::support::child::LIBPQ_VARIABLES;
use crate::adapters::support::pg_bin::{Need, Search, find};
use crate::adapters::support::psql::{quote_ident, quote_literal};
use crate::domain::connection::ConnectionUrl;
use crate::ports::capture::Capture;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Waits for a word; without it, opens the target.
const WATCH: &str = r#"read -r word; [ "$word" = done ] && exit; run() { "$DBD_PSQL" --no-psqlrc --no-password --quiet --command "$1"; }; run "$DBD_SQL""#;

/// What it does, a pooler's clients being let go on once the target is open.
fn watch(pooler: Option<&Pooler>) -> String {
    let Some(pooler) = pooler else { return WATCH.to_owned() };
    let names = pooler.admin.libpq_environment();
    let there = names.iter().map(|(name, _)| format!("{name}=\"${}\"", at_pooler(name))).collect::<Vec<_>>().join(" ");
    format!("{WATCH}; unset {}; export {there}; run \"$DBD_RESUME\"", LIBPQ_VARIABLES.join(" "))
}

/// What a variable of the pooler is called until its turn comes.
fn at_pooler(name: &str) -> String {
    format!("DBD_POOLER_{name}")
}

/// On watch until it is told to leave, or this process is gone.
pub(super) struct Watchman {
    child: Child,
    pipe: ChildStdin,
}

impl Watchman {
    /// Sets one up; none where there is no psql.
    pub async fn stand(
        search: &Search,
        url: &ConnectionUrl,
        capture: &Capture,
        oid: u32,
        pooler: Option<&Pooler>,
    ) -> Option<Self> {
        let psql = find(search, Need::Client, None).await.ok()?.path("psql");
        let sql = format!(
            "DO $dbd$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE oid = {oid} AND datname = {} AND NOT datallowconn) \
             THEN ALTER DATABASE {} WITH ALLOW_CONNECTIONS true; END IF; END $dbd$",
            quote_literal(&capture.database),
            quote_ident(&capture.database),
        );
        let mut command = Command::new("/bin/sh");
        for variable in LIBPQ_VARIABLES {
            command.env_remove(variable);
        }
        // The password goes by the environment alone.
        command
            .args(["-c", &watch(pooler)])
            .envs(url.with_database(&capture.maintenance).libpq_environment())
            .envs(
                pooler
                    .iter()
                    .flat_map(|pooler| pooler.admin.libpq_environment())
                    .map(|(name, value)| (at_pooler(&name), value)),
            )
            .env("DBD_RESUME", pooler.map_or_else(String::new, Pooler::resume_command))
            .env("PGAPPNAME", "dbd watchman")
            .env("DBD_PSQL", psql)
            .env("DBD_SQL", sql)
            .current_dir("/")
            // Ctrl-C reaches this process alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let pipe = child.stdin.take()?;
        Some(Self { child, pipe })
    }

    /// Has it act at once.
    pub fn act(self) {
        let Self { mut child, pipe } = self;
        drop(pipe);
        let _ = child.wait();
    }

    /// Lets it go.
    pub fn leave(self) {
        let Self { mut child, mut pipe } = self;
        let _ = pipe.write_all(b"done\n");
        drop(pipe);
        let _ = child.wait();
    }
}
