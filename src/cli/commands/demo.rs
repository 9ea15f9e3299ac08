//! `dbd demo`.
use crate::cli::{Context, Outcome};

/// Tell the whole story on a scratch server; leaves nothing running
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(crate) async fn run(context: &Context, _: Args) -> Outcome {
    crate::demo::tell(context).await
}
