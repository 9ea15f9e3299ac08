//! The page of what came of it: gap by gap, what the next process found, and how it ended.

use super::story::{Case, End, STORIES};
use crate::support::project::Event;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// One gap of one story, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    story: String,
    gap: String,
    about: String,
    under_way: String,
    found: String,
    end: &'static str,
}

const BEGIN: &str = "<!-- The tables below are made from the drills; a test fails when they are stale. To make them again:\n     cargo test --test main write_the_crash_table -- --ignored -->\n";

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/crash-testing.md"))
}

impl Row {
    /// What is known when the process is gone.
    pub fn of(case: &Case, events: &[Event]) -> Self {
        let mut open: Option<&Event> = None;
        for event in events {
            match event.kind.as_str() {
                "step.intended" => open = Some(event),
                "step.succeeded" | "step.failed" | "step.reconciled" => open = None,
                _ => {}
            }
        }
        let effect = |event: &Event| event.body["effect"]["do"].as_str().unwrap_or_default().replace('_', " ");
        // Names of files and runs that differ from one telling to the next are no part of the page.
        let about =
            if case.gap.1.starts_with("before-rollback") { "before-rollback".to_owned() } else { case.gap.1.clone() };
        Self {
            story: case.story.title(),
            gap: case.gap.0.clone(),
            about,
            under_way: open.map_or_else(String::new, effect),
            found: String::new(),
            end: match case.story.end {
                End::Whole => "whole",
                End::Back => "back",
                End::Kept => "back, and what was written since is there",
                End::Untouched => "untouched",
            },
        }
    }

    /// What the next process found, by the events that follow.
    pub fn found(mut self, after: &[Event]) -> Self {
        let verdict = after.iter().find(|event| event.kind == "step.reconciled" || event.kind == "step.intended");
        self.found = match verdict {
            Some(event) if event.kind == "step.reconciled" => {
                event.body["verdict"]["verdict"].as_str().unwrap_or_default().replace('_', " ")
            }
            Some(_) if self.under_way.is_empty() => "nothing under way".to_owned(),
            Some(_) => "made anew".to_owned(),
            None => "nothing left to do".to_owned(),
        };
        self
    }
}

fn tables(rows: &[Row]) -> String {
    let mut text = String::from(BEGIN);
    for story in STORIES {
        let mut counted: BTreeMap<&Row, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.story == story.title()) {
            *counted.entry(row).or_default() += 1;
        }
        let all: usize = counted.values().sum();
        let _ = writeln!(
            text,
            "\n## {}\n\n`dbd {}`, {}. Killed in {all} gaps.\n",
            title(&story.title()),
            story.killed,
            story.about
        );
        text.push_str("| gap | about | effect under way | the next process finds it | ends | times |\n|---|---|---|---|---|---|\n");
        for (row, times) in counted {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {times} |",
                row.gap, row.about, row.under_way, row.found, row.end
            );
        }
    }
    text
}

fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Fails the test if the page says something else.
pub fn check(rows: &[Row]) {
    let page = fs_err::read_to_string(page()).unwrap();
    let there = page.split_once(BEGIN).map(|(_, rest)| rest).expect("the page has its tables");
    let now = tables(rows);
    let now = now.strip_prefix(BEGIN).unwrap();
    for (line, (old, new)) in there.lines().zip(now.lines()).enumerate() {
        assert_eq!(
            old, new,
            "docs/crash-testing.md is stale, table line {line}: cargo test --test main write_the_crash_table -- --ignored"
        );
    }
    assert_eq!(there.lines().count(), now.lines().count(), "docs/crash-testing.md is stale");
}

/// Writes the tables, and leaves what is above them.
pub fn write(rows: &[Row]) {
    let old = fs_err::read_to_string(page()).unwrap_or_default();
    let head = old.split_once(BEGIN).map_or(old.as_str(), |(head, _)| head);
    fs_err::write(page(), format!("{head}{}", tables(rows))).unwrap();
}
