//! The story `dbd demo` tells: a good run, a refused one, one rolled back, one killed and resumed, the audit.
//!
//! Nothing is staged but the stage. [`stage`] starts a scratch server, fills a shop and writes a project; [`acts`] runs this very
//! program there, as a user would, and looks afterwards whether the target and the journal agree with how it ended; [`teller`] says
//! it. However the story ends, by Ctrl-C too, the server is stopped and the folder removed.

mod acts;
mod stage;
mod teller;

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome, Stopped};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use acts::Ended;
use serde_json::{Value, json};
use stage::Stage;
use std::path::Path;
use teller::Teller;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells the whole story; `keep` leaves the project's folder where it is. Nothing is left running either way.
///
/// # Errors
/// [`Code::ToolsMissing`] before anything else is said; [`Code::Bug`] if an act does not end as told; [`Code::Cancelled`].
pub(crate) async fn tell(context: &Context, keep: bool) -> Outcome {
    let mut signals = Signals::listen()?;
    let begun_ms = crate::wire::now_ms();
    let mut stage = Stage::find(context).await?;
    let teller = Teller::new(context);
    let mut acts = Vec::new();
    let told = tokio::select! {
        biased;
        name = signals.next() => Err(Failure::new(Code::Cancelled, format!("the demo was stopped by {name}"))),
        told = acts::play(&mut stage, &teller, &mut acts) => told,
    };
    let cleared = stage.clear(keep).await;
    let took_ms = u64::try_from(crate::wire::now_ms() - begun_ms).unwrap_or_default();
    let (ended, kept) = match (told, cleared) {
        (Ok(()), Ok(kept)) => (Ok(()), kept),
        // Why the story broke off matters more than what could not be tidied up after it.
        (Err(failure), cleared) => (Err(failure), cleared.ok().flatten()),
        (Ok(()), Err(failure)) => (Err(failure), None),
    };
    if context.shell.borrow().is_json() {
        let document = document(&acts, ended.as_ref().err(), kept.as_deref(), took_ms);
        context.shell.borrow_mut().result_json(&document)?;
    } else {
        teller.curtain(ended.is_ok(), kept.as_deref(), took_ms)?;
    }
    match ended {
        Ok(()) => Ok(ExitCode::Ok),
        Err(failure) => Err(Stopped::With(ExitCode::Failed, failure)),
    }
}

/// The one document of `dbd demo --json`.
fn document(acts: &[Ended], failure: Option<&Failure>, kept: Option<&Path>, took_ms: u64) -> Value {
    let mut document = json!({
        "schema": "dbd.demo/1",
        "ok": failure.is_none(),
        "duration_ms": took_ms,
        "kept": kept,
        "acts": acts.iter().map(|act| json!({
            "name": act.name,
            "command": act.command,
            "exit": act.exit,
            "expected": act.expected,
            "run": act.run.as_ref().map(ToString::to_string),
        })).collect::<Vec<_>>(),
    });
    if let Some(failure) = failure {
        document["error"] = crate::cli::error::document(failure)["error"].take();
    }
    document
}

/// The signals that end a program from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::new(Code::Bug, "signals cannot be listened to").source(&error))
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them; its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
