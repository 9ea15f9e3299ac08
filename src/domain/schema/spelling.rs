//! The one spelling of an expression that PostgreSQL deparses in two ways.
//!
//! `status IN ('a', 'b')` on a `varchar` is stored as a cast of the whole array. Read back from its own dump, it is an array of casts: the same
//! to the server, but another text. A dump restored would then not be what it was taken from.

use super::catalog::{Catalog, Kind};
use serde_json::Value;

const CAST_ARRAY: &str = "(ARRAY[";

/// Gives every expression of the catalog the spelling it has after a dump and its restoration. What people wrote themselves is left alone: the
/// bodies of functions and comments.
pub fn settle(catalog: &mut Catalog) {
    for (key, object) in &mut catalog.objects {
        if matches!(key.kind, Kind::Function | Kind::Procedure | Kind::Comment) {
            continue;
        }
        object.attributes.iter_mut().for_each(|(_, value)| settle_value(value));
    }
}

fn settle_value(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(settled) = text.contains(CAST_ARRAY).then(|| settled(text)) {
                *text = settled;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(settle_value),
        Value::Object(all) => all.values_mut().for_each(settle_value),
        _ => {}
    }
}

/// `(ARRAY[a, b])::text[]` becomes `ARRAY[(a)::text, (b)::text]`, as the server makes it when it reads that.
fn settled(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + 32);
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (taken, length) = match first {
            '\'' | '"' => {
                let length = quoted(rest);
                (rest[..length].to_owned(), length)
            }
            '(' if !text.ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '"') => {
                cast_array(rest).unwrap_or_else(|| ("(".to_owned(), 1))
            }
            _ => (first.to_string(), first.len_utf8()),
        };
        text.push_str(&taken);
        rest = &rest[length..];
    }
    text
}

/// The cast array that the text begins with, spelled anew, and how long it was.
fn cast_array(text: &str) -> Option<(String, usize)> {
    let inner = text.strip_prefix(CAST_ARRAY)?;
    let (elements, length) = elements(inner)?;
    let cast = inner[length..].strip_prefix("])::")?;
    let (to, _) = cast.split_once("[]")?;
    // With a length the server casts the array once more.
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '.' | '"');
    if to.is_empty() || !to.chars().all(plain) || elements.is_empty() {
        return None;
    }
    let whole = CAST_ARRAY.len() + length + "])::".len() + to.len() + "[]".len();
    Some((array_of(&elements, to), whole))
}

fn array_of(all: &[&str], to: &str) -> String {
    let each: Vec<String> = all
        .iter()
        .map(|element| {
            let nested = element.strip_prefix("ARRAY[").and_then(|inner| {
                let (all, length) = elements(inner)?;
                (length + 1 == inner.len()).then(|| array_of(&all, to))
            });
            nested.unwrap_or_else(|| format!("({})::{to}", settled(element)))
        })
        .collect();
    format!("ARRAY[{}]", each.join(", "))
}

/// The elements of an array up to its closing bracket, and where that is.
fn elements(text: &str) -> Option<(Vec<&str>, usize)> {
    let mut all = Vec::new();
    let (mut depth, mut from, mut at) = (0_usize, 0, 0);
    while let Some(first) = text[at..].chars().next() {
        match first {
            '\'' | '"' => {
                at += quoted(&text[at..]);
                continue;
            }
            '[' | '(' => depth += 1,
            ']' if depth == 0 => {
                let last = text[from..at].trim();
                all.extend((!last.is_empty()).then_some(last));
                return Some((all, at));
            }
            ']' | ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                all.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
        at += first.len_utf8();
    }
    None
}

/// How long the string or name is that the text begins with. PostgreSQL doubles a quote within one, also where it writes escapes.
fn quoted(text: &str) -> usize {
    let quote = text.chars().next().unwrap_or('\'');
    let mut from = quote.len_utf8();
    while let Some(end) = text[from..].find(quote) {
        from += end + quote.len_utf8();
        if !text[from..].starts_with(quote) {
            return from;
        }
        from += quote.len_utf8();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_of_an_array_is_an_array_of_casts() {
        let check = |from: &str, to: &str| {
            assert_eq!(settled(from), to);
            assert_eq!(settled(to), to, "once more");
        };
        // As PostgreSQL 15 deparses them before a dump and after its restoration.
        check(
            "CHECK (((s)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))",
            "CHECK (((s)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
        );
        check("(n = ANY ((ARRAY[1, 2])::numeric[]))", "(n = ANY (ARRAY[(1)::numeric, (2)::numeric]))");
        check("(ARRAY['it''s, a]'::character varying])::text[]", "ARRAY[('it''s, a]'::character varying)::text]");
        check(
            "(ARRAY[ARRAY[1, 2], ARRAY[3, f(4, 5)]])::bigint[]",
            "ARRAY[ARRAY[(1)::bigint, (2)::bigint], ARRAY[(3)::bigint, (f(4, 5))::bigint]]",
        );
        for same in [
            "'(ARRAY[1])::text[]'::text",
            "\"(ARRAY[1])::text[]\"",
            "(ARRAY['a'::character varying])::character varying(20)[]",
            "f(ARRAY[1])",
            "(ARRAY[1, 2] || 3)",
            "(ARRAY[1",
            "ü'",
        ] {
            check(same, same);
        }
    }
}
