//! Waivers: a finding that is meant, with who says so and why.
//!
//! `-- dbd: allow rewrite reason=the table has ten rows` before a statement or at the end of its line lets pass what is found about that
//! statement; `-- dbd: allow-file ...` what is found in the whole file. A code may be the finding's or the danger's; several are parted by
//! commas. Without a reason nothing is let pass.

use super::act::Statement;
use super::judge::Judgement;
use crate::domain::sql::{is_comment, range, tokens};
use serde::{Deserialize, Serialize};

/// Who lets a finding pass, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    /// Who: `migrations/0003.sql:4`, `dbd.toml`.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// One waiver of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// The line it stands on.
    line: u32,
    codes: Vec<String>,
    reason: String,
    /// The statement it is about; none for the whole file.
    statement: Option<usize>,
}

impl Waiver {
    /// Whether it is about `judgement`.
    #[must_use]
    pub fn covers(&self, judgement: &Judgement) -> bool {
        (self.statement.is_none() || self.statement == judgement.statement) && covers(&self.codes, judgement)
    }

    /// As it is recorded.
    #[must_use]
    pub fn waived(&self, file: &str) -> Waived {
        Waived { by: format!("{file}:{}", self.line), reason: self.reason.clone() }
    }
}

/// Whether one of `codes` names the finding or its danger. What cannot be read or does not parse cannot be waived.
#[must_use]
pub fn covers(codes: &[String], judgement: &Judgement) -> bool {
    if ["syntax_error", "unreadable_file"].contains(&judgement.code) {
        return false;
    }
    codes.iter().any(|code| {
        let code = code.to_ascii_lowercase().replace('-', "_");
        code == "all" || code == judgement.code || judgement.danger.is_some_and(|danger| danger.as_str() == code)
    })
}

/// The waivers of a text, and the lines of those that give no reason.
pub(super) fn waivers(text: &str, statements: &[Statement]) -> (Vec<Waiver>, Vec<u32>) {
    let (mut all, mut faulty) = (Vec::new(), Vec::new());
    // Most files have none, and looking at every token takes its time.
    if !text.contains("dbd:") {
        return (all, faulty);
    }
    for token in tokens(text).unwrap_or_default().iter().filter(|token| is_comment(token)) {
        let (start, end) = range(token);
        let Some(comment) = text.get(start..end) else { continue };
        let words = comment.trim_start_matches(['-', '/', '*', ' ']).trim_end_matches(['*', '/', ' ']).trim();
        let Some(words) = words.strip_prefix("dbd:").map(str::trim) else { continue };
        let (file, words) = match (words.strip_prefix("allow-file "), words.strip_prefix("allow ")) {
            (Some(words), _) => (true, words),
            (_, Some(words)) => (false, words),
            _ => continue,
        };
        let line = u32::try_from(text[..start].matches('\n').count() + 1).unwrap_or(u32::MAX);
        let (codes, reason) = match words.split_once("reason=") {
            Some((codes, reason)) => (codes, reason.trim().trim_matches(['"', '\'']).trim()),
            None => (words, ""),
        };
        let codes: Vec<String> =
            codes.split([',', ' ']).map(str::trim).filter(|code| !code.is_empty()).map(str::to_owned).collect();
        if reason.is_empty() || codes.is_empty() {
            faulty.push(line);
            continue;
        }
        // Within a statement or behind it on its line it is about that one, else about the next.
        let around = statements.iter().position(|one| {
            let rest = text.get(one.start + one.len..start).unwrap_or("\n");
            one.start < start && (start < one.start + one.len || !rest.contains('\n'))
        });
        let next = statements.iter().position(|one| one.start > start);
        let statement = if file { None } else { around.or(next) };
        if file || statement.is_some() {
            all.push(Waiver { line, codes, reason: reason.to_owned(), statement });
        }
    }
    (all, faulty)
}
