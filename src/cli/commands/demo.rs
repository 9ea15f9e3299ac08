//! `dbd demo`.

use crate::cli::{Context, Outcome};

/// Tell the whole story on a scratch server; leaves nothing running
///
/// A good run, a refused one, one rolled back, one killed with SIGKILL and resumed, the audit. Needs PostgreSQL's programs and nothing
/// else: no configuration, no network, no database of yours. Takes about half a minute.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the sample project, with its journal and reports, where it is
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    crate::demo::tell(context, args.keep).await
}
