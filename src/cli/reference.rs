//! `docs/cli.md`, made from what `--help` says; a test fails when the page is stale.

use super::Cli;
use crate::cli::exit::ExitCode;
use clap::{Command, CommandFactory};
use std::fmt::Write as _;
use std::path::PathBuf;

const INTRODUCTION: &str = "\
# Commands

<!-- Made from what `--help` prints; a test fails when this page is stale. To make it again:
     cargo test --lib write_the_command_page -- --ignored -->

stdout carries the result and nothing else; stderr carries progress, notes, warnings and errors. With `--json` there is exactly one JSON
document on stdout (`dbd logs --json` and `dbd show --events --json`: JSON Lines), also when the command fails:
`{\"error\": {\"code\", \"message\", \"causes\", \"hints\"}}`. Times in machine formats are RFC 3339 in UTC, durations integers in `_ms` fields.

## Exit codes

| code | name |
|---|---|
";

/// The heading that the options of every command come under; they are shown once.
const GLOBAL: &str = "\nGlobal options:\n";

fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    for code in ExitCode::ALL {
        let _ = writeln!(out, "| {} | {} |", code.number(), code.name());
    }
    out += "\n[runs.md](runs.md#exit-codes) says what each of them means.\n";
    let mut root = Cli::command().term_width(100).max_term_width(100);
    root.build();
    describe(&mut root, 2, &mut out);
    out
}

fn describe(command: &mut Command, level: usize, out: &mut String) {
    let name = command.get_bin_name().unwrap_or("dbd").to_owned();
    let help = command.render_long_help().to_string();
    let own = match help.split_once(GLOBAL) {
        Some((own, _)) if level > 2 => own,
        _ => &help,
    };
    let _ = write!(out, "\n{} `{name}`\n\n```text\n", "#".repeat(level));
    for line in own.trim_end().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push_str("```\n");
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        describe(sub, level + 1, out);
    }
}

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md"))
}

#[test]
fn the_command_page_is_up_to_date() {
    let there = fs_err::read_to_string(page()).unwrap();
    assert!(there == reference(), "docs/cli.md is stale: cargo test --lib write_the_command_page -- --ignored");
}

#[test]
#[ignore = "writes docs/cli.md; run it after a change to the commands"]
fn write_the_command_page() {
    fs_err::write(page(), reference()).unwrap();
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

/// The command lines a text shows: after `$ ` in an example, or between backticks.
fn shown(text: &str) -> Vec<&str> {
    let examples = text.lines().filter_map(|line| line.trim().strip_prefix("$ "));
    let inline = text.split('`').skip(1).step_by(2);
    let lines = examples.chain(inline).flat_map(|line| line.split(['&', '|', ';']));
    lines
        .map(str::trim)
        .filter(|line| {
            line.starts_with("dbd ") && !line.starts_with("dbd <") && !line.contains("...") && !line.contains('\n')
        })
        .collect()
}

/// Words as a shell would cut them, quotes taken off; a placeholder like `<id>` is a word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => words.extend(word.take()),
            ('>' | '<', None) if word.is_none() && c == '>' => break,
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_the_papers_show_is_one() {
    use clap::error::ErrorKind;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let mut papers: Vec<PathBuf> = vec![PathBuf::from(root).join("README.md")];
    for folder in ["docs", "docs/errors", "docs/findings", "docs/guides", "docs/decisions"] {
        papers.extend(fs_err::read_dir(PathBuf::from(root).join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for paper in papers.iter().filter(|paper| paper.extension().is_some_and(|extension| extension == "md")) {
        let text = fs_err::read_to_string(paper).unwrap();
        for line in shown(&text) {
            seen += 1;
            let Err(error) = Cli::command().try_get_matches_from(words(line)) else { continue };
            // A command may be named without its arguments.
            let named = [ErrorKind::MissingRequiredArgument, ErrorKind::MissingSubcommand, ErrorKind::DisplayHelp];
            let named =
                named.contains(&error.kind()) || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if !named && error.kind() != ErrorKind::DisplayVersion {
                wrong.push(format!("{}: {line}: {:?}", paper.display(), error.kind()));
            }
        }
    }
    assert!(seen > 50);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
