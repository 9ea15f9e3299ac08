//! One file per command: resolve the arguments, do one thing, report.

pub mod audit;
pub mod backup;
mod captures;
pub mod check;
pub mod compare;
pub mod completions;
pub mod decide;
pub mod demo;
pub mod doctor;
pub mod drift;
mod drive;
pub mod explain;
pub mod init;
pub mod look;
pub mod migrations;
pub mod resume;
pub mod rollback;
pub mod sandbox;
pub mod start;
pub mod watch;

use crate::config::Config;
use crate::domain::code::Code;
use crate::domain::event::Recorded;
use crate::domain::evolve::fold;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::run::Run;
use crate::ports::journal::Journal;
use crate::wire::OpenJournal;
use std::io::{BufRead, IsTerminal, Write};

/// A run and its events.
pub(super) struct Story {
    /// The fold.
    pub run: Run,
    /// What it is folded from.
    pub events: Vec<Recorded>,
}

/// A run of the journal.
pub(super) fn story(journal: &dyn Journal, id: &RunId) -> Result<Story, Failure> {
    let events = journal.read(id)?;
    if events.is_empty() {
        return Err(unknown_run(journal, id.as_str()));
    }
    let run = fold(id, &events).map_err(|misfit| {
        Failure::new(Code::IllegalHistory, format!("{id}: its history is not legal"))
            .source(&misfit)
            .hint("`dbd audit verify` says whether the journal was changed")
    })?;
    Ok(Story { run, events })
}

/// Every run of the journal, oldest first.
pub(super) fn stories(journal: &dyn Journal) -> Result<Vec<Story>, Failure> {
    journal.runs()?.into_iter().map(|head| story(journal, &head.run)).collect()
}

/// The run `text` names.
pub(super) fn find_run(journal: &dyn Journal, text: &str) -> Result<Story, Failure> {
    let id = RunId::parse(text).ok_or_else(|| unknown_run(journal, text))?;
    story(journal, &id)
}

fn unknown_run(journal: &dyn Journal, text: &str) -> Failure {
    let failure = Failure::new(Code::UnknownRun, format!("there is no run `{text}` in this journal"));
    let known: Vec<String> = journal.runs().unwrap_or_default().iter().map(|head| head.run.to_string()).collect();
    let nearest = known.iter().max_by(|a, b| strsim::jaro(a, text).total_cmp(&strsim::jaro(b, text)));
    match nearest {
        Some(near) => failure.hint(format!("the nearest is {near}; `dbd list` shows them all")),
        None => failure.hint("this journal holds no run yet; `dbd start <environment>` makes one"),
    }
}

/// The journal, which must be there.
pub(super) fn journal_there(config: &Config) -> Result<OpenJournal, Failure> {
    crate::wire::journal_for_reading(config)?.ok_or_else(|| {
        Failure::new(Code::UnknownRun, format!("there is no journal at {}", config.shown(&config.journal.path)))
            .hint("nothing was deployed from here yet; `dbd start <environment>` makes one")
    })
}

/// The journal for writing, which must be there.
pub(super) fn journal_to_write(config: &Config) -> Result<OpenJournal, Failure> {
    journal_there(config)?;
    crate::wire::journal(config)
}

/// What the store under the journal has to say, as a failure.
pub(crate) fn journal_problem(error: &dbd_journal::ReadError) -> Failure {
    let code = match error {
        dbd_journal::ReadError::Broken(_) => Code::JournalBroken,
        _ => Code::JournalUnusable,
    };
    Failure::new(code, "the journal cannot be read")
        .source(error)
        .hint("`dbd audit verify` says which event is the first bad one and what is still provable before it")
}

/// Asks a yes-or-no question on the terminal; `None` if there is nobody to ask.
pub(super) fn ask(question: &str) -> Option<bool> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return None;
    }
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
