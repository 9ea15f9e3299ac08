//! `dbd demo`.

use crate::cli::{Context, Outcome};

/// Tell the whole story on a scratch server: a good run, a refused one, one rolled back, one killed and resumed, the audit
///
/// Needs PostgreSQL's programs and nothing else: no configuration, no network, no database of yours. Takes about half a minute and
/// leaves nothing running.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the sample project, with its journal and reports, where it is
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Outcome {
    crate::demo::tell(context, args.keep).await
}
