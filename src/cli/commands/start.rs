//! `dbd start`.

use super::drive::{Enter, drive, request};
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::finding::Allowance;
use crate::domain::ids::RunId;
use crate::domain::run::Run;
use crate::ports::journal::Journal;

/// Deploy: look, back up, rehearse, test, apply, verify; rolled back by itself if anything is wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The environment, like dev
    environment: String,
    /// Stop before the target is touched, and print the plan
    #[arg(long)]
    dry_run: bool,
    /// Let a finding of this code pass (repeatable; `all` for every finding); needs --reason
    #[arg(long, value_name = "CODE")]
    allow: Vec<String>,
    /// Why; recorded with the run
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    if !args.allow.is_empty() && args.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(Failure::new(Code::BadArgument, "--allow needs a reason")
            .hint("say why it may pass: --reason \"the column is no longer read\"")
            .into());
    }
    let config = context.load()?;
    let environment = config.environment(&args.environment)?;
    let allow = Allowance { codes: args.allow, reason: args.reason };
    let request = request(&config, &environment, args.dry_run, allow)?;
    let mut journal = crate::wire::journal(&config)?;
    // Two runs of one environment cannot begin in the same millisecond, as one of them finds the target locked; the id is still made
    // to be new should a clock stand still.
    let mut now = crate::wire::now_ms();
    let known = journal.runs()?;
    while known.iter().any(|head| head.run == RunId::new(&environment.name, now)) {
        now += 1;
    }
    let run = Run::blank(RunId::new(&environment.name, now));
    drive(context, &config, &environment, &mut journal, run, Enter::Start(Box::new(request))).await
}
