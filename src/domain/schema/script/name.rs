//! How SQL calls the objects of a catalog.

use crate::domain::schema::catalog::{Kind, ObjectKey, last_part, parts};
use crate::domain::sql::quote_ident;
use serde_json::Value;

/// The words SQL uses for a kind: `MATERIALIZED VIEW`. None for what has no words of its own, as a privilege.
pub(super) fn words(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Schema => "SCHEMA",
        Kind::Extension => "EXTENSION",
        Kind::Table => "TABLE",
        Kind::ForeignTable => "FOREIGN TABLE",
        Kind::Column | Kind::ViewColumn => "COLUMN",
        Kind::Constraint | Kind::DomainConstraint => "CONSTRAINT",
        Kind::Index => "INDEX",
        Kind::Sequence | Kind::IdentitySequence => "SEQUENCE",
        Kind::View => "VIEW",
        Kind::MaterializedView => "MATERIALIZED VIEW",
        Kind::Function => "FUNCTION",
        Kind::Procedure => "PROCEDURE",
        Kind::Aggregate => "AGGREGATE",
        Kind::Trigger => "TRIGGER",
        Kind::Rule => "RULE",
        Kind::Policy => "POLICY",
        Kind::Enum | Kind::CompositeType | Kind::RangeType | Kind::BaseType => "TYPE",
        Kind::Domain => "DOMAIN",
        Kind::Collation => "COLLATION",
        Kind::Statistics => "STATISTICS",
        Kind::Publication => "PUBLICATION",
        Kind::EventTrigger => "EVENT TRIGGER",
        Kind::Cast => "CAST",
        Kind::Operator => "OPERATOR",
        Kind::OperatorClass => "OPERATOR CLASS",
        Kind::ForeignServer => "SERVER",
        Kind::TextSearchConfiguration => "TEXT SEARCH CONFIGURATION",
        Kind::Default | Kind::Privilege | Kind::PrivilegeRevoked | Kind::DefaultPrivilege | Kind::Comment => {
            return None;
        }
    })
}

/// What DROP, COMMENT ON and ALTER ... OWNER call the object: `TRIGGER t ON public.orders`.
pub(super) fn reference(key: &ObjectKey) -> Option<String> {
    let words = words(key.kind)?;
    Some(match key.kind {
        Kind::Trigger | Kind::Rule | Kind::Policy | Kind::Constraint => {
            format!("{words} {} ON {}", key.last_part(), above(&key.name))
        }
        Kind::DomainConstraint => format!("{words} {} ON DOMAIN {}", key.last_part(), above(&key.name)),
        // The name of an operator carries its types behind a comma without a space, as regoperator writes it.
        _ => format!("{words} {}", key.name),
    })
}

/// The name without its last part: the table of a column.
pub(super) fn above(name: &str) -> &str {
    let last = last_part(name);
    name.strip_suffix(last).and_then(|rest| rest.strip_suffix('.')).unwrap_or(name)
}

/// The schema part of a name.
pub(super) fn space(name: &str) -> Option<&str> {
    let parts = parts(name);
    (parts.len() > 1).then(|| parts[0])
}

/// A plain `schema.name` (or `schema.table.column`) quoted as SQL needs. None where a dot within a name makes it ambiguous.
pub(super) fn quoted(plain: &str, parts: usize) -> Option<String> {
    let split: Vec<&str> = plain.split('.').collect();
    (split.len() == parts).then(|| split.into_iter().map(quote_ident).collect::<Vec<_>>().join("."))
}

/// A function named with its argument types, without them: what CREATE AGGREGATE and CREATE OPERATOR take.
pub(super) fn bare(function: &str) -> &str {
    function.split_once('(').map_or(function, |(name, _)| name)
}

/// The texts of a JSON list; empty for anything else.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether SQL text speaks of the object by its qualified name.
///
/// What PostgreSQL deparses is fully qualified, so a name that is not in the text is not meant by it; one that is may be something else of the
/// same name, which costs no more than an order that was not needed.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    let part_of_name = |character: char| character.is_alphanumeric() || matches!(character, '_' | '"' | '$' | '.');
    text.match_indices(name).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(part_of_name)
            && !text[at + name.len()..].chars().next().is_some_and(|next| part_of_name(next) && next != '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_mentioned_whole_or_not_at_all() {
        assert!(mentions("SELECT t.a FROM public.t", "public.t"));
        assert!(mentions("nextval('public.t_id_seq'::regclass)", "public.t_id_seq"));
        assert!(mentions("public.t.a > 1", "public.t"));
        assert!(mentions("public.f(1)", "public.f(a integer)"));
        assert!(!mentions("SELECT a FROM public.t2", "public.t"));
        assert!(!mentions("SELECT a FROM a_public.t", "public.t"));
    }

    #[test]
    fn what_hangs_on_a_table_is_named_with_it() {
        let reference = |text: &str| reference(&ObjectKey::parse(text).unwrap()).unwrap();
        assert_eq!(reference(r#"trigger:public."T.x".stamp"#), r#"TRIGGER stamp ON public."T.x""#);
        assert_eq!(reference("domain_constraint:public.d.c"), "CONSTRAINT c ON DOMAIN public.d");
        assert_eq!(reference("function:public.f(a integer)"), "FUNCTION public.f(a integer)");
    }
}
