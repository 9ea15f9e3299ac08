//! What dbd keeps of a migration it applied: a digest that only what the server is given changes, and the text.
//!
//! A tool's checksum is taken over bytes, so a formatter, a licence header or another checkout's line endings make it
//! another migration. The tokens of the statements, in their units, are the same.

use super::{Migration, Unit, UnitMode};
use crate::domain::digest::Digest;
use crate::domain::ids::RunId;
use crate::domain::sql::{is_comment, quote_literal, range, redact, tokens};
use pg_query::protobuf::{KeywordKind, Token};
use similar::TextDiff;

/// The longest text that is kept to be compared with later, in bytes.
const KEPT_BYTES: usize = 256 * 1024;

/// The most lines of a difference that are shown.
const SHOWN_LINES: usize = 24;

/// The digest of what the server is given: the tokens of the statements, which of them run together, nothing else.
///
/// Comments, white space, line endings, the case of unquoted words and semicolons do not count. `None` for text that
/// does not scan. The units must belong to `text`.
#[must_use]
pub fn tokens_digest(text: &str, units: &[Unit]) -> Option<Digest> {
    let mut all = String::new();
    for unit in units {
        all.push_str(if unit.mode == UnitMode::Transaction { "\u{1}" } else { "\u{2}" });
        for span in &unit.statements {
            let sql = text.get(span.start..span.start + span.len)?;
            for token in tokens(sql).ok()?.iter().filter(|token| !is_comment(token)) {
                let (start, end) = range(token);
                let word = &sql[start..end];
                let folds = token.keyword_kind() != KeywordKind::NoKeyword
                    || token.token() == Token::Ident && !word.starts_with('"');
                if folds {
                    all.push_str(&word.to_lowercase())
                } else {
                    all.push_str(word)
                }
                all.push('\0');
            }
            all.push('\u{3}');
        }
    }
    Some(Digest::keyed("dbd tokens v1", all))
}

/// The text as it may be kept and shown: secrets masked; `None` for one too long to be of use.
#[must_use]
pub fn shown_text(text: &str) -> Option<String> {
    (text.len() <= KEPT_BYTES && !text.contains('\0')).then(|| redact(text).into_owned())
}

/// What differs between two texts, line by line, as people read it in a patch.
pub(super) fn difference(then: &str, now: &str) -> Vec<String> {
    let (then, now) = (then.replace("\r\n", "\n"), now.replace("\r\n", "\n"));
    let patch = TextDiff::from_lines(&then, &now).unified_diff().context_radius(1).to_string();
    let mut lines: Vec<String> = patch.lines().take(SHOWN_LINES).map(str::to_owned).collect();
    if patch.lines().count() > SHOWN_LINES {
        lines.push(format!("... and {} lines more", patch.lines().count() - SHOWN_LINES));
    }
    lines
}

/// The digest of a migration's tokens and its text as it may be shown, as SQL; `NULL` for what there is not.
pub(super) fn proof_values(migration: &Migration, text: &str) -> (String, String) {
    let or_null = |text: Option<String>| text.map_or_else(|| "NULL".to_owned(), |text| quote_literal(&text));
    let tokens = tokens_digest(text, &migration.units).map(|digest| digest.to_string());
    (or_null(tokens), or_null(shown_text(text)))
}

/// The statement that keeps the proof of a migration beside its row in `tracking`.
pub(super) fn proof_sql(tracking: &str, key: &str, migration: &Migration, text: &str, run: &RunId) -> String {
    let (tokens, body) = proof_values(migration, text);
    let values = [
        quote_literal(tracking),
        quote_literal(key),
        quote_literal(&migration.file),
        quote_literal(migration.digest.as_str()),
        tokens,
        body,
        quote_literal(run.as_str()),
    ];
    format!(
        "INSERT INTO dbd.applied (tracking, key, file, digest, tokens, body, run_id) VALUES ({})\n\
         ON CONFLICT (tracking, key) DO UPDATE SET file = EXCLUDED.file, digest = EXCLUDED.digest, \
         tokens = EXCLUDED.tokens, body = EXCLUDED.body, run_id = EXCLUDED.run_id, applied_at = clock_timestamp()",
        values.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    fn digest(text: &str) -> Digest {
        tokens_digest(text, &split(text).unwrap()).unwrap()
    }

    #[test]
    fn comments_line_endings_and_formatting_are_no_change() {
        let plain = digest("CREATE TABLE a (b int, \"C\" text DEFAULT 'x  y');\nVACUUM;");
        for same in [
            "-- (c) somebody\r\nCREATE TABLE a (b int, \"C\" text DEFAULT 'x  y');\r\nVACUUM;\r\n",
            "\u{feff}create table A(b INT,\"C\" TEXT default 'x  y') ; /* now */ vacuum",
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
    }

    #[test]
    fn what_the_server_is_given_counts() {
        let plain = digest("CREATE TABLE a (b int, \"C\" text DEFAULT 'x  y');\nVACUUM;");
        for other in [
            "CREATE TABLE a (b int, \"c\" text DEFAULT 'x  y');\nVACUUM;",
            "CREATE TABLE a (b int, \"C\" text DEFAULT 'x y');\nVACUUM;",
            "CREATE TABLE a (b int, \"C\" text DEFAULT 'x  y');",
            "CREATE TABLE a (b int, \"C\" text DEFAULT 'x  y');\nVACUUM a;",
        ] {
            assert_ne!(digest(other), plain, "{other}");
        }
        // The same statements, of which other ones run together.
        assert_ne!(digest("SELECT 1; SELECT 2"), digest("SELECT 1; BEGIN; SELECT 2; COMMIT"));
    }

    #[test]
    fn a_difference_is_shown_as_a_patch_without_secrets() {
        let then = shown_text("CREATE TABLE a ();\nALTER ROLE b PASSWORD 'hunter2';\n").unwrap();
        let now = shown_text("CREATE TABLE a (c int);\nALTER ROLE b PASSWORD 'hunter3';\n").unwrap();
        let lines = difference(&then, &now);
        assert!(lines.contains(&"-CREATE TABLE a ();".to_owned()), "{lines:?}");
        assert!(lines.contains(&"+CREATE TABLE a (c int);".to_owned()), "{lines:?}");
        assert!(!lines.concat().contains("hunter"), "{lines:?}");
    }
}
