//! Which changes of a column's type leave its rows as they are.
//!
//! What PostgreSQL does is in `ATColumnChangeRequiresRewrite` (`src/backend/commands/tablecmds.c`): the conversion of a value, once
//! simplified, must be nothing but a new label on the same bytes.

use super::act::{Expr, Name, Shape, TypeName};
use super::facts::{Facts, UserType};

/// Pairs that are binary-coercible on every server, beside those the rules below know.
const SAME_BYTES: &[(&str, &str)] = &[
    ("cidr", "inet"),
    ("int4", "oid"),
    ("oid", "int4"),
    ("xml", "text"),
    ("xml", "varchar"),
    ("text", "citext"),
    ("varchar", "citext"),
    ("citext", "text"),
    ("citext", "varchar"),
    ("bit", "varbit"),
    ("int4", "regclass"),
    ("regclass", "int4"),
    ("regclass", "oid"),
    ("oid", "regclass"),
    ("regproc", "oid"),
    ("oid", "regproc"),
    ("regtype", "oid"),
    ("oid", "regtype"),
    ("hstore", "hstore"),
];

/// Whether a time zone is UTC at all times, under one of its names: then `timestamp` and `timestamptz` have the same bytes.
#[must_use]
pub fn is_utc(zone: &str) -> bool {
    let name = zone.to_ascii_lowercase();
    let name = name.strip_prefix("etc/").unwrap_or(&name);
    ["utc", "uct", "gmt", "gmt0", "gmt+0", "gmt-0", "zulu", "universal", "greenwich", "0"].contains(&name)
}

/// Whether changing a column from `old` to `new` rewrites its table; `None` if that is not known because `old` is not.
#[must_use]
pub fn rewrites(
    facts: &Facts,
    old: Option<&TypeName>,
    new: &TypeName,
    column: &str,
    using: Option<&Expr>,
) -> Option<bool> {
    let known = old.filter(|old| !old.name.is_empty());
    if let Some(using) = using.filter(|using| !is_plain(&using.shape, column, new)) {
        let same = known.and_then(|old| relabelled(facts, &using.shape, column, old));
        return Some(same.is_none_or(|ty| !same_bytes(facts, &ty, new)));
    }
    let Some(old) = old.filter(|old| !old.name.is_empty()) else {
        return likely(facts, new, using.is_some_and(|using| matches!(using.shape, Shape::Cast(..))));
    };
    Some(!same_bytes(facts, old, new))
}

/// Whether a column of an unknown type is rewritten on its way to `new`; `None` for most likely.
///
/// Without USING only what may be assigned can be the old type, and what people write most often is a longer text of the same kind.
/// With a cast the two are rather different.
fn likely(facts: &Facts, new: &TypeName, cast: bool) -> Option<bool> {
    if cast || new.array {
        return None;
    }
    match (new.name.as_str(), new.mods.as_slice()) {
        ("text" | "varchar" | "citext" | "inet" | "varbit", _) | ("numeric" | "interval", []) => Some(false),
        ("timestamp" | "timestamptz", [] | [6]) if facts.utc => Some(false),
        _ => None,
    }
}

/// Whether nearly everything that becomes this type without a USING keeps its bytes.
#[must_use]
pub fn always_free(new: &TypeName) -> bool {
    new.schema.is_none() && new.name == "inet" && !new.array
}

/// Whether an expression is the column itself, or its cast to the new type.
fn is_plain(shape: &Shape, column: &str, new: &TypeName) -> bool {
    match shape {
        Shape::Column(name) => name == column,
        Shape::Cast(inner, ty) => ty == new && is_plain(inner, column, new),
        _ => false,
    }
}

/// The type of an expression that is the column's bytes under other labels; `None` if it is anything else.
fn relabelled(facts: &Facts, shape: &Shape, column: &str, old: &TypeName) -> Option<TypeName> {
    match shape {
        Shape::Column(name) if name == column => Some(old.clone()),
        Shape::Cast(inner, ty) => {
            let before = relabelled(facts, inner, column, old)?;
            same_bytes(facts, &before, ty).then(|| ty.clone())
        }
        _ => None,
    }
}

fn same_bytes(facts: &Facts, old: &TypeName, new: &TypeName) -> bool {
    if let Some(UserType::Domain { base, constrained, .. }) = facts.user_type(new)
        && !new.array
    {
        return same_type(facts, old, new) || (!constrained && same_bytes(facts, old, base));
    }
    if let Some(UserType::Domain { base, .. }) = facts.user_type(old)
        && !old.array
    {
        // The length of the type below is the domain's business, and not known of its values.
        return same_bytes(facts, &TypeName { mods: Vec::new(), ..base.clone() }, new);
    }
    if old.array || new.array {
        // Elements are converted one by one unless nothing at all has to be done to them.
        let element = |ty: &TypeName| TypeName { array: false, ..ty.clone() };
        let (from, to) = (element(old), element(new));
        return (same_type(facts, old, new) && old.mods == new.mods)
            || (old.array == new.array && to.mods.is_empty() && from.name == to.name && same_bytes(facts, &from, &to));
    }
    let one = |mods: &[i32]| mods.first().copied();
    match (old.name.as_str(), new.name.as_str()) {
        ("varchar" | "text" | "citext", "varchar") => match (one(&old.mods), one(&new.mods)) {
            (_, None) => old.name != "citext" || pair(facts, "citext", "varchar"),
            (Some(before), Some(after)) => old.name == "varchar" && after >= before,
            (None, Some(_)) => false,
        },
        ("varchar", "text") => true,
        ("bpchar", "bpchar") | ("bit", "bit") => old.mods == new.mods,
        ("varbit", "varbit") => match (one(&old.mods), one(&new.mods)) {
            (_, None) => true,
            (Some(before), Some(after)) => after >= before,
            (None, Some(_)) => false,
        },
        ("numeric", "numeric") => match (old.mods.as_slice(), new.mods.as_slice()) {
            (_, []) => true,
            ([], _) => false,
            (before, after) => {
                let scale = |mods: &[i32]| mods.get(1).copied().unwrap_or(0);
                after[0] >= before[0] && scale(before) == scale(after)
            }
        },
        ("timestamp", "timestamp") | ("timestamptz", "timestamptz") | ("time", "time") | ("timetz", "timetz") => {
            let digits = |mods: &[i32]| one(mods).unwrap_or(6);
            digits(&new.mods) >= digits(&old.mods)
        }
        ("interval", "interval") => {
            let all = |mods: &[i32]| mods.is_empty();
            all(&new.mods)
                || old.mods == new.mods
                || (new.mods.first() == old.mods.first() && new.mods.get(1) >= old.mods.get(1))
        }
        // A precision is another step, which is left out only where it can never cut anything.
        ("timestamp", "timestamptz") | ("timestamptz", "timestamp") => {
            facts.utc && one(&new.mods).is_none_or(|it| it == 6)
        }
        _ if same_type(facts, old, new) => old.mods == new.mods || new.mods.is_empty(),
        (before, after) => new.mods.is_empty() && pair(facts, before, after),
    }
}

/// Whether two names mean one type, whatever is said of its length. A catalog writes the schema, people mostly do not.
fn same_type(facts: &Facts, old: &TypeName, new: &TypeName) -> bool {
    let place = |ty: &TypeName| facts.rel(&Name { schema: ty.schema.clone(), name: ty.name.clone() });
    old.name == new.name && old.array == new.array && (old.schema == new.schema || place(old) == place(new))
}

fn pair(facts: &Facts, before: &str, after: &str) -> bool {
    if facts.complete {
        return facts.binary_coercible.contains(&(before.to_owned(), after.to_owned()));
    }
    SAME_BYTES.contains(&(before, after))
}

/// Whether an index over the column has to be built anew although its rows stay: it sorts by another rule.
#[must_use]
pub fn reorders(old: &TypeName, new: &TypeName) -> bool {
    let family = |ty: &TypeName| match ty.name.as_str() {
        "text" | "varchar" => "text",
        "cidr" | "inet" => "inet",
        "timestamp" => "timestamp",
        "timestamptz" => "timestamptz",
        "citext" => "citext",
        _ => "",
    };
    let (before, after) = (family(old), family(new));
    !before.is_empty() && !after.is_empty() && before != after
}

#[cfg(test)]
mod tests {
    use super::super::read::type_definition;
    use super::*;

    #[test]
    fn the_exact_list_of_types_that_keep_their_bytes() {
        let facts = Facts::of_text();
        let ty = |text: &str| type_definition(text).unwrap();
        for (old, new, kept) in [
            ("varchar(10)", "varchar(20)", true),
            ("varchar(20)", "varchar(10)", false),
            ("varchar(20)", "text", true),
            ("varchar(20)", "varchar", true),
            ("text", "varchar", true),
            ("text", "varchar(5)", false),
            ("char(5)", "char(6)", false),
            ("char(5)", "text", false),
            ("text", "char(5)", false),
            ("numeric(8,2)", "numeric(10,2)", true),
            ("numeric(8,2)", "numeric", true),
            ("numeric(8,2)", "numeric(10,3)", false),
            ("numeric", "numeric(10,2)", false),
            ("integer", "bigint", false),
            ("integer", "integer", true),
            ("timestamp(3)", "timestamp", true),
            ("timestamp", "timestamp(3)", false),
            ("timestamp", "timestamptz", true),
            ("timestamp(3)", "timestamptz(3)", false),
            ("cidr", "inet", true),
            ("inet", "cidr", false),
            ("text", "citext", true),
            ("json", "jsonb", false),
            ("text", "jsonb", false),
            ("varchar(9)[]", "text[]", false),
            ("varchar(9)[]", "varchar[]", true),
            ("varchar(9)[]", "varchar(10)[]", false),
            ("integer", "text", false),
            ("bit varying(5)", "bit varying(9)", true),
        ] {
            assert_eq!(same_bytes(&facts, &ty(old), &ty(new)), kept, "{old} to {new}");
        }
        let elsewhere = Facts { utc: false, ..Facts::of_text() };
        assert!(!same_bytes(&elsewhere, &ty("timestamp"), &ty("timestamptz")));
    }

    #[test]
    fn using_something_else_than_the_column_always_rewrites() {
        let facts = Facts::of_text();
        let (old, new) = (type_definition("text").unwrap(), type_definition("varchar").unwrap());
        let column = Expr { shape: Shape::Column("a".to_owned()), ..Expr::default() };
        let cast = Expr { shape: Shape::Cast(Box::new(column.shape.clone()), new.clone()), ..Expr::default() };
        assert_eq!(rewrites(&facts, Some(&old), &new, "a", Some(&column)), Some(false));
        assert_eq!(rewrites(&facts, Some(&old), &new, "a", Some(&cast)), Some(false));
        assert_eq!(rewrites(&facts, Some(&old), &new, "a", Some(&Expr::default())), Some(true));
        assert_eq!(rewrites(&facts, None, &new, "a", None), Some(false));
        assert_eq!(rewrites(&facts, None, &type_definition("bigint").unwrap(), "a", None), None);
    }
}
