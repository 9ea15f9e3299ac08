//! What `dbd check` found, in every format.

use super::words::{clean, count, one_line, plural};
use crate::domain::finding::Severity;
use crate::domain::hazard::judge::Judgement;
use crate::domain::hazard::{hazard, page_of};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Files.
    pub files: usize,
    /// Statements.
    pub statements: usize,
    /// What was found, in the order of the files.
    pub judgements: Vec<Judgement>,
    /// What the rehearsal saw, as `rehearsal.json` has it.
    pub rehearsal: Option<Value>,
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// `dbd.check/1`.
#[must_use]
pub fn json(checked: &Checked) -> Value {
    let findings: Vec<Value> = checked
        .judgements
        .iter()
        .map(|one| {
            let mut finding = json!({
                "code": one.code, "severity": word(one.severity), "file": one.file, "line": one.line, "column": one.column,
                "object": one.object, "message": one.message, "lock": one.lock, "help": one.help,
                "danger": one.danger.map(|danger| danger.as_str()), "basis": one.basis.as_str(), "allowed": one.waived.is_some(),
            });
            if let Some(waived) = &one.waived {
                finding["allowed_by"] = json!(waived.by);
                finding["reason"] = json!(waived.reason);
            }
            finding
        })
        .collect();
    let mut document = json!({"schema": "dbd.check/1", "files": checked.files, "statements": checked.statements, "findings": findings});
    if let Some(rehearsal) = &checked.rehearsal {
        document["rehearsal"] = rehearsal.clone();
    }
    document
}

/// For people.
#[must_use]
pub fn text(checked: &Checked, color: bool) -> String {
    let paint = |style: Style, text: &str| if color { format!("{style}{text}{style:#}") } else { text.to_owned() };
    let mut text = String::new();
    for one in &checked.judgements {
        let (label, of) = match (one.waived.is_some(), one.severity) {
            (true, _) => ("allowed", AnsiColor::BrightBlack),
            (_, Severity::Error) => ("error", AnsiColor::Red),
            (_, Severity::Warning) => ("warning", AnsiColor::Yellow),
            (_, Severity::Info) => ("note", AnsiColor::Cyan),
        };
        let label = paint(Style::new().bold().fg_color(Some(of.into())), label);
        let _ = writeln!(
            text,
            "{}:{}:{}: {label}: {} ({})",
            clean(&one.file),
            one.line,
            one.column,
            one_line(&one.message),
            one.code
        );
        let mut facts = vec![format!(
            "known from {}",
            match one.basis.as_str() {
                "text" => "the text",
                "catalog" => "the catalog",
                _ => "having run it",
            }
        )];
        facts.extend(one.lock.filter(|_| one.danger.is_some()).map(str::to_owned));
        let _ = writeln!(text, "    {}", facts.join(", "));
        match &one.waived {
            Some(waived) => {
                let _ = writeln!(text, "    allowed by {}: {}", clean(&waived.by), one_line(&waived.reason));
            }
            None => {
                let _ = writeln!(text, "    help: {}", one_line(one.help));
            }
        }
    }
    let many = |severity| {
        count(
            &checked
                .judgements
                .iter()
                .filter(|one| one.severity == severity && one.waived.is_none())
                .collect::<Vec<_>>(),
        )
    };
    let allowed = count(&checked.judgements.iter().filter(|one| one.waived.is_some()).collect::<Vec<_>>());
    let mut told = vec![
        plural(many(Severity::Error), "error", "errors"),
        plural(many(Severity::Warning), "warning", "warnings"),
        plural(many(Severity::Info), "note", "notes"),
    ];
    if allowed > 0 {
        told.push(format!("{allowed} allowed"));
    }
    let looked = format!(
        "{}, {}",
        plural(checked.files as u64, "file", "files"),
        plural(checked.statements as u64, "statement", "statements")
    );
    let _ = writeln!(text, "{looked}: {}", told.join(", "));
    if many(Severity::Error) + many(Severity::Warning) > 0 {
        text.push_str("`dbd explain CODE` has the page of each\n");
    }
    text
}

/// SARIF 2.1.0.
#[must_use]
pub fn sarif(checked: &Checked) -> Value {
    let codes: BTreeSet<&str> = checked.judgements.iter().map(|one| one.code).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let rules: Vec<Value> = codes
        .iter()
        .filter_map(|code| hazard(code))
        .map(|one| {
            json!({
                "id": one.code,
                "shortDescription": {"text": one.title},
                "fullDescription": {"text": one.does},
                "help": {"text": one.way_out, "markdown": page_of(one.code).unwrap_or_default()},
            })
        })
        .collect();
    let results: Vec<Value> = checked
        .judgements
        .iter()
        .map(|one| {
            let mut result = json!({
                "ruleId": one.code,
                "ruleIndex": codes.iter().position(|code| *code == one.code),
                "level": match one.severity { Severity::Info => "note", Severity::Warning => "warning", Severity::Error => "error" },
                "message": {"text": one.message},
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri(&one.file)},
                        "region": {"startLine": one.line.max(1), "startColumn": one.column.max(1)},
                    },
                    "logicalLocations": [{"fullyQualifiedName": one.object}],
                }],
                "properties": {
                    "object": one.object, "lock": one.lock, "danger": one.danger.map(|danger| danger.as_str()), "basis": one.basis.as_str(),
                },
            });
            if let Some(waived) = &one.waived {
                let kind = if waived.by == "dbd.toml" { "external" } else { "inSource" };
                result["suppressions"] = json!([{"kind": kind, "justification": waived.reason}]);
            }
            result
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "dbd", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative URI: what is not plain is percent-encoded.
fn uri(path: &str) -> String {
    path.replace('\\', "/").bytes().fold(String::new(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
        uri
    })
}

/// JUnit XML: a test case a file and finding; notes and what is waived pass.
#[must_use]
pub fn junit(checked: &Checked) -> String {
    let fails = |one: &&Judgement| one.severity > Severity::Info && one.waived.is_none();
    let failures = checked.judgements.iter().filter(fails).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let total = checked.judgements.len().max(1);
    let _ = writeln!(text, "<testsuites tests=\"{total}\" failures=\"{failures}\">");
    let _ = writeln!(text, "  <testsuite name=\"dbd check\" tests=\"{total}\" failures=\"{failures}\">");
    if checked.judgements.is_empty() {
        let _ = writeln!(
            text,
            "    <testcase name=\"{}\" classname=\"dbd\"/>",
            plural(checked.files as u64, "file", "files")
        );
    }
    for one in &checked.judgements {
        let name = xml(&format!("{}:{}:{} {}", one.file, one.line, one.column, one.code));
        let class = xml(&one.file);
        if fails(&one) {
            let _ = writeln!(text, "    <testcase name=\"{name}\" classname=\"{class}\">");
            let (kind, message) = (word(one.severity), xml(&one.message));
            let _ = writeln!(text, "      <failure type=\"{kind}\" message=\"{message}\">{}</failure>", xml(one.help));
            text.push_str("    </testcase>\n");
        } else {
            let _ = writeln!(text, "    <testcase name=\"{name}\" classname=\"{class}\">");
            let _ = writeln!(text, "      <system-out>{}</system-out>\n    </testcase>", xml(&one.message));
        }
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// Text as it may stand in XML; control characters that XML has no way to write become blanks.
fn xml(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

/// Workflow commands of GitHub Actions.
#[must_use]
pub fn github(checked: &Checked) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for one in checked.judgements.iter().filter(|one| one.waived.is_none()) {
        let level = match one.severity {
            Severity::Info => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let _ = writeln!(
            text,
            "::{level} file={},line={},col={},title={}::{}",
            property(&one.file),
            one.line,
            one.column,
            property(&format!("dbd {}", one.code)),
            data(&format!("{}\n{}", one.message, one.help))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hazard::facts::Facts;
    use crate::domain::hazard::judge;

    /// A file whose name and findings hold what each format has to escape.
    fn checked() -> Checked {
        let sql = "create index \"a<b>\" on t (a);\n-- dbd: allow rewrite reason=<ten> & \"few\" rows\nalter table t alter a type bigint;\n\
                   alter table t drop constraint \"x&y\";";
        let verdict = judge::migration(&mut Facts::of_text(), "migrations/0001 a,b:c.sql", sql, false);
        Checked { files: 1, statements: verdict.statements.len(), judgements: verdict.judgements, rehearsal: None }
    }

    #[test]
    fn the_document_has_the_promised_shape() {
        let document = json(&checked());
        assert_eq!(
            (document["schema"].as_str(), &document["files"], &document["statements"]),
            (Some("dbd.check/1"), &json!(1), &json!(3))
        );
        let first = &document["findings"][0];
        for (key, value) in [
            ("code", json!("index_not_concurrent")),
            ("severity", json!("warning")),
            ("line", json!(1)),
            ("column", json!(1)),
            ("object", json!("public.t")),
            ("lock", json!("ShareLock")),
            ("danger", json!("index_build_blocks_writes")),
            ("basis", json!("text")),
        ] {
            assert_eq!(first[key], value, "{key}");
        }
        assert_eq!(document["findings"][1]["allowed_by"], json!("migrations/0001 a,b:c.sql:2"));
    }

    #[test]
    fn sarif_has_everything_its_schema_requires() {
        let document = sarif(&checked());
        assert_eq!(document["version"], "2.1.0");
        let run = &document["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert_eq!(run["tool"]["driver"]["name"], "dbd");
        assert!(rules.iter().all(|rule| rule["id"].is_string() && rule["shortDescription"]["text"].is_string()));
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        for result in results {
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            let rule = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[rule]["id"], result["ruleId"]);
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "migrations/0001%20a%2Cb%3Ac.sql");
            assert!(
                place["region"]["startLine"].as_u64() >= Some(1) && place["region"]["startColumn"].as_u64() >= Some(1)
            );
        }
        assert_eq!(results[1]["suppressions"][0]["kind"], "inSource");
    }

    #[test]
    fn every_other_format_escapes_what_it_has_to() {
        let checked = checked();
        let junit = junit(&checked);
        assert!(junit.contains("<testsuites tests=\"3\" failures=\"1\">"), "{junit}");
        assert!(!junit.contains("a<b>") && junit.contains("x&amp;y"), "{junit}");
        let github = github(&checked);
        assert!(
            github.starts_with(
                "::warning file=migrations/0001 a%2Cb%3Ac.sql,line=1,col=1,title=dbd index_not_concurrent::"
            ),
            "{github}"
        );
        assert_eq!(github.lines().count(), 2);
        let text = text(&checked, false);
        assert!(text.contains(": allowed: ") && text.ends_with("has the page of each\n"), "{text}");
        assert!(text.contains("1 file, 3 statements: 0 errors, 1 warning, 1 note, 1 allowed"), "{text}");
    }
}
