//! PostgreSQL's programs, sandboxes and what is made of them, against the PostgreSQL of this machine.

mod dump;
mod restore;
mod sandbox;

use dbd::adapters::sandbox::{CreateOrder, Locale, Sandbox, SandboxKind, Sandboxes, Settings};
use dbd::adapters::support::child::Cancel;
use dbd::adapters::support::os_user::ordinary_user;
use dbd::adapters::support::pg_bin::{Need, Programs, Search, find, known_places};
use dbd::adapters::support::psql;
use dbd::domain::connection::ConnectionUrl;
use dbd::domain::ids::{EffectId, RunId};
use std::path::Path;

/// A folder for one test, with what is needed to make sandboxes in it.
struct Workshop {
    folder: tempfile::TempDir,
    client: Programs,
    sandboxes: Sandboxes,
}

impl Workshop {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// With a server of the user's for sandboxes.
    async fn with(configured: Option<ConnectionUrl>) -> Self {
        // The server's user has to come through; and a socket's path is short, so not under the target folder.
        let folder = crate::support::room::folder("tools");
        // PG_BIN chooses the PostgreSQL under test, as it does for dbd itself.
        let pg_bin = std::env::var_os("PG_BIN").map(Into::into);
        let search = Search { pg_bin, places: known_places(), ..Search::default() };
        let client = find(&search, Need::Client, None).await.unwrap();
        let settings = Settings {
            server: Some(find(&search, Need::Server, None).await.unwrap()),
            client: client.clone(),
            run_as: ordinary_user(None, None).unwrap(),
            base: folder.path().to_owned(),
            cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
            configured,
            whose: String::new(),
        };
        Self { folder, client, sandboxes: Sandboxes::new(settings) }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn scratch(&self, id: &str) -> Sandbox {
        self.sandboxes.create(&scratch(id), &Cancel::never()).await.unwrap()
    }

    async fn sql(&self, url: &ConnectionUrl, sql: &str) -> Vec<String> {
        psql::query(&self.client, url, sql, &Cancel::never()).await.unwrap()
    }
}

impl Drop for Workshop {
    /// A test that failed half-way must not leave servers: they work in folders that are about to go.
    fn drop(&mut self) {
        for entry in fs_err::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            for process in dbd::adapters::support::process::working_in(&entry.path().join("data")) {
                process.signal(rustix::process::Signal::KILL);
            }
        }
    }
}

fn scratch(id: &str) -> CreateOrder {
    CreateOrder {
        id: id.to_owned(),
        kind: SandboxKind::Scratch,
        database: "shop".to_owned(),
        locale: Locale {
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            provider: Some('c'),
            locale: None,
        },
        server_settings: Vec::new(),
        persistent: false,
    }
}

fn effect(step: &str) -> EffectId {
    EffectId::derive("tests", &RunId::parse("deploy-dev-1").unwrap(), step, b"")
}

/// Makes an executable shell script.
///
/// Another process writes it: while this one has it open for writing, a child that another test forks at that moment would hold it
/// open too, and starting it would fail with "text file busy".
fn write_script(path: &Path, body: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
        .args([path.as_os_str(), body.as_ref()])
        .status();
    assert!(status.unwrap().success());
}
