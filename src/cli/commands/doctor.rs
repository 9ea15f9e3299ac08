//! `dbd doctor`: the preflight alone.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::domain::event::{Check, CheckStatus};
use crate::domain::failure::Failure;
use crate::domain::finding::Allowance;
use crate::domain::ids::RunId;
use crate::domain::run::Run;
use crate::engine::runner::Runner;
use crate::engine::stop::stop;
use crate::engine::watch::Nobody;
use crate::ports::journal::Journal;
use serde_json::json;

/// Look whether everything a deployment needs is in place; changes nothing and records nothing
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The environment; every configured one if left out
    environment: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    let config = context.load()?;
    let names: Vec<String> = match &args.environment {
        Some(name) => vec![name.clone()],
        None => config.environments().iter().map(ToString::to_string).collect(),
    };
    if names.is_empty() {
        // Says how to define one.
        config.environment("dev")?;
    }
    let mut documents = Vec::new();
    let mut worst = ExitCode::Ok;
    for name in &names {
        let environment = config.environment(name)?;
        let id = RunId::new(&environment.name, crate::wire::now_ms());
        let mut world = crate::wire::world(&config, &environment, id.as_str())?;
        world.files = Box::new(crate::wire::files(&config, ""));
        let mut nowhere = Nowhere;
        let (_stopper, stopped) = stop();
        let mut run = Run::blank(id);
        run.request = Some(super::drive::request(&config, &environment, true, Allowance::default())?);
        let mut runner = Runner::new(&world, &mut nowhere, &Nobody, stopped, context.actor(&config), run);
        if let Some(journal) = crate::wire::journal_for_reading(&config)? {
            let id = runner.run.id.clone();
            runner.expect(super::drive::last_left(&journal, &id, &environment.database_url.place())?);
        }
        let checks = runner.checks().await;
        if checks.iter().any(|check| check.status == CheckStatus::Failed) {
            worst = ExitCode::Refused;
        }
        let mut shell = context.shell.borrow_mut();
        if shell.is_json() {
            documents.push(json!({"environment": name, "target": environment.database_url.place(), "checks": checks.iter().map(check_json).collect::<Vec<_>>(),
                "ok": !checks.iter().any(|check| check.status == CheckStatus::Failed)}));
        } else {
            shell.result(&text(name, &environment.database_url.place(), &checks))?;
        }
    }
    let mut shell = context.shell.borrow_mut();
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.doctor/1", "environments": documents}))?;
    }
    Ok(worst)
}

fn check_json(check: &Check) -> serde_json::Value {
    json!({
        "name": check.name, "status": check.status, "message": check.message, "duration_ms": check.duration_ms,
        "code": check.failure.as_ref().map(|failure| failure.code.as_str()),
        "causes": check.failure.as_ref().map(|failure| failure.causes.clone()).unwrap_or_default(),
        "hints": check.failure.as_ref().map(|failure| failure.hints.clone()).unwrap_or_default(),
    })
}

fn text(name: &str, place: &str, checks: &[Check]) -> String {
    let mut text = format!("{name}: {place}\n");
    for check in checks {
        let mark = match check.status {
            CheckStatus::Ok => "ok     ",
            CheckStatus::Warning => "warning",
            CheckStatus::Failed => "FAILED ",
            CheckStatus::Skipped => "skipped",
        };
        text.push_str(&format!("  {mark}  {:<18}  {}\n", check.name, check.message));
        if let Some(failure) = &check.failure {
            for cause in &failure.causes {
                text.push_str(&format!("{:31}because: {cause}\n", ""));
            }
            for hint in &failure.hints {
                text.push_str(&format!("{:31}remedy:  {hint}\n", ""));
            }
            text.push_str(&format!("{:31}more:    dbd explain {}\n", "", failure.code));
        }
    }
    text
}

/// A journal nothing is written to.
struct Nowhere;

impl Journal for Nowhere {
    fn origin(&self) -> String {
        "doctor".to_owned()
    }

    fn append(
        &mut self,
        _: crate::ports::journal::NewEvent<'_>,
    ) -> Result<crate::domain::event::Recorded, crate::ports::journal::AppendFailure> {
        Err(crate::ports::journal::AppendFailure::Stale)
    }

    fn read(&self, _: &RunId) -> Result<Vec<crate::domain::event::Recorded>, Failure> {
        Ok(Vec::new())
    }

    fn runs(&self) -> Result<Vec<crate::ports::journal::RunHead>, Failure> {
        Ok(Vec::new())
    }

    fn blob(&self, reference: &str) -> Result<Vec<u8>, Failure> {
        Err(Failure::new(crate::domain::code::Code::Bug, format!("the doctor has no text {reference}")))
    }

    fn head(&self) -> Result<(u64, String), Failure> {
        Ok((0, String::new()))
    }

    fn hash_at(&self, _: u64) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn lock(&self, _: &str, _: &str) -> Result<Box<dyn std::any::Any>, Failure> {
        Ok(Box::new(()))
    }

    fn locked_by(&self, _: &str) -> Option<String> {
        None
    }

    fn take_epoch(&mut self, _: &str, _: &RunId, _: &str, _: i64) -> Result<u64, Failure> {
        Ok(0)
    }

    fn checkpoint(&mut self) {}
}
