//! Throw-away copies.

use crate::domain::connection::ConnectionUrl;
use crate::domain::event::ServerFacts;
use crate::domain::failure::Failure;
use async_trait::async_trait;

/// A sandbox that exists.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// How to find it again; holds no secret.
    pub location: serde_json::Value,
    /// How to connect to it.
    pub url: ConnectionUrl,
    /// Whether its server is one that dbd started, where roles may be made.
    pub own_server: bool,
    /// The major version of its server.
    pub server_major: u32,
    /// What people see of it.
    pub place: String,
}

/// A sandbox that was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Listed {
    /// Its name, as `dbd sandbox drop` takes it.
    pub id: String,
    /// The run or the name it was made for.
    pub run: String,
    /// What people see of it.
    pub place: String,
    /// Whether its owner is gone and it was not meant to stay.
    pub orphan: bool,
    /// Whether it was made to stay.
    pub persistent: bool,
}

/// Throw-away copies.
#[async_trait(?Send)]
pub trait Sandboxes {
    /// Whether a sandbox could be made: the programs, the user, the room. Says where it would be.
    async fn check(&self, server_major: u32) -> Result<String, Failure>;

    /// Makes an empty database, like the target in encoding and locale, named after `run`. One of the same name is removed first.
    async fn create(&self, run: &str, like: &ServerFacts, persistent: bool) -> Result<Sandbox, Failure>;

    /// Has a filled sandbox log what it writes, as the target does, where that is ours to say. Nobody may be connected to it.
    async fn log_everything(&self, sandbox: &Sandbox) -> Result<(), Failure>;

    /// Removes the sandboxes named after `run`, and whatever is at work in them. Removing what is gone is no error.
    async fn remove(&self, run: &str) -> Result<(), Failure>;

    /// Every sandbox on this machine and on the configured server.
    async fn list(&self) -> Result<Vec<Listed>, Failure>;

    /// Removes the orphans; returns what was removed.
    async fn gc(&self) -> Result<Vec<Listed>, Failure>;

    /// How to connect to the sandbox named after `run`, if there is one.
    async fn find(&self, run: &str) -> Result<Option<ConnectionUrl>, Failure>;
}
