//! `.env` files: read into a map, never put into the process's environment.
//!
//! The syntax is dotenvy's. Two things differ: a `$` stands for itself, so that no password is mangled, and only `${NAME}` (outside
//! single quotes) is replaced, by the real environment or an earlier line; dotenvy alone would also read the process's
//! environment by itself. An error never repeats the line, as it may hold a secret.

use crate::domain::code::Code;
use crate::domain::failure::Failure;
use std::collections::BTreeMap;

/// Takes the place of the `$` of a `${NAME}` that is to be replaced; a private-use character that no real file holds.
const REFERENCE: char = '\u{F8FE}';

/// Reads the text of the file shown as `file`; a later line wins over an earlier one with the same name.
///
/// `outer` answers for the names in `${NAME}` that the file itself does not set, and wins over it.
///
/// # Errors
/// [`Code::BadConfig`] with the place of the line that does not read, or that refers to a variable that is not set.
pub fn parse(file: &str, text: &str, outer: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    let text = guard(text.strip_prefix('\u{FEFF}').unwrap_or(text));
    let mut variables = BTreeMap::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = item.map_err(|error| match error {
            dotenvy::Error::LineParse(fragment, _) => unreadable(file, line_of(&text, &fragment)),
            other => Failure::new(Code::BadConfig, format!("`{file}` cannot be read")).source(&other),
        })?;
        let value =
            expand(&value, |name| outer.get(name).or_else(|| variables.get(name)).cloned()).map_err(|missing| {
                Failure::new(Code::BadConfig, format!("`{name}` refers to `{missing}`, which is not set"))
                    .hint("set it on an earlier line, or put the value in single quotes if `${` is part of it")
                    .at(file, line_that_sets(&text, &name), 1)
            })?;
        variables.insert(name, value);
    }
    Ok(variables)
}

fn unreadable(file: &str, line: u32) -> Failure {
    Failure::new(Code::BadConfig, format!("a line of `{file}` cannot be read"))
        .hint("write NAME=value, NAME=\"value\" with \\ before \\ and \", or NAME='value' as it is")
        .at(file, line, 1)
}

/// The line, from 1, on which `fragment` starts.
fn line_of(text: &str, fragment: &str) -> u32 {
    let before = text.find(fragment).map_or("", |at| &text[..at]);
    u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX - 1) + 1
}

/// The line, from 1, that sets `name`.
fn line_that_sets(text: &str, name: &str) -> u32 {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    u32::try_from(text.lines().position(sets).unwrap_or_default()).unwrap_or(u32::MAX - 1) + 1
}

/// Escapes each `$` that dotenvy would take for a variable, and marks those of `${NAME}` for [`expand`].
fn guard(text: &str) -> String {
    #[derive(PartialEq)]
    enum In {
        Plain,
        Single,
        Double,
        Comment,
    }
    let mut state = In::Plain;
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    // The start of a line counts as a blank: a `#` there opens a comment too.
    let mut after_blank = true;
    while let Some(c) = rest.next() {
        match (&state, c) {
            (In::Comment, '\n') => state = In::Plain,
            (In::Comment, _) => {}
            (In::Single, '\'') | (In::Double, '"') => state = In::Plain,
            (In::Single, _) => {}
            (In::Plain, '\'') => state = In::Single,
            (In::Plain, '"') => state = In::Double,
            (In::Plain, '#') if after_blank => state = In::Comment,
            (_, '\\') => {
                out.push(c);
                if let Some(next) = rest.next() {
                    out.push(next);
                }
                after_blank = false;
                continue;
            }
            (_, '$') => {
                out.push_str(if rest.peek() == Some(&'{') { "\u{F8FE}" } else { "\\$" });
                after_blank = false;
                continue;
            }
            _ => {}
        }
        after_blank = c.is_whitespace();
        out.push(c);
    }
    out
}

/// Replaces each marked `{NAME}`; the error is the first name that has no value.
fn expand(value: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut parts = value.split(REFERENCE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some((name, rest)) => {
                out += &lookup(name).ok_or_else(|| name.to_owned())?;
                out += rest;
            }
            None => {
                out.push('$');
                out += part;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Failure> {
        let outer = BTreeMap::from([("OUTER".to_owned(), "o".to_owned())]);
        parse(".env", text, &outer).map(|variables| variables.into_iter().collect())
    }

    #[test]
    fn lines_quotes_comments_and_export_read() {
        let text = "\u{FEFF}# don't stop here\nA=1\nexport B=\"two words\" # it's a comment\n\nC='#3'\r\nD=\nE=a\\ b\n";
        let pairs = read(text).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "1"), ("B", "two words"), ("C", "#3"), ("D", ""), ("E", "a b")]);
    }

    #[test]
    fn a_dollar_stands_for_itself_and_only_braces_refer() {
        let text = "A=pa$word\nB=\"$A $\"\nC='${A}'\nD=${A}-${OUTER}\nE=\\${A}\nF=\"x${A}y\"\n";
        let values: Vec<_> = read(text).unwrap().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["pa$word", "$A $", "${A}", "pa$word-o", "${A}", "xpa$wordy"]);
    }

    #[test]
    fn a_bad_line_is_placed_and_not_repeated() {
        for text in ["A=1\nB=\"hunter2\n", "A=1\nhunter2\n", "A=1\nB=hun ter2\n", "A=1\nB=\"hunter2${NOPE}\"\n"] {
            let failure = read(text).unwrap_err();
            assert_eq!(failure.code, Code::BadConfig, "{text}");
            assert_eq!(failure.place.as_ref().map(|place| place.line), Some(2), "{text}");
            assert!(!format!("{failure:?}").contains("ter2"), "{failure:?}");
        }
    }
}
