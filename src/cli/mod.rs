//! The command line: arguments to commands, results to streams, endings to exit codes.

mod commands;
pub mod error;
mod evidence;
pub mod exit;
mod progress;
#[cfg(test)]
mod reference;
pub mod render;
pub mod shell;

use crate::config::{self, Config};
use crate::domain::event::Actor;
use crate::domain::failure::Failure;
use clap::{CommandFactory, Parser, Subcommand};
use exit::ExitCode;
use shell::{ColorChoice, Shell, ShellOptions, Verbosity};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Deploys PostgreSQL migrations: rehearsed on real data, safe to kill anywhere, taken back by itself
#[derive(Debug, Parser)]
#[command(name = "dbd", version, disable_help_subcommand = true, disable_help_flag = true, max_term_width = 100)]
#[command(
    after_help = "Start here: `dbd init` writes a commented dbd.toml, `dbd doctor dev` looks whether everything is in place, \
    `dbd start dev` deploys."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Start as if in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Read this file instead of dbd.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use this journal
    #[arg(long, global = true, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Say less
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    verbose: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto, hide_default_value = true)]
    color: ColorChoice,
    /// Answer yes to every question
    #[arg(long, global = true)]
    yes: bool,
    /// Print help
    #[arg(short, long, global = true, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Start(commands::start::Args),
    Resume(commands::resume::Args),
    Rollback(commands::rollback::Args),
    Cancel(commands::decide::CancelArgs),
    Watch(commands::watch::Args),
    Approve(commands::decide::ApproveArgs),
    Reject(commands::decide::RejectArgs),
    Status(commands::look::StatusArgs),
    List(commands::look::ListArgs),
    Show(commands::look::ShowArgs),
    Logs(commands::look::LogsArgs),
    Drift(commands::drift::Args),
    Audit(commands::audit::Args),
    Compare(commands::compare::Args),
    Check(commands::check::Args),
    Doctor(commands::doctor::Args),
    Migrations(commands::migrations::Args),
    Sandbox(commands::sandbox::Args),
    Backup(commands::backup::Args),
    Explain(commands::explain::Args),
    Init(commands::init::Args),
    Demo(commands::demo::Args),
    Completions(commands::completions::Args),
    Man(commands::completions::ManArgs),
}

/// Why a command ended early.
pub(crate) enum Stopped {
    /// Something is wrong; the code decides how the process ends.
    Because(Failure),
    /// As [`Stopped::Because`], with an ending of its own.
    With(ExitCode, Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Stopped::Because(failure)
    }
}

/// What a command gives back.
pub(crate) type Outcome = Result<ExitCode, Stopped>;

/// What every command can use.
pub(crate) struct Context {
    /// The streams.
    pub shell: RefCell<Shell>,
    /// Where the command was started.
    pub directory: PathBuf,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--journal`.
    pub journal: Option<PathBuf>,
    /// `--yes`.
    pub yes: bool,
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
}

impl Context {
    /// The configuration; its warnings are said.
    pub fn load(&self) -> Result<Config, Failure> {
        let config = config::load(&self.directory, self.config.as_deref(), self.journal.as_deref(), &self.variables)?;
        for warning in &config.warnings {
            self.shell.borrow_mut().warn(warning);
        }
        Ok(config)
    }

    /// How wide stdout is: the terminal there, else what `COLUMNS` says, as for most programs that print tables. `None` where nothing
    /// tells, and tables take the room they need.
    pub fn width(&self) -> Option<u16> {
        let terminal = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col);
        let named = || self.variables.get(config::env::COLUMNS).and_then(|columns| columns.trim().parse().ok());
        terminal.filter(|columns| *columns > 0).or_else(named).filter(|columns| *columns > 20)
    }

    /// Who is asking.
    pub fn actor(&self, config: &Config) -> Actor {
        let via = if config.variable("DBD_ACTOR").is_some() { "DBD_ACTOR" } else { "os" };
        let kind = if config.is_ci() { "system" } else { "human" };
        // A container may have no variable that tells; the machine still knows.
        let id = match config.actor() {
            name if name == "unknown" => crate::wire::user_name().unwrap_or(name),
            name => name,
        };
        Actor { kind: kind.to_owned(), id, via: via.to_owned(), host: crate::wire::host_name() }
    }
}

/// Runs the command line of this process; the whole program.
#[must_use]
pub fn run() -> std::process::ExitCode {
    let variables = config::env::process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return bad_arguments(&error, &variables),
    };
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let options = ShellOptions { color: cli.global.color, verbosity, json: cli.global.json };
    let context = Context {
        shell: RefCell::new(Shell::of_process(options, &variables)),
        directory: cli.global.directory.unwrap_or_else(|| PathBuf::from(".")),
        config: cli.global.config,
        journal: cli.global.journal,
        yes: cli.global.yes,
        variables,
    };
    if let Err(failure) = drill(&context.variables) {
        context.shell.borrow_mut().error(&failure);
        return ExitCode::of(failure.code).into();
    }
    // One thread: children are tied to the thread that starts them, and must end when this process does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(&context, cli.command));
            // What is still under way (a session that is being closed) is not worth waiting for.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => {
            Err(Failure::new(crate::domain::code::Code::Bug, "the runtime cannot be started").source(&error).into())
        }
    };
    match outcome {
        Ok(code) => code.into(),
        Err(stopped) => {
            let (code, failure) = match stopped {
                Stopped::Because(failure) => (ExitCode::of(failure.code), failure),
                Stopped::With(code, failure) => (code, failure),
            };
            context.shell.borrow_mut().error(&failure);
            code.into()
        }
    }
}

/// Begins a crash drill, if the environment asks for one.
fn drill(variables: &BTreeMap<String, String>) -> Result<(), Failure> {
    let named = |name: &str| variables.get(name).filter(|text| !text.is_empty());
    let at = named(config::env::DBD_CRASH_AT).map(|text| {
        text.parse().map_err(|_| {
            Failure::new(crate::domain::code::Code::BadValue, format!("DBD_CRASH_AT is `{text}`, which is no number"))
                .hint("name the gap to be killed in by its number, from 1, or take the variable away")
        })
    });
    let (at, log) = (at.transpose()?, named(config::env::DBD_CRASH_LOG).map(PathBuf::from));
    if at.is_some() || log.is_some() {
        crate::ports::boundary::arm(crate::ports::boundary::Drill { at, log });
    }
    Ok(())
}

/// What clap has to say: help and version on stdout, everything else as an error with the status for it.
fn bad_arguments(error: &clap::Error, variables: &BTreeMap<String, String>) -> std::process::ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::Ok.into();
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let options = ShellOptions { json: true, verbosity: Verbosity::Quiet, ..ShellOptions::default() };
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let failure =
            Failure::new(crate::domain::code::Code::BadArgument, message).hint("`dbd --help` lists the commands");
        Shell::of_process(options, variables).error(&failure);
    } else {
        let _ = error.print();
    }
    ExitCode::Usage.into()
}

async fn dispatch(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Start(args) => commands::start::run(context, args).await,
        Command::Resume(args) => commands::resume::run(context, args).await,
        Command::Rollback(args) => commands::rollback::run(context, args).await,
        Command::Cancel(args) => commands::decide::cancel(context, args).await,
        Command::Watch(args) => commands::watch::run(context, args).await,
        Command::Approve(args) => commands::decide::approve(context, args).await,
        Command::Reject(args) => commands::decide::reject(context, args).await,
        Command::Status(args) => commands::look::status(context, &args),
        Command::List(args) => commands::look::list(context, &args),
        Command::Show(args) => commands::look::show(context, &args),
        Command::Logs(args) => commands::look::logs(context, args).await,
        Command::Audit(args) => commands::audit::run(context, args).await,
        Command::Drift(args) => commands::drift::run(context, args).await,
        Command::Compare(args) => commands::compare::run(context, args).await,
        Command::Check(args) => commands::check::run(context, args).await,
        Command::Doctor(args) => commands::doctor::run(context, args).await,
        Command::Migrations(args) => commands::migrations::run(context, args).await,
        Command::Sandbox(args) => commands::sandbox::run(context, args).await,
        Command::Backup(args) => commands::backup::run(context, args).await,
        Command::Explain(args) => commands::explain::run(context, &args),
        Command::Init(args) => commands::init::run(context, &args),
        Command::Demo(args) => commands::demo::run(context, args).await,
        Command::Completions(args) => commands::completions::run(context, &args, Cli::command()),
        Command::Man(args) => commands::completions::man(context, &args, Cli::command()),
    }
}
