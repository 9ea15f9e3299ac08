//! `dbd completions`, `dbd man`: for packagers.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use clap_complete::Shell;
use std::path::PathBuf;

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page, or write one per command
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write the pages to this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &Args, mut command: clap::Command) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "dbd", &mut text);
    context.shell.borrow_mut().result(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::Ok)
}

pub(crate) fn man(context: &Context, args: &ManArgs, command: clap::Command) -> Outcome {
    let failed =
        |error: std::io::Error| Failure::new(Code::FileUnwritable, "the manual pages cannot be written").source(&error);
    match &args.out {
        Some(folder) => {
            let folder = context.directory.join(folder);
            fs_err::create_dir_all(&folder).map_err(failed)?;
            clap_mangen::generate_to(command, &folder).map_err(failed)?;
            context.shell.borrow_mut().status("wrote", &folder.display().to_string());
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text).map_err(failed)?;
            context.shell.borrow_mut().result(&String::from_utf8_lossy(&text))?;
        }
    }
    Ok(ExitCode::Ok)
}
