//! [`Commands`](crate::ports::command::Commands) by `sh`.

use super::run;
use crate::adapters::support::child::{Cancel, kill_leftover};
use crate::domain::digest::Digest;
use crate::domain::event::{Artifact, CommandReport, TestCounts};
use crate::domain::failure::Failure;
use crate::domain::ids::EffectId;
use crate::domain::secret::Secret;
use crate::ports::command::{CommandOrder, Commands, Ran};
use crate::ports::fence::Fenced;
use async_trait::async_trait;
use std::path::PathBuf;
use std::time::Duration;

/// `sh`, working for one run.
#[derive(Clone, Debug)]
pub struct Shell {
    /// The project's root, where commands run.
    pub root: PathBuf,
    /// A private folder of the run, where processes are recorded.
    pub work_dir: PathBuf,
    /// What must not be seen in any output.
    pub secrets: Vec<Secret>,
}

impl Shell {
    fn record(&self, effect: &EffectId) -> PathBuf {
        self.work_dir.join(format!("{effect}.command.json"))
    }
}

#[async_trait(?Send)]
impl Commands for Shell {
    async fn run(&self, order: &CommandOrder) -> Result<Ran, Failure> {
        fs_err::create_dir_all(&self.work_dir)
            .map_err(|error| crate::adapters::support::files::unwritable(&self.work_dir, &error))?;
        let command = super::CommandOrder {
            command: &order.command,
            root: &self.root,
            database_url: Some(&order.database_url),
            app_url: order.app_url.as_ref().map(Secret::expose),
            run: &order.run,
            effect: &order.effect,
            env: order.application_name.iter().map(|name| ("PGAPPNAME".to_owned(), name.clone())).collect(),
            output: &order.output,
            secrets: self.secrets.clone(),
            timeout: Some(Duration::from_millis(order.timeout_ms)),
            record: Some(self.record(&order.effect)),
            label: order.label,
        };
        let done = run(command, &Cancel::never()).await?;
        let output = fs_err::read(&order.output).ok().map(|bytes| Artifact {
            name: order.output_name.clone(),
            digest: Digest::of(&bytes),
            bytes: bytes.len() as u64,
        });
        let counts = done.counts.map(|counts| TestCounts {
            passed: counts.passed,
            failed: counts.failed,
            skipped: counts.skipped,
        });
        Ok(Ran {
            report: CommandReport { status: done.exit, counts, output, previous: None },
            tail: done.tail.lines().map(str::to_owned).collect(),
        })
    }

    async fn fence(&self, effect: &EffectId) -> Result<Fenced, Failure> {
        let record = self.record(effect);
        let there = record.exists();
        kill_leftover(&record).await?;
        Ok(Fenced::after(
            effect.clone(),
            if there { "the command it had started is gone" } else { "no command of it is recorded" },
        ))
    }
}
