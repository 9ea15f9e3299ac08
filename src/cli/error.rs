//! How a failure looks: as text for a person, as a document for a program, and as a page to read.

use crate::config::nearest;
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::{finding, hazard};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What stands before the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The command failed.
    Error,
    /// The command goes on.
    Warning,
}

impl Severity {
    const fn label(self) -> (&'static str, AnsiColor) {
        match self {
            Self::Error => ("error", AnsiColor::Red),
            Self::Warning => ("warning", AnsiColor::Yellow),
        }
    }
}

/// A failure as text, with a line break at its end.
///
/// ```text
/// error: `journal.paht` is not a key dbd knows (DBD-0002)
///   cause: ...
///   --> dbd.toml:2:1
///   hint: did you mean `journal.path`?
/// ```
///
/// Control characters, which may come from a server's or a child's words, are shown and not obeyed.
#[must_use]
pub fn text(failure: &Failure, severity: Severity, color: bool) -> String {
    let paint = |style: Style, word: &str| {
        if color { format!("{style}{word}{style:#}") } else { word.to_owned() }
    };
    let (label, label_color) = severity.label();
    let label = paint(Style::new().bold().fg_color(Some(label_color.into())), &format!("{label}:"));
    let mut out = format!("{label} {} ({})\n", indented(&failure.message, 2), failure.code);
    let soft = Style::new().fg_color(Some(AnsiColor::Cyan.into()));
    for cause in &failure.causes {
        let _ = writeln!(out, "  {} {}", paint(soft, "cause:"), indented(cause, 4));
    }
    if let Some(place) = &failure.place {
        let _ = writeln!(out, "  {} {}:{}:{}", paint(soft, "-->"), clean(&place.file), place.line, place.column);
    }
    for hint in &failure.hints {
        let _ = writeln!(out, "  {} {}", paint(soft, "hint:"), indented(hint, 4));
    }
    out
}

/// A failure as the one document that `--json` prints: `{"error": {"code", "message", "causes", "hints"}}`.
///
/// Where it is about a place in a file, that is there too: `"place": {"file", "line", "column"}`.
#[must_use]
pub fn document(failure: &Failure) -> Value {
    let mut error = json!({
        "code": failure.code.as_str(),
        "message": failure.message,
        "causes": failure.causes,
        "hints": failure.hints,
    });
    if let Some(place) = &failure.place {
        error["place"] = json!({"file": place.file, "line": place.line, "column": place.column});
    }
    json!({ "error": error })
}

/// The page of a code: of an error, written `DBD-0101`, `dbd-101` or `101`, or of a finding, written `table_removed` or `table-removed`.
///
/// # Errors
/// [`Code::UnknownCode`], with the nearest code there is.
pub fn explain(text: &str) -> Result<&'static str, Failure> {
    let text = text.trim();
    let wanted = text.to_ascii_uppercase();
    let number = wanted.strip_prefix("DBD").unwrap_or(&wanted).trim_start_matches('-');
    let padded = format!("DBD-{number:0>4}");
    if let Some(page) =
        Code::parse(&padded).map(Code::page).or_else(|| finding::page(text)).or_else(|| hazard::page_of(text))
    {
        return Ok(page);
    }
    let failure = Failure::new(Code::UnknownCode, format!("there is no code `{text}`"));
    let near_error = nearest(&padded, Code::ALL.iter().map(|code| code.as_str())).and_then(Code::parse);
    let near_finding =
        nearest(&text.replace('-', "_"), finding::codes().chain(hazard::rules::ALL.iter().map(|one| one.code)));
    let failure = match (near_error, near_finding) {
        (Some(code), _) => failure.hint(format!("did you mean {code}: {}?", code.title())),
        (None, Some(code)) => {
            let title = finding::page(code).or_else(|| hazard::page_of(code)).map_or("", finding::title);
            failure.hint(format!("did you mean {code}: {title}?"))
        }
        (None, None) => failure,
    };
    Err(failure
        .hint("a code is printed at the end of an error's first line, like DBD-0101, or before a finding, like table_removed")
        .hint("`dbd explain` lists them all"))
}

/// `text` with every line after the first moved in, so that it stays recognisable as belonging to the one before.
fn indented(text: &str, by: usize) -> String {
    clean(text.trim_end()).replace('\n', &format!("\n{:by$}", ""))
}

/// `text` with control characters shown instead of obeyed; line breaks and tabs stay.
pub(super) fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Failure {
        Failure::new(Code::UnknownKey, "`journal.paht` is not a key dbd knows")
            .cause("first line\nsecond line")
            .at("dbd.toml", 2, 1)
            .hint("did you mean `journal.path`?")
    }

    #[test]
    fn a_failure_reads_without_colour() {
        insta::assert_snapshot!(text(&unreachable(), Severity::Error, false), @"
        error: `journal.paht` is not a key dbd knows (DBD-0002)
          cause: first line
            second line
          --> dbd.toml:2:1
          hint: did you mean `journal.path`?
        ");
        assert_eq!(
            text(&Failure::new(Code::DirtyTree, "3 files are not committed"), Severity::Warning, false),
            "warning: 3 files are not committed (DBD-0115)\n"
        );
    }

    #[test]
    fn colour_only_adds_escapes() {
        let colored = text(&unreachable(), Severity::Error, true);
        assert!(colored.contains('\u{1b}'));
        let stripped = anstream::adapter::strip_str(&colored).to_string();
        assert_eq!(stripped, text(&unreachable(), Severity::Error, false));
    }

    #[test]
    fn a_servers_words_cannot_steer_the_terminal() {
        let failure = Failure::new(Code::StatementFailed, "a\u{1b}[2Jb").cause("c\rd\u{9b}1m").hint("e\u{7}");
        let text = text(&failure, Severity::Error, false);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("a\\u{1b}[2Jb"), "{text:?}");
    }

    #[test]
    fn the_document_has_the_promised_shape() {
        let failure = Failure::new(Code::CannotConnect, "m").cause("c").hint("h");
        let expected = r#"{"error":{"causes":["c"],"code":"DBD-0101","hints":["h"],"message":"m"}}"#;
        assert_eq!(document(&failure), serde_json::from_str::<Value>(expected).unwrap());
        let empty = document(&Failure::new(Code::Bug, "m"));
        assert_eq!((&empty["error"]["causes"], &empty["error"]["hints"]), (&json!([]), &json!([])));
        assert_eq!(document(&unreachable())["error"]["place"], json!({"file": "dbd.toml", "line": 2, "column": 1}));
    }

    #[test]
    fn a_code_is_explained_however_it_is_written() {
        for text in ["DBD-0101", "dbd-0101", "0101", "101", " DBD-101 ", "dbd101"] {
            assert!(explain(text).unwrap().starts_with("# DBD-0101: "), "{text}");
        }
        let failure = explain("DBD-0119").unwrap_err();
        assert_eq!(failure.code, Code::UnknownCode);
        assert!(failure.hints[0].starts_with("did you mean DBD-01"), "{failure:?}");
        assert_eq!(explain("").unwrap_err().code, Code::UnknownCode);
        assert_eq!(explain("nonsense").unwrap_err().hints.len(), 2);
    }

    #[test]
    fn a_finding_is_explained_and_a_slip_in_its_code_is_put_right() {
        for text in ["table_removed", "table-removed", " Table_Removed "] {
            assert!(explain(text).unwrap().starts_with("# table_removed: "), "{text}");
        }
        let failure = explain("tabel-removed").unwrap_err();
        assert_eq!(failure.hints[0], "did you mean table_removed: a table is removed?");
    }

    #[test]
    fn every_code_has_a_page_that_says_what_it_means_and_what_to_do() {
        for code in Code::ALL {
            let page = code.page();
            assert!(page.starts_with(&format!("# {code}: {}\n", code.title())), "{code}");
            let lines = page.lines().count();
            assert!((8..=25).contains(&lines), "{code} has {lines} lines");
            for heading in ["## What to do\n", "## Example\n"] {
                assert_eq!(page.matches(heading).count(), 1, "{code}: {heading}");
            }
            assert!(page.ends_with('\n') && !page.ends_with("\n\n"), "{code}");
            assert!(page.lines().all(|line| line.chars().count() <= 120), "{code} has a line over 120 characters");
            for (at, _) in page.match_indices("DBD-") {
                let named = page.get(at..at + 8).unwrap_or_default();
                assert!(Code::parse(named).is_some(), "{code} names {named}, which is not a code");
            }
        }
    }
}
