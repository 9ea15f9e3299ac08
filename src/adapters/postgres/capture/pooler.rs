//! PgBouncer before the target: while the names change, its clients wait instead of being turned away.
//!
//! `PAUSE` lets transactions that are under way come to their end, closes the connections to the server, and holds clients back until `RESUME`.
//! It is a kindness and never a condition: a pooler that does not answer in time is gone on without. The console takes simple queries only.

use super::super::connect::{Session, connect};
use crate::adapters::support::psql::quote_ident;
use crate::domain::connection::ConnectionUrl;
use std::time::{Duration, Instant};
use tokio_postgres::SimpleQueryMessage;

/// How long it may take to be connected to the console, and to be answered there.
const ANSWER: Duration = Duration::from_secs(2);

/// How long transactions that are under way may take to end: for so long others wait already.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long letting clients go on is tried.
const RESUMING: Duration = Duration::from_secs(10);

/// A PgBouncer, by its console.
#[derive(Clone, Debug)]
pub struct Pooler {
    /// Its console: the database `pgbouncer`, as one of its `admin_users`.
    pub admin: ConnectionUrl,
    /// What clients call the target there.
    pub database: String,
}

impl Pooler {
    /// The command that lets clients go on.
    pub(super) fn resume_command(&self) -> String {
        format!("RESUME {}", quote_ident(&self.database))
    }

    /// What there is to be said of it beforehand, in a sentence.
    pub(super) async fn look(&self) -> String {
        let place = self.admin.place();
        let asked = async {
            let console = self.console().await?;
            let databases = ask(&console, "SHOW DATABASES").await?;
            let config = ask(&console, "SHOW CONFIG").await?;
            console.close().await;
            Ok::<_, String>((databases, config))
        };
        let (databases, config) = match asked.await {
            Ok(found) => found,
            Err(why) => {
                return format!(
                    "the pooler at {place} does not answer, so clients would be turned away for a moment: {why}"
                );
            }
        };
        let text = |row: &tokio_postgres::SimpleQueryRow, column: &str| {
            row.try_get(column).ok().flatten().unwrap_or_default().to_owned()
        };
        let admins = config.iter().find(|row| text(row, "key") == "admin_users").map(|row| text(row, "value"));
        let user = self.admin.user();
        if !admins.unwrap_or_default().split(',').any(|admin| admin.trim() == user) && user != "pgbouncer" {
            return format!(
                "{user} is not among the admin_users of the pooler at {place}, so clients would be turned away for a moment"
            );
        }
        if databases.iter().any(|row| text(row, "name") == self.database && text(row, "paused") == "1") {
            return format!(
                "the pooler at {place} holds the clients of {} back: somebody paused it ({})",
                self.database,
                self.resume_command()
            );
        }
        format!("clients wait at the pooler {place} meanwhile")
    }

    /// Holds clients back, once nobody is in the midst of a transaction.
    ///
    /// # Errors
    /// Why they are not held back, in words. Then they never are.
    pub(super) async fn pause(&self) -> Result<(), String> {
        let console = self.console().await?;
        let command = format!("PAUSE {}", quote_ident(&self.database));
        let why = match tokio::time::timeout(PATIENCE, console.client.simple_query(&command)).await {
            Ok(Ok(_)) => {
                console.close().await;
                return Ok(());
            }
            Ok(Err(error)) => said(&error),
            Err(_) => format!("transactions of its clients did not end within {PATIENCE:?}"),
        };
        drop(console);
        // It may be at it still.
        match self.resume().await {
            Ok(()) => Err(why),
            Err(resume) => Err(format!("{why}; and {resume}")),
        }
    }

    /// Lets clients go on, if they were held back.
    ///
    /// # Errors
    /// That they may still be waiting.
    pub(super) async fn resume(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let tried = async {
                let console = self.console().await?;
                let answer = ask(&console, &self.resume_command()).await;
                console.close().await;
                answer
            };
            let why = match tried.await {
                Ok(_) => return Ok(()),
                Err(why) if why.contains("not paused") || why.contains("no such database") => return Ok(()),
                Err(why) => why,
            };
            if begun.elapsed() > RESUMING {
                let place = self.admin.place();
                return Err(format!("clients may still wait at the pooler {place} ({}): {why}", self.resume_command()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn console(&self) -> Result<Session, String> {
        match tokio::time::timeout(ANSWER, connect(&self.admin, "dbd")).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(failure)) => {
                Err(std::iter::once(failure.message).chain(failure.causes).collect::<Vec<_>>().join("; "))
            }
            Err(_) => Err(format!("no connection within {ANSWER:?}")),
        }
    }
}

async fn ask(console: &Session, command: &str) -> Result<Vec<tokio_postgres::SimpleQueryRow>, String> {
    let answer = tokio::time::timeout(ANSWER, console.client.simple_query(command)).await;
    let messages = answer.map_err(|_| format!("no answer within {ANSWER:?}"))?.map_err(|error| said(&error))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}

fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |server| server.message().to_owned())
}
