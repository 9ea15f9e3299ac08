//! The statements that change an object in place.

use super::Cannot;
use super::create::{
    alter_column, attribute, comment, compression, event_firing, firing, identity_words, owner, sequence_options,
    storage,
};
use super::name::{above, quoted, reference, texts};
use crate::domain::schema::catalog::{Catalog, Kind, Object, ObjectKey};
use crate::domain::schema::diff::Change;
use crate::domain::sql::{quote_ident, quote_literal};
use serde_json::Value;

/// How an object becomes what it is to be.
pub(super) enum Way {
    /// These statements do it where it stands.
    InPlace(Vec<String>),
    /// It has to go and come again; it holds nothing that is lost by that.
    Again,
}

/// Whether one version comes before another; what is no number is not compared.
fn is_older(one: &str, other: &str) -> bool {
    let numbers = |version: &str| version.split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<u64>>>();
    numbers(one).zip(numbers(other)).is_some_and(|(one, other)| one < other)
}

/// The way from `old` to `new`, the same object in both catalogs.
///
/// # Errors
/// Why SQL has no way that keeps what the object holds.
pub(super) fn alter(from: &Catalog, to: &Catalog, change: &Change, old: &Object, new: &Object) -> Result<Way, Cannot> {
    let key = &change.key();
    let name = key.name.as_str();
    let mut made = Vec::new();
    if change.touches("owner") {
        made.extend(owner(key, new));
    }
    let only = |attributes: &[&str]| change.attributes.keys().all(|name| attributes.contains(&name.as_str()));
    match key.kind {
        Kind::Schema => {}
        Kind::Extension => {
            if change.touches("schema") {
                made.push(format!("ALTER EXTENSION {name} SET SCHEMA {}", new.text("schema").unwrap_or_default()));
            }
            if change.touches("version") {
                if is_older(new.text("version").unwrap_or_default(), old.text("version").unwrap_or_default()) {
                    return Err(Cannot::because("an extension has no way back to an older version"));
                }
                let version = quote_literal(new.text("version").unwrap_or_default());
                made.push(format!("ALTER EXTENSION {name} UPDATE TO {version}"));
            }
        }
        Kind::Table | Kind::ForeignTable => made.extend(table(key, change, old, new)?),
        Kind::Column => made.extend(column(from, to, key, change, old, new)?),
        Kind::Default => {
            made.push(format!("{} SET DEFAULT {}", alter_column(key, new), new.text("expr").unwrap_or_default()))
        }
        Kind::Constraint => {
            let definitions = (old.text("definition").unwrap_or_default(), new.text("definition").unwrap_or_default());
            if only(&["definition"]) && definitions.0.strip_suffix(" NOT VALID") == Some(definitions.1) {
                made.push(format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", above(name), key.last_part()));
            } else {
                return Ok(Way::Again);
            }
        }
        Kind::Sequence | Kind::IdentitySequence => made.extend(sequence(key, change, new)?),
        Kind::View if only(&["owner", "options"]) => made.extend(options("VIEW", name, old, new)),
        Kind::MaterializedView if only(&["owner", "options"]) => {
            made.extend(options("MATERIALIZED VIEW", name, old, new));
        }
        Kind::Function | Kind::Procedure if same_signature(old, new) => {
            if change.touches("definition") || change.touches("volatility") {
                made.push(new.text("definition").unwrap_or_default().trim_end().to_owned());
            }
        }
        Kind::Trigger | Kind::Rule if only(&["enabled"]) => made.extend(firing(key, new)),
        Kind::EventTrigger if only(&["enabled", "owner"]) => made.extend(event_firing(key, new)),
        Kind::Enum if is_replaced(old, new) => return Ok(Way::InPlace(replaced(from, to, key, new)?)),
        Kind::Enum => made.extend(enum_values(name, old, new)),
        Kind::Domain => {
            if change.touches("type") || change.touches("collation") {
                return Err(Cannot::because("the type below a domain cannot be altered"));
            }
            if change.touches("default") {
                made.push(match new.text("default") {
                    Some(default) => format!("ALTER DOMAIN {name} SET DEFAULT {default}"),
                    None => format!("ALTER DOMAIN {name} DROP DEFAULT"),
                });
            }
            if change.touches("not_null") {
                let word = if new.is("not_null") { "SET" } else { "DROP" };
                made.push(format!("ALTER DOMAIN {name} {word} NOT NULL"));
            }
        }
        Kind::CompositeType => made.extend(composite(name, old, new)?),
        Kind::BaseType | Kind::RangeType if !only(&["owner"]) => {
            return Err(Cannot::because("a base or range type cannot be altered, and what uses it would go with it"));
        }
        Kind::Statistics if only(&["owner", "target"]) => {
            let target = new.get("target").as_i64().unwrap_or(-1);
            made.push(format!("ALTER STATISTICS {name} SET STATISTICS {target}"));
        }
        Kind::Privilege => {
            // Granting again adds the option; taking it away is a REVOKE of its own.
            let grant = super::create::create(to, key, new)?;
            if old.is("grantable") && !new.is("grantable") {
                made.push(super::create::revoke(key, new)?.replacen("REVOKE ", "REVOKE GRANT OPTION FOR ", 1));
            } else {
                made.extend(grant);
            }
        }
        Kind::Comment => made.push(comment(key, new.text("text"))?),
        Kind::OperatorClass if !only(&["owner"]) => {
            return Err(Cannot::because("an operator class cannot be altered, and what uses it would go with it"));
        }
        _ if only(&["owner"]) => {}
        _ => return Ok(Way::Again),
    }
    Ok(Way::InPlace(made))
}

/// Whether CREATE OR REPLACE takes the new definition for the old function.
fn same_signature(old: &Object, new: &Object) -> bool {
    let defaults = |object: &Object| {
        let header = object.text("definition").unwrap_or_default();
        header.split("\nAS ").next().unwrap_or_default().matches(" DEFAULT ").count()
    };
    old.text("result") == new.text("result") && defaults(old) <= defaults(new)
}

/// `SET (...)` what is new or other, `RESET (...)` what is gone.
fn options(what: &str, name: &str, old: &Object, new: &Object) -> Vec<String> {
    let (set, reset) = settings(old.get("options"), new.get("options"));
    let mut made = Vec::new();
    if !set.is_empty() {
        made.push(format!("ALTER {what} {name} SET ({})", set.join(", ")));
    }
    if !reset.is_empty() {
        made.push(format!("ALTER {what} {name} RESET ({})", reset.join(", ")));
    }
    made
}

/// What is to be set and what reset between two lists of `name=value`.
fn settings<'a>(old: &'a Value, new: &'a Value) -> (Vec<&'a str>, Vec<&'a str>) {
    fn setting(text: &str) -> &str {
        text.split_once('=').map_or(text, |(name, _)| name)
    }
    let (old, new) = (texts(old), texts(new));
    let set = new.iter().copied().filter(|option| !old.contains(option)).collect();
    let kept = |option: &&str| new.iter().any(|other| setting(other) == setting(option));
    (set, old.iter().copied().filter(|option| !kept(option)).map(setting).collect())
}

/// The tables it inherits from or is a partition of, quoted as SQL needs.
pub(super) fn parents(object: &Object) -> Result<Vec<String>, Cannot> {
    let parents = texts(object.get("parents")).into_iter().map(|parent| quoted(parent, 2)).collect::<Option<_>>();
    parents.ok_or_else(|| Cannot::because("the name of a parent holds a dot"))
}

/// What takes a table from the parents it is to lose, which may be about to go, and which those are.
pub(super) fn orphan(key: &ObjectKey, old: &Object, new: &Object) -> Result<(Vec<String>, Vec<String>), Cannot> {
    let (was, is) = (parents(old)?, parents(new)?);
    let name = &key.name;
    if old.text("partition_bound").is_some() {
        let made = was.iter().map(|parent| format!("ALTER TABLE {parent} DETACH PARTITION {name}")).collect();
        return Ok((made, was));
    }
    let lost: Vec<String> = was.into_iter().filter(|parent| !is.contains(parent)).collect();
    Ok((lost.iter().map(|parent| format!("ALTER TABLE {name} NO INHERIT {parent}")).collect(), lost))
}

fn table(key: &ObjectKey, change: &Change, old: &Object, new: &Object) -> Result<Vec<String>, Cannot> {
    let name = key.name.as_str();
    let mut made = Vec::new();
    for (attribute, why) in [
        ("partition_key", "how a table is partitioned cannot be altered, and its rows would go with it"),
        ("of_type", "a typed table has to be altered by hand"),
        ("server", "a foreign table cannot move to another server"),
        ("foreign_options", "the options of a foreign table have to be altered by hand"),
    ] {
        if change.touches(attribute) {
            return Err(Cannot::because(why));
        }
    }
    if change.touches("persistence") {
        let word = if new.text("persistence") == Some("u") { "UNLOGGED" } else { "LOGGED" };
        made.push(format!("ALTER TABLE {name} SET {word}"));
    }
    if change.touches("access_method") {
        let method = quote_ident(new.text("access_method").unwrap_or("heap"));
        made.push(format!("ALTER TABLE {name} SET ACCESS METHOD {method}"));
    }
    if change.touches("parents") || change.touches("partition_bound") {
        let (was, is) = (parents(old)?, parents(new)?);
        if let Some(bound) = new.text("partition_bound") {
            made.extend(is.first().map(|parent| format!("ALTER TABLE {parent} ATTACH PARTITION {name} {bound}")));
        } else {
            let come = is.iter().filter(|parent| !was.contains(parent) || old.text("partition_bound").is_some());
            made.extend(come.map(|parent| format!("ALTER TABLE {name} INHERIT {parent}")));
        }
    }
    if change.touches("row_security") {
        let word = if new.is("row_security") { "ENABLE" } else { "DISABLE" };
        made.push(format!("ALTER TABLE {name} {word} ROW LEVEL SECURITY"));
    }
    if change.touches("force_row_security") {
        let word = if new.is("force_row_security") { "FORCE" } else { "NO FORCE" };
        made.push(format!("ALTER TABLE {name} {word} ROW LEVEL SECURITY"));
    }
    if change.touches("replica_identity") {
        let word = match new.text("replica_identity") {
            Some("f") => Some("FULL"),
            Some("n") => Some("NOTHING"),
            Some("i") => None,
            _ => Some("DEFAULT"),
        };
        made.extend(word.map(|word| format!("ALTER TABLE {name} REPLICA IDENTITY {word}")));
    }
    if change.touches("clustered_on") && new.text("clustered_on").is_none() {
        made.push(format!("ALTER TABLE {name} SET WITHOUT CLUSTER"));
    }
    made.extend(options("TABLE", name, old, new));
    Ok(made)
}

fn column(
    from: &Catalog,
    to: &Catalog,
    key: &ObjectKey,
    change: &Change,
    old: &Object,
    new: &Object,
) -> Result<Vec<String>, Cannot> {
    let alter = format!("ALTER TABLE {} ALTER COLUMN {}", above(&key.name), key.last_part());
    if change.touches("generated") || change.touches("generated_kind") {
        // What is generated can be generated again; what was not holds values of its own.
        return match (old.text("generated"), new.text("generated")) {
            (Some(_), None) if old.text("generated_kind").is_none() => Ok(vec![format!("{alter} DROP EXPRESSION")]),
            (Some(_), Some(_)) => Ok(vec![
                format!("ALTER TABLE {} DROP COLUMN {}", above(&key.name), key.last_part()),
                format!("ALTER TABLE {} ADD COLUMN {}", above(&key.name), super::create::column(to, key, new)?),
            ]),
            _ => Err(Cannot::because("a column cannot become a generated one")),
        };
    }
    if change.touches("foreign_options") {
        return Err(Cannot::because("the options of a foreign table's column have to be altered by hand"));
    }
    let mut made = Vec::new();
    let (was, is) = (identity_words(old), identity_words(new));
    if change.touches("type") || change.touches("collation") {
        let kind = new.text("type").unwrap_or_default();
        let collation = match new.text("collation") {
            Some(plain) => format!(
                " COLLATE {}",
                quoted(plain, 2).ok_or_else(|| Cannot::because("the name of its collation holds a dot"))?
            ),
            None => String::new(),
        };
        // A default is of the old type, and PostgreSQL does not always see how to turn it. One that changes has statements of its own.
        let default = |catalog: &Catalog| catalog.find(Kind::Default, &key.name).cloned();
        let before = default(from).filter(|_| change.touches("type"));
        if before.is_some() {
            made.push(format!("{alter} DROP DEFAULT"));
        }
        // Types of one's own have no casts to one another but by way of their text.
        let own = |kind: &str| from.find(Kind::Enum, kind).is_some() || to.find(Kind::Enum, kind).is_some();
        let by_text = own(kind) && own(old.text("type").unwrap_or_default());
        let through = if by_text { "::text" } else { "" };
        made.push(format!("{alter} TYPE {kind}{collation} USING {}{through}::{kind}", key.last_part()));
        if let Some(before) = before.filter(|before| default(to).as_ref() == Some(before)) {
            made.push(format!("{alter} SET DEFAULT {}", before.text("expr").unwrap_or_default()));
        }
    }
    if change.touches("not_null") {
        // An identity column is NOT NULL, and has to be before it becomes one.
        let word = if new.is("not_null") { "SET" } else { "DROP" };
        made.push(format!("{alter} {word} NOT NULL"));
    }
    match (was, is) {
        (None, Some(words)) => {
            let sequence = to.objects.iter().find(|(sequence, object)| {
                sequence.kind == Kind::IdentitySequence && object.parent.as_ref() == Some(key)
            });
            let options = sequence
                .map(|(sequence, object)| format!(" (SEQUENCE NAME {} {})", sequence.name, sequence_options(object)));
            made.push(format!("{alter} ADD GENERATED {words} AS IDENTITY{}", options.unwrap_or_default()));
        }
        (Some(was), Some(is)) if was != is => made.push(format!("{alter} SET GENERATED {is}")),
        _ => {}
    }
    if change.touches("storage") {
        let word = new.text("storage").and_then(storage);
        let word =
            word.ok_or_else(|| Cannot::because("the storage its type starts with is not known to the catalog"))?;
        made.push(format!("{alter} SET STORAGE {word}"));
    }
    if change.touches("compression") {
        let word = new.text("compression").and_then(compression).unwrap_or("default");
        made.push(format!("{alter} SET COMPRESSION {word}"));
    }
    if change.touches("statistics_target") {
        made.push(format!("{alter} SET STATISTICS {}", new.get("statistics_target").as_i64().unwrap_or(-1)));
    }
    let (set, reset) = settings(old.get("options"), new.get("options"));
    if !set.is_empty() {
        made.push(format!("{alter} SET ({})", set.join(", ")));
    }
    if !reset.is_empty() {
        made.push(format!("{alter} RESET ({})", reset.join(", ")));
    }
    Ok(made)
}

fn sequence(key: &ObjectKey, change: &Change, new: &Object) -> Result<Vec<String>, Cannot> {
    let name = key.name.as_str();
    let mut made = Vec::new();
    if change.touches("type") {
        made.push(format!("ALTER SEQUENCE {name} AS {}", new.text("type").unwrap_or("bigint")));
    }
    if change.attributes.keys().any(|attribute| !matches!(attribute.as_str(), "owner" | "owned_by" | "persistence")) {
        made.push(format!("ALTER SEQUENCE {name} {}", sequence_options(new)));
    }
    if change.touches("persistence") {
        let word = if new.text("persistence") == Some("u") { "UNLOGGED" } else { "LOGGED" };
        made.push(format!("ALTER SEQUENCE {name} SET {word}"));
    }
    if change.touches("owned_by") && new.text("owned_by").is_none() {
        made.push(format!("ALTER SEQUENCE {name} OWNED BY NONE"));
    }
    Ok(made)
}

/// `OWNED BY`, once the column is there.
pub(super) fn owned_by(key: &ObjectKey, object: &Object) -> Result<Option<String>, Cannot> {
    let Some(plain) = object.text("owned_by") else { return Ok(None) };
    let column = quoted(plain, 3).ok_or_else(|| Cannot::because("the name of its column holds a dot"))?;
    Ok(Some(format!("ALTER SEQUENCE {} OWNED BY {column}", key.name)))
}

/// Whether a value of an enum goes or moves: PostgreSQL has no statement for that, so that another type has to take its place.
pub(super) fn is_replaced(old: &Object, new: &Object) -> bool {
    let (old, new) = (texts(old.get("values")), texts(new.get("values")));
    !new.iter().filter(|value| old.contains(value)).eq(old.iter())
}

/// The columns that hold values of an enum or lists of them, apart from those that only inherit it.
pub(super) fn columns_of<'a>(catalog: &'a Catalog, name: &str) -> impl Iterator<Item = (&'a ObjectKey, &'a Object)> {
    let list = format!("{name}[]");
    let is_of = move |ty: &str| ty == name || ty == list;
    let of_it = catalog.of_kind(Kind::Column).filter(move |(_, column)| column.text("type").is_some_and(&is_of));
    of_it.filter(|(_, column)| !column.inherited).collect::<Vec<_>>().into_iter()
}

/// A new type under the name of the enum, with every column turned to it. What is built on them goes before and comes again after.
///
/// Rows that hold a value that is gone make it fail, so nothing is lost.
fn replaced(from: &Catalog, to: &Catalog, key: &ObjectKey, new: &Object) -> Result<Vec<String>, Cannot> {
    let name = key.name.as_str();
    let below = [Kind::Domain, Kind::CompositeType, Kind::RangeType];
    let speaks =
        |object: &Object| object.attributes.values().any(|value| super::name::mentions(&value.to_string(), name));
    if below.into_iter().any(|kind| from.of_kind(kind).any(|(other, object)| to.get(other).is_some() && speaks(object)))
    {
        return Err(Cannot::because("a value cannot be taken from an enum that another type is made of"));
    }
    let mut turned = Vec::new();
    for (column, object) in columns_of(from, name).filter(|(column, _)| to.get(column).is_some()) {
        let table = above(&column.name);
        let keyed = from.find(Kind::Table, table).and_then(|table| table.text("partition_key"));
        if keyed.is_some_and(|partitioned| partitioned.contains(column.last_part())) {
            return Err(Cannot::because("a value cannot be taken from an enum that a table is partitioned by"));
        }
        let (ty, last) = (object.text("type").unwrap_or_default(), column.last_part());
        let list = ty.strip_prefix(name).unwrap_or_default();
        turned.push(format!("ALTER TABLE {table} ALTER COLUMN {last} TYPE {ty} USING {last}::text{list}::{ty}"));
    }
    let aside = (0..)
        .map(|number| format!("dbd_old_{number}"))
        .find(|aside| from.objects.keys().chain(to.objects.keys()).all(|key| key.last_part() != aside))
        .unwrap_or_default();
    let place = super::name::space(name).map_or_else(|| aside.clone(), |space| format!("{space}.{aside}"));
    let mut made = vec![format!("ALTER TYPE {name} RENAME TO {aside}")];
    made.extend(super::create::create(to, key, new)?);
    made.extend(turned);
    made.push(format!("DROP TYPE {place}"));
    Ok(made)
}

/// `ADD VALUE` for each new one, where all old ones stay in their order.
fn enum_values(name: &str, old: &Object, new: &Object) -> Vec<String> {
    let (old, new) = (texts(old.get("values")), texts(new.get("values")));
    let mut made = Vec::new();
    for (at, value) in new.iter().enumerate().filter(|(_, value)| !old.contains(value)) {
        let place = match at.checked_sub(1) {
            Some(before) => format!(" AFTER {}", quote_literal(new[before])),
            None => old.first().map(|first| format!(" BEFORE {}", quote_literal(first))).unwrap_or_default(),
        };
        made.push(format!("ALTER TYPE {name} ADD VALUE {}{place}", quote_literal(value)));
    }
    made
}

fn composite(name: &str, old: &Object, new: &Object) -> Result<Vec<String>, Cannot> {
    let list = |object: &Object| object.get("attributes").as_array().cloned().unwrap_or_default();
    let called = |value: &Value| texts(value).first().map(|name| (*name).to_owned()).unwrap_or_default();
    let (old, new) = (list(old), list(new));
    let names = |list: &[Value]| list.iter().map(called).collect::<Vec<_>>();
    let (was, is) = (names(&old), names(&new));
    let kept: Vec<&String> = was.iter().filter(|name| is.contains(name)).collect();
    // New ones come last: the kept ones have to be first, in their order.
    if !is.iter().take(kept.len()).eq(kept.iter().copied()) {
        return Err(Cannot::because("the attributes of a composite type cannot be moved"));
    }
    let mut made: Vec<String> = was
        .iter()
        .filter(|name| !is.contains(name))
        .map(|gone| format!("ALTER TYPE {name} DROP ATTRIBUTE {gone}"))
        .collect();
    for value in &new {
        let called = called(value);
        match old.iter().find(|old| texts(old).first() == Some(&called.as_str())) {
            None => made.push(format!("ALTER TYPE {name} ADD ATTRIBUTE {}", attribute(value))),
            Some(before) if before != value => {
                let kind = attribute(value);
                let kind = kind.strip_prefix(&called).unwrap_or(&kind).trim_start();
                made.push(format!("ALTER TYPE {name} ALTER ATTRIBUTE {called} TYPE {kind}"));
            }
            Some(_) => {}
        }
    }
    Ok(made)
}

/// The statement that removes an object, if it does not go with another.
///
/// # Errors
/// Why SQL has none.
pub(super) fn drop(key: &ObjectKey, object: &Object) -> Result<Option<String>, Cannot> {
    let name = key.name.as_str();
    Ok(Some(match key.kind {
        Kind::Column => format!("ALTER TABLE {} DROP COLUMN {}", above(name), key.last_part()),
        Kind::Default => format!("{} DROP DEFAULT", alter_column(key, object)),
        Kind::Constraint => format!("ALTER TABLE {} DROP CONSTRAINT {}", above(name), key.last_part()),
        Kind::DomainConstraint => format!("ALTER DOMAIN {} DROP CONSTRAINT {}", above(name), key.last_part()),
        Kind::Comment => comment(key, None)?,
        Kind::Privilege | Kind::PrivilegeRevoked => super::create::revoke(key, object)?,
        Kind::DefaultPrivilege => super::create::revoke_default(key, object)?,
        // A class that was made without a family has one of its own name, which takes it along.
        Kind::OperatorClass if object.text("family").is_some_and(|it| name.starts_with(&format!("{it} USING "))) => {
            format!("DROP OPERATOR FAMILY {name}")
        }
        // They go with their column or view.
        Kind::IdentitySequence | Kind::ViewColumn => return Ok(None),
        _ => match reference(key) {
            Some(reference) => format!("DROP {reference}"),
            None => return Ok(None),
        },
    }))
}
