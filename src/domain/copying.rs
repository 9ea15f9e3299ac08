//! What of the target's rows goes into a sandbox: all, some, and which columns only under a mask.

use super::finding::{Finding, Severity};
use super::schema::catalog::{Catalog, Kind};
use super::sql::{quote_ident, quote_literal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How much a sample holds of each table. What its rows refer to comes along, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// About so many rows of each table at least; a table with fewer is copied whole.
    pub rows: u64,
    /// And at least this part of them, in percent.
    pub percent: u64,
}

impl Sample {
    /// The part of a table with `rows` rows that is picked, in millionths; all of it from 1,000,000 on.
    #[must_use]
    pub fn millionths(&self, rows: u64) -> u64 {
        let by_rows = self.rows.saturating_mul(1_000_000).checked_div(rows).unwrap_or(1_000_000);
        by_rows.max(self.percent.saturating_mul(10_000)).min(1_000_000)
    }
}

/// What stands in a sandbox instead of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// An address at `example.invalid`, the same for the same value.
    Email,
    /// `Name` and some letters, the same for the same value.
    Name,
    /// As many `x` as the value has characters.
    Text,
    /// Nothing.
    Null,
    /// A keyed hash: the same for the same value, so that joins and unique constraints hold.
    Hash,
    /// A number from 0 to 999, the same for the same value.
    Number,
    /// This text.
    Constant(String),
}

/// The words a mask may be.
pub const RULES: &[&str] = &["email", "name", "text", "null", "hash", "number", "constant:VALUE"];

/// One column that reaches no sandbox as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// The schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// What stands instead.
    pub instead: Instead,
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", quote_ident(&self.schema), quote_ident(&self.table), quote_ident(&self.column))
    }
}

impl Mask {
    /// From a line like `"public.customers.email" = "email"`; a name without a schema is in `public`.
    ///
    /// # Errors
    /// What it must be instead, in words.
    pub fn parse(column: &str, rule: &str) -> Result<Self, String> {
        let parts = parts(column).ok_or("the name of a column, like \"public.customers.email\"")?;
        let (schema, table, column) = match parts.as_slice() {
            [table, column] => ("public", table, column),
            [schema, table, column] => (schema.as_str(), table, column),
            _ => return Err("the name of a column, like \"public.customers.email\"".to_owned()),
        };
        let instead = match rule {
            "email" => Instead::Email,
            "name" => Instead::Name,
            "text" => Instead::Text,
            "null" => Instead::Null,
            "hash" => Instead::Hash,
            "number" => Instead::Number,
            _ => match rule.strip_prefix("constant:") {
                Some(value) => Instead::Constant(value.to_owned()),
                None => return Err(format!("one of {}", RULES.join(", "))),
            },
        };
        Ok(Self { schema: schema.to_owned(), table: table.clone(), column: column.clone(), instead })
    }

    /// The expression that stands instead of the column, of its type `kind` as `format_type` writes it; `key` makes hashes a run's own.
    ///
    /// # Errors
    /// In a sentence, if a column of this type cannot be masked so.
    pub fn expression(&self, kind: &str, key: &str) -> Result<String, String> {
        let column = quote_ident(&self.column);
        let hash = format!("encode(sha256(convert_to({} || {column}::text, 'UTF8')), 'hex')", quote_literal(key));
        let value = match &self.instead {
            Instead::Email => format!("'u' || substr({hash}, 1, 16) || '@example.invalid'"),
            Instead::Name => format!("'Name ' || substr({hash}, 1, 8)"),
            Instead::Text => format!("repeat('x', length({column}::text))"),
            Instead::Null => "NULL".to_owned(),
            Instead::Number => format!("('x' || substr({hash}, 1, 6))::bit(24)::int % 1000"),
            Instead::Constant(value) => quote_literal(value),
            Instead::Hash => match kind {
                "uuid" => format!("substr({hash}, 1, 32)"),
                "bigint" => format!("('x' || substr({hash}, 1, 16))::bit(64)::bigint & 9223372036854775807"),
                // Some ten thousand values of 31 bits are enough for two to be the same.
                "integer" | "smallint" => {
                    return Err(format!("{self} is {kind}, too narrow for hashes that stay apart"));
                }
                _ => format!("substr({hash}, 1, 32)"),
            },
        };
        Ok(format!("CAST({value} AS {kind})"))
    }
}

/// The parts of a name, with or without double quotes.
fn parts(name: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut letters = name.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                parts.last_mut()?.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            letter => parts.last_mut()?.push(letter),
        }
    }
    (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// Words that often name something of a person, with the mask that fits.
const PERSONAL: &[(&str, &str)] = &[
    ("email", "email"),
    ("e_mail", "email"),
    ("phone", "text"),
    ("mobile", "text"),
    ("first_name", "name"),
    ("last_name", "name"),
    ("full_name", "name"),
    ("surname", "name"),
    ("birth", "null"),
    ("ssn", "hash"),
    ("iban", "hash"),
    ("passport", "hash"),
    ("address", "text"),
    ("street", "text"),
    ("password", "constant:x"),
    ("token", "hash"),
];

/// The mask that fits a column by its name, if that sounds personal.
#[must_use]
pub fn suggested(column: &str) -> Option<&'static str> {
    let column = column.to_ascii_lowercase();
    PERSONAL.iter().find(|(word, _)| column.contains(word)).map(|(_, rule)| *rule)
}

/// Notes on columns whose names sound personal and that are copied as they are, where others are masked.
#[must_use]
pub fn unmasked(catalog: &Catalog, masks: &[Mask]) -> Vec<Finding> {
    if masks.is_empty() {
        return Vec::new();
    }
    let masked: Vec<String> = masks.iter().map(ToString::to_string).collect();
    let columns = catalog.of_kind(Kind::Column).filter(|(key, object)| {
        object.parent.as_ref().is_some_and(|parent| parent.kind == Kind::Table) && !masked.contains(&key.name)
    });
    columns
        .filter_map(|(key, _)| {
            let rule = suggested(key.last_part())?;
            Some(Finding {
                code: "personal_column_unmasked".to_owned(),
                severity: Severity::Info,
                object: key.name.clone(),
                message: format!(
                    "{} sounds personal and is copied into the sandbox as it is; to mask it, add `\"{}\" = \"{rule}\"` to [sandbox.mask]",
                    key.name,
                    key.name.replace('"', "\\\"")
                ),
                allowed: false,
                waived: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_names_a_column_and_what_stands_instead() {
        let mask = Mask::parse("public.customers.email", "email").unwrap();
        assert_eq!((mask.to_string().as_str(), &mask.instead), ("public.customers.email", &Instead::Email));
        let mask = Mask::parse("\"My Shop\".\"a.b\".c", "constant:gone").unwrap();
        assert_eq!((mask.schema.as_str(), mask.table.as_str(), mask.column.as_str()), ("My Shop", "a.b", "c"));
        assert_eq!(mask.instead, Instead::Constant("gone".to_owned()));
        assert_eq!(Mask::parse("customers.email", "hash").unwrap().schema, "public");
        for (column, rule) in
            [("email", "email"), ("a.b.c.d", "null"), ("a..b", "null"), ("a.\"b", "null"), ("a.b", "nul")]
        {
            assert!(Mask::parse(column, rule).is_err(), "{column} {rule}");
        }
    }

    #[test]
    fn an_integer_is_not_hashed_as_two_would_meet() {
        let mask = Mask::parse("t.c", "hash").unwrap();
        assert!(mask.expression("integer", "k").is_err());
        assert!(mask.expression("bigint", "k").unwrap().contains("bit(64)"));
    }

    #[test]
    fn a_sample_takes_a_part_and_never_too_few() {
        let sample = Sample { rows: 1_000, percent: 1 };
        assert_eq!(sample.millionths(500), 1_000_000);
        assert_eq!(sample.millionths(0), 1_000_000);
        assert_eq!(sample.millionths(10_000), 100_000);
        assert_eq!(sample.millionths(100_000_000), 10_000);
    }

    #[test]
    fn names_that_sound_personal_are_known() {
        assert_eq!(suggested("Contact_Email"), Some("email"));
        assert_eq!(suggested("date_of_birth"), Some("null"));
        assert_eq!(suggested("total"), None);
    }
}
