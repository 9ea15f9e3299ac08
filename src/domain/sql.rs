//! SQL as text: quoting what goes in, shortening and masking what is shown.
//!
//! PostgreSQL's own scanner does the reading, so that a string, a dollar quote and a comment are what the server takes
//! them for.

use pg_query::protobuf::{KeywordKind, ScanToken, Token};
use std::borrow::Cow;

/// The longest summary, in characters.
const SUMMARY_CHARS: usize = 80;

/// What stands in for a string that may hold a secret.
const MASK: &str = "'…'";

/// An identifier as SQL needs it: in double quotes unless it means the same without, as the server's `quote_ident`
/// decides.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    let mut bytes = name.bytes();
    let plain = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain && !is_keyword(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Whether PostgreSQL reserves the word in at least one place where a name may stand.
fn is_keyword(word: &str) -> bool {
    let tokens = tokens(word).unwrap_or_default();
    tokens.iter().any(|token| !matches!(token.keyword_kind(), KeywordKind::NoKeyword | KeywordKind::UnreservedKeyword))
}

/// A string literal, right whatever `standard_conforming_strings` says. The text must hold no NUL, as no PostgreSQL
/// text can.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// One line of at most 80 characters that says which statement this is: secrets masked, comments left out, white space
/// folded.
#[must_use]
pub fn summary(sql: &str) -> String {
    let shown = redact(sql);
    let mut words = String::new();
    let mut end_before = 0;
    match scan(&shown) {
        Some(tokens) => {
            for (index, token) in tokens.iter().filter(|token| !is_comment(token)).enumerate() {
                let (start, end) = range(token);
                if index > 0 && start > end_before {
                    words.push(' ');
                }
                words.extend(shown[start..end].split_whitespace().flat_map(|word| [" ", word]).skip(1));
                end_before = end;
                if words.len() > SUMMARY_CHARS * 4 {
                    break;
                }
            }
        }
        None => words.extend(shown.split_whitespace().flat_map(|word| [" ", word]).skip(1)),
    }
    let words = words.trim_end_matches(';').trim_end();
    if words.chars().count() <= SUMMARY_CHARS {
        return words.to_owned();
    }
    let mut short: String = words.chars().take(SUMMARY_CHARS - 1).collect();
    short.push('…');
    short
}

/// The text with every string that may hold a secret masked; the text itself when there is none.
///
/// All strings of a statement that speaks of a password, a connection or the options of a server are masked, and
/// elsewhere those that look like a URL or a connection string. Text that does not scan keeps nothing from its first
/// quote on.
#[must_use]
pub fn redact(sql: &str) -> Cow<'_, str> {
    let Some(tokens) = scan(sql) else { return mask_unscannable(sql) };
    let speaks_of_secrets = tokens.iter().any(|token| {
        matches!(
            token.token(),
            Token::Password
                | Token::Encrypted
                | Token::Connection
                | Token::Subscription
                | Token::Server
                | Token::Mapping
                | Token::Options
        )
    });
    mask(sql, &tokens, |text| speaks_of_secrets || looks_secret(text))
}

/// The text with every string masked, whatever it holds: for showing a line that does not even parse.
#[must_use]
pub fn mask_strings(sql: &str) -> Cow<'_, str> {
    match scan(sql) {
        Some(tokens) => mask(sql, &tokens, |_| true),
        None => mask_unscannable(sql),
    }
}

fn looks_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "api_key", "apikey", "://"].iter().any(|mark| text.contains(mark))
}

fn mask<'a>(sql: &'a str, tokens: &[ScanToken], hide: impl Fn(&str) -> bool) -> Cow<'a, str> {
    let mut shown = String::new();
    let mut from = 0;
    for token in tokens {
        let (start, end) = range(token);
        // A comment may quote a statement that was switched off, so it is judged like a string.
        let secret = match token.token() {
            Token::Sconst | Token::Usconst => hide(&sql[start..end]),
            Token::SqlComment | Token::CComment => looks_secret(&sql[start..end]),
            _ => false,
        };
        if secret {
            shown.push_str(&sql[from..start]);
            shown.push_str(if is_comment(token) { "/* … */" } else { MASK });
            from = end;
        }
    }
    if from == 0 {
        return Cow::Borrowed(sql);
    }
    shown.push_str(&sql[from..]);
    Cow::Owned(shown)
}

fn mask_unscannable(sql: &str) -> Cow<'_, str> {
    match sql.find(['\'', '$']) {
        Some(quote) => Cow::Owned(format!("{}{MASK}", &sql[..quote])),
        None => Cow::Borrowed(sql),
    }
}

fn scan(sql: &str) -> Option<Vec<ScanToken>> {
    tokens(sql).ok()
}

/// The tokens of a text, comments among them.
///
/// Not by `scan_tokens`, which makes a slice of a null pointer when there is no token.
pub(crate) fn tokens(sql: &str) -> pg_query::Result<Vec<ScanToken>> {
    pg_query::scan(sql).map(|scanned| scanned.tokens)
}

/// Whether the token is a comment.
pub(crate) fn is_comment(token: &ScanToken) -> bool {
    matches!(token.token(), Token::SqlComment | Token::CComment)
}

/// The token's bytes, as offsets into the text that was scanned.
pub(crate) fn range(token: &ScanToken) -> (usize, usize) {
    // The scanner counts in C's `int` from 0; it never gives a negative place.
    (usize::try_from(token.start).unwrap_or(0), usize::try_from(token.end).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_quoted_only_where_sql_needs_it() {
        for (name, quoted) in [
            ("orders", "orders"),
            ("_x9", "_x9"),
            ("Orders", "\"Orders\""),
            ("user", "\"user\""),
            ("order", "\"order\""),
            ("between", "\"between\""),
            ("left", "\"left\""),
            ("name", "name"),
            ("9x", "\"9x\""),
            ("größe", "\"größe\""),
            ("a\"b", "\"a\"\"b\""),
            ("a b", "\"a b\""),
            ("a$b", "\"a$b\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote_ident(name), quoted, "{name}");
        }
    }

    #[test]
    fn a_literal_reads_back_as_the_same_text() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(""), "''");
        assert_eq!(quote_literal("a\\b'c"), "E'a\\\\b''c'");
        assert_eq!(quote_literal("'; DROP TABLE x; --"), "'''; DROP TABLE x; --'");
    }

    #[test]
    fn a_summary_is_one_short_line_without_comments() {
        assert_eq!(summary("-- why\nALTER TABLE  a\n\tADD b int /* c */ ;"), "ALTER TABLE a ADD b int");
        let long = summary(&format!("SELECT '{}'", "ä".repeat(200)));
        assert_eq!(long.chars().count(), 80);
        assert!(long.ends_with('…'));
        assert_eq!(summary("not 'closed"), "not '…'");
        assert_eq!(summary(""), "");
    }

    #[test]
    fn no_password_gets_into_a_summary() {
        for sql in [
            "CREATE ROLE a LOGIN PASSWORD 'hunter2'",
            "ALTER USER a WITH ENCRYPTED PASSWORD $$hunter2$$",
            "ALTER USER a WITH PASSWORD E'hunter2'",
            "CREATE SUBSCRIPTION s CONNECTION 'host=x password=hunter2' PUBLICATION p",
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'a', password 'hunter2')",
            "SELECT dblink_connect('host=x password=hunter2')",
            "SELECT http_get('https://a:hunter2@example.org')",
            "SELECT 1 -- postgres://a:hunter2@x",
            "ALTER USER a PASSWORD 'hunter2",
        ] {
            assert!(!summary(sql).contains("hunter2"), "{}", summary(sql));
            assert!(!redact(sql).contains("hunter2"), "{}", redact(sql));
        }
        assert_eq!(summary("UPDATE a SET b = 'open'"), "UPDATE a SET b = 'open'");
        assert_eq!(mask_strings("SELECT 'a', $$b$$, \"c\""), "SELECT '…', '…', \"c\"");
    }
}
