//! `dbd init`.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::config::init;
use serde_json::json;

/// Write a commented dbd.toml from what is found here; never overwrites
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print it instead of writing it
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let config = context.load()?;
    let found = config.discovered()?;
    let mut shell = context.shell.borrow_mut();
    if args.print {
        shell.result(&init::init_template(&found))?;
        return Ok(ExitCode::Ok);
    }
    let path = init::write(&config.root, &found)?;
    let shown = config.shown(&path);
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.init/1", "file": shown}))?;
    } else {
        shell.result(&shown)?;
        shell.note("look through it, set DEV_POSTGRES_URL, then: dbd doctor dev");
    }
    Ok(ExitCode::Ok)
}
