//! [`Sandboxes`](crate::ports::sandbox::Sandboxes) on this machine or on the server the user named.

use super::{CreateOrder, Found, Locale, SandboxKind, SandboxLocation, Settings};
use crate::adapters::support::child::Cancel;
use crate::adapters::support::os_user::ordinary_user;
use crate::adapters::support::pg_bin::{Need, Search, find};
use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::failure::Failure;
use crate::ports::boundary::{Boundary, passed};
use crate::ports::sandbox::{Listed, Sandbox, Sandboxes};
use async_trait::async_trait;
use std::path::PathBuf;

/// Where and how sandboxes are made.
#[derive(Clone, Debug)]
pub struct SandboxPlace {
    /// Where PostgreSQL's programs are looked for.
    pub search: Search,
    /// The user a scratch server runs as, when dbd is root; found by itself if not named.
    pub user: Option<String>,
    /// The value of `SUDO_UID`.
    pub sudo_uid: Option<String>,
    /// The folder scratch servers live in.
    pub base: PathBuf,
    /// Where prepared data folders are kept.
    pub cache: PathBuf,
    /// The server the user named.
    pub configured: Option<ConnectionUrl>,
    /// Whose sandboxes these are: the project and its host.
    pub whose: String,
}

impl SandboxPlace {
    /// The manager, for a target of `server_major`.
    async fn manager(&self, server_major: Option<u32>) -> Result<super::Sandboxes, Failure> {
        let client = find(&self.search, Need::Client, server_major).await?;
        let (server, run_as) = match self.configured {
            Some(_) => (None, None),
            None => (
                Some(find(&self.search, Need::Server, server_major).await?),
                ordinary_user(self.user.as_deref(), self.sudo_uid.as_deref())?,
            ),
        };
        Ok(super::Sandboxes::new(Settings {
            server,
            client,
            run_as,
            base: self.base.clone(),
            cache: self.cache.clone(),
            configured: self.configured.clone(),
            whose: self.whose.clone(),
        }))
    }

    async fn found(&self, run: &str) -> Result<Vec<Found>, Failure> {
        let manager = self.manager(None).await?;
        let all = manager.list(&Cancel::never()).await?;
        let ours = |one: &Found| match &one.location {
            SandboxLocation::Configured { database, .. } => *database == manager.database_of(run),
            SandboxLocation::Scratch { .. } => true,
        };
        Ok(all.into_iter().filter(|one| one.id == run && ours(one)).collect())
    }
}

fn place(location: &SandboxLocation) -> String {
    match location {
        SandboxLocation::Scratch { folder } => format!("scratch server in {}", folder.display()),
        SandboxLocation::Configured { database, server } => format!("database {database} on {server}"),
    }
}

fn listed(found: &Found) -> Listed {
    Listed {
        id: found.id.clone(),
        run: found.id.clone(),
        place: place(&found.location),
        orphan: !found.persistent && found.owner_alive == Some(false),
        persistent: found.persistent,
    }
}

#[async_trait(?Send)]
impl Sandboxes for SandboxPlace {
    async fn check(&self, server_major: u32) -> Result<String, Failure> {
        if let Some(url) = &self.configured {
            find(&self.search, Need::Client, Some(server_major)).await?;
            return Ok(format!("a database on {}:{}", url.host(), url.port()));
        }
        let server = find(&self.search, Need::Server, Some(server_major)).await?;
        let user = ordinary_user(self.user.as_deref(), self.sudo_uid.as_deref())?;
        let who = user.map_or_else(String::new, |user| format!(", as {}", user.name));
        Ok(format!("a scratch server of PostgreSQL {}.{}{who}", server.version.major, server.version.minor))
    }

    async fn create(&self, run: &str, like: &ServerFacts, persistent: bool) -> Result<Sandbox, Failure> {
        let manager = self.manager(Some(like.version_num / 10_000)).await?;
        let kind = if self.configured.is_some() { SandboxKind::Configured } else { SandboxKind::Scratch };
        let order = CreateOrder {
            id: run.to_owned(),
            kind,
            database: like.database.clone(),
            locale: Locale {
                encoding: like.encoding.clone(),
                collate: like.collate.clone(),
                ctype: like.ctype.clone(),
                provider: like.locale_provider.chars().next(),
                locale: like.locale.clone(),
            },
            server_settings: like.server_settings.clone(),
            persistent,
        };
        let sandbox = manager.create(&order, &Cancel::never()).await?;
        Ok(Sandbox {
            place: place(&sandbox.location),
            location: serde_json::to_value(&sandbox.location).unwrap_or_default(),
            own_server: kind == SandboxKind::Scratch,
            url: sandbox.url,
            server_major: sandbox.server_major,
        })
    }

    async fn log_everything(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        match serde_json::from_value(sandbox.location.clone()) {
            Ok(SandboxLocation::Scratch { folder }) => {
                self.manager(Some(sandbox.server_major)).await?.log_everything(&folder).await
            }
            _ => Ok(()),
        }
    }

    async fn remove(&self, run: &str) -> Result<(), Failure> {
        let manager = self.manager(None).await?;
        let found = self.found(run).await?;
        for one in &found {
            manager.drop(&one.location, &Cancel::never()).await?;
        }
        if found.is_empty() {
            manager.drop_unclaimed(run, &Cancel::never()).await?;
        }
        passed(Boundary::SandboxRemoved, "");
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Listed>, Failure> {
        Ok(self.manager(None).await?.list(&Cancel::never()).await?.iter().map(listed).collect())
    }

    async fn gc(&self) -> Result<Vec<Listed>, Failure> {
        let removed = self.manager(None).await?.gc(&|_| false, &Cancel::never()).await?;
        Ok(removed.iter().map(listed).collect())
    }

    async fn find(&self, run: &str) -> Result<Option<ConnectionUrl>, Failure> {
        let manager = self.manager(None).await?;
        for one in self.found(run).await? {
            if let Some(sandbox) = manager.open(&one.location, &Cancel::never()).await? {
                return Ok(Some(sandbox.url));
            }
        }
        Ok(None)
    }
}
