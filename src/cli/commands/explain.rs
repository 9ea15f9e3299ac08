//! `dbd explain`.

use crate::cli::exit::ExitCode;
use crate::cli::{Context, Outcome};
use crate::domain::code::Code;
use crate::domain::{finding, hazard};
use serde_json::json;

/// Print the page of an error or finding code
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The code, like DBD-0101 or table_removed; the list of all if left out
    code: Option<String>,
}

/// Every finding code with what it is about.
fn findings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let found = finding::codes().map(|code| (code, finding::page(code).map_or("", finding::title)));
    found.chain(hazard::rules::ALL.iter().map(|one| (one.code, one.title)))
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut shell = context.shell.borrow_mut();
    let Some(code) = &args.code else {
        if shell.is_json() {
            let all: Vec<_> =
                Code::ALL.iter().map(|code| json!({"code": code.as_str(), "title": code.title()})).collect();
            let findings: Vec<_> = findings().map(|(code, title)| json!({"code": code, "title": title})).collect();
            shell.result_json(&json!({"schema": "dbd.codes/1", "codes": all, "findings": findings}))?;
        } else {
            let mut all: Vec<String> = Code::ALL.iter().map(|code| format!("{code}  {}", code.title())).collect();
            let widest = findings().map(|(code, _)| code.len()).max().unwrap_or(0);
            all.push(String::new());
            all.extend(findings().map(|(code, title)| format!("{code:widest$}  {title}")));
            shell.result(&all.join("\n"))?;
        }
        return Ok(ExitCode::Ok);
    };
    let page = crate::cli::error::explain(code)?;
    if shell.is_json() {
        shell.result_json(&json!({"schema": "dbd.page/1", "code": code, "page": page}))?;
    } else {
        shell.result(page)?;
    }
    Ok(ExitCode::Ok)
}
