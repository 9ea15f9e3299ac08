//! Tables in their old shape, relations in their present one, and the text of a row.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A column's value in a row that was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// NULL.
    Null,
    /// What PostgreSQL prints for it.
    Text(String),
    /// Stored out of line and not changed: it was not sent.
    Unchanged,
}

/// A table as it was when the capture began, and as the shadow has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldTable {
    /// `schema.table`, quoted.
    pub name: String,
    /// Whether it is partitioned: rows are found in its partitions.
    pub partitioned: bool,
    /// Columns that are computed and take no value.
    pub generated: Vec<String>,
    /// Columns with their types, in order.
    pub columns: Vec<(String, String)>,
    /// The columns that tell rows apart; none without a key.
    pub key: Option<Vec<String>>,
}

/// A relation as it is while a change is captured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Shape {
    /// Its oid.
    pub rel: u32,
    /// The table of the old shape it stands for.
    pub id: i32,
    /// Its columns in order: the name, and the name in the old shape if it is there.
    pub columns: Vec<(String, Option<String>)>,
}

/// The shapes that `cover()` told, by relation.
pub(super) fn shapes(text: &str) -> Result<BTreeMap<u32, Shape>, serde_json::Error> {
    let shapes: Vec<Shape> = serde_json::from_str(text)?;
    Ok(shapes.into_iter().map(|shape| (shape.rel, shape)).collect())
}

/// The fields of a record as PostgreSQL prints it: `(1,"a ""b""",)`. None if it is no record.
pub(super) fn record(text: &str) -> Option<Vec<Value>> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut fields = Vec::new();
    let mut bytes = inside.char_indices().peekable();
    loop {
        let (mut field, mut seen, mut quoted) = (String::new(), false, false);
        loop {
            match bytes.peek().copied() {
                None => break,
                Some((_, ',')) if !quoted => break,
                Some((_, '"')) => {
                    bytes.next();
                    seen = true;
                    if quoted && bytes.peek().is_some_and(|(_, next)| *next == '"') {
                        bytes.next();
                        field.push('"');
                    } else {
                        quoted = !quoted;
                    }
                }
                Some((_, '\\')) => {
                    bytes.next();
                    seen = true;
                    field.push(bytes.next()?.1);
                }
                Some((_, other)) => {
                    bytes.next();
                    seen = true;
                    field.push(other);
                }
            }
        }
        if quoted {
            return None;
        }
        fields.push(if seen { Value::Text(field) } else { Value::Null });
        if bytes.next().is_none() {
            return Some(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_apart() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            record("(1,,\"\",\"a \"\"b\"\", \\\\c\")"),
            Some(vec![text("1"), Value::Null, text(""), text("a \"b\", \\c")])
        );
        assert_eq!(record("(,)"), Some(vec![Value::Null, Value::Null]));
        assert_eq!(record("(\"(1,\"\"x, y\"\")\",{a,b})").map(|fields| fields.len()), Some(3), "unquoted commas part");
        assert_eq!(record("(\"(1,\"\"x, y\"\")\",\"{a,b}\")"), Some(vec![text("(1,\"x, y\")"), text("{a,b}")]));
        for broken in ["", "1", "(\"a)", "(a"] {
            assert_eq!(record(broken), None, "{broken}");
        }
    }

    #[test]
    fn shapes_are_read() {
        let shapes = shapes(r#"[{"rel": 7, "id": 1, "columns": [["a", "b"], ["c", null]]}]"#).unwrap();
        assert_eq!(shapes[&7].columns, [("a".to_owned(), Some("b".to_owned())), ("c".to_owned(), None)]);
    }
}
