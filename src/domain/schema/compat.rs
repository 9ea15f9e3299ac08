//! What each change does to the application version that is still running while it is deployed.
//!
//! The rules are about names and shapes: a query that names what is gone fails, a write that was accepted may be refused, a
//! value may read differently. They do not know which queries the application sends, so `yes` means "breaks any use of it" and
//! `possibly` means "breaks some uses of it".

use super::catalog::{Catalog, Kind, ObjectKey, last_part};
use super::diff::{Change, ChangeKind};
use super::types::{TypeChange, type_change};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whether a change breaks the application that is running now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Breaking {
    /// It goes on as before.
    No,
    /// Some of what it may do fails or reads differently.
    Possibly,
    /// Whatever uses the object fails or reads differently.
    Yes,
}

impl Breaking {
    /// The word for it in every format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Possibly => "possibly",
            Self::Yes => "yes",
        }
    }
}

/// One rule's word on one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The rule, for example `column_removed`; what `--allow` takes.
    pub code: String,
    /// What it says.
    pub breaking: Breaking,
    /// Why, in words that follow "because".
    pub reason: String,
}

/// A change with its verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
    /// The gravest of the verdicts; `no` without any.
    pub breaking: Breaking,
    /// Why, in one line.
    pub reason: String,
    /// Every rule that had something to say, also those that say `no`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// Whether PostgreSQL alters stored values on the way without an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
}

/// Judges the `changes` that lead from `before` to `after`, in their order.
///
/// A nested change has no verdict of its own: the change it follows has it.
#[must_use]
pub fn judge(before: &Catalog, after: &Catalog, changes: Vec<Change>) -> Vec<Judged> {
    let renames = Renames::find(&changes);
    let judge = Judge { before, after, renames };
    changes.into_iter().map(|change| judge.one(change)).collect()
}

/// Pairs of a removed and an added thing that look like one thing under a new name.
///
/// Only where nothing else could be meant: one removed and one added of the same type (for tables: of the same columns).
struct Renames {
    new_name: BTreeMap<ObjectKey, ObjectKey>,
    old_name: BTreeMap<ObjectKey, ObjectKey>,
}

impl Renames {
    fn find(changes: &[Change]) -> Self {
        let type_of = |change: &Change| {
            let value = change.before.as_ref().or(change.after.as_ref());
            value.and_then(|value| value["type"].as_str()).unwrap_or_default().to_owned()
        };
        // The columns that came or went with each table, as text.
        let mut columns: BTreeMap<(&ObjectKey, ChangeKind), Vec<String>> = BTreeMap::new();
        for change in changes.iter().filter(|change| change.kind == Kind::Column) {
            let column = format!("{} {}", last_part(&change.object), type_of(change));
            columns.entry((&change.root, change.change)).or_default().push(column);
        }
        // What two things must have in common -> the removed and the added ones.
        let mut groups: BTreeMap<String, (Vec<ObjectKey>, Vec<ObjectKey>)> = BTreeMap::new();
        for change in changes.iter().filter(|change| !change.nested) {
            let shape = match change.kind {
                Kind::Column => format!("{} {}", change.root, type_of(change)),
                // Tables without columns are all alike.
                Kind::Table => match columns.get(&(&change.root, change.change)) {
                    Some(columns) => format!("{columns:?}"),
                    None => continue,
                },
                _ => continue,
            };
            let (removed, added) = groups.entry(shape).or_default();
            match change.change {
                ChangeKind::Removed => removed.push(change.key()),
                ChangeKind::Added => added.push(change.key()),
                ChangeKind::Modified => {}
            }
        }
        let mut renames = Self { new_name: BTreeMap::new(), old_name: BTreeMap::new() };
        for (removed, added) in groups.into_values() {
            if let ([old], [new]) = (removed.as_slice(), added.as_slice()) {
                renames.new_name.insert(old.clone(), new.clone());
                renames.old_name.insert(new.clone(), old.clone());
            }
        }
        renames
    }
}

struct Judge<'a> {
    before: &'a Catalog,
    after: &'a Catalog,
    renames: Renames,
}

/// What the rules collect about one change.
#[derive(Default)]
struct Found {
    verdicts: Vec<Verdict>,
    lossy: bool,
}

impl Found {
    fn say(&mut self, breaking: Breaking, code: impl Into<String>, reason: impl Into<String>) {
        self.verdicts.push(Verdict { code: code.into(), breaking, reason: reason.into() });
    }
}

use Breaking::{No, Possibly, Yes};

impl Judge<'_> {
    fn one(&self, change: Change) -> Judged {
        if change.nested {
            let reason = match change.change {
                ChangeKind::Modified => "it follows its parent".to_owned(),
                _ if change.root.name == change.object => "it follows its parent".to_owned(),
                _ => format!("it comes and goes with {} {}", change.root.kind.words(), change.root.name),
            };
            return Judged { change, breaking: No, reason, verdicts: Vec::new(), lossy: false };
        }
        let mut found = Found::default();
        match change.change {
            ChangeKind::Added => self.added(&change, &mut found),
            ChangeKind::Removed => self.removed(&change, &mut found),
            ChangeKind::Modified => self.modified(&change, &mut found),
        }
        let breaking = found.verdicts.iter().map(|verdict| verdict.breaking).max().unwrap_or(No);
        let mut reason = found.verdicts.iter().map(|verdict| verdict.reason.as_str()).collect::<Vec<_>>().join("; ");
        if reason.is_empty() {
            reason = self.harmless(&change).to_owned();
        }
        let key = change.key();
        if let Some(new) = self.renames.new_name.get(&key) {
            reason.push_str(&format!("; it looks like a rename to {}", rename_text(new)));
        } else if let Some(old) = self.renames.old_name.get(&key) {
            reason.push_str(&format!("; it looks like a rename of {}", rename_text(old)));
        }
        Judged { change, breaking, reason, verdicts: found.verdicts, lossy: found.lossy }
    }

    /// Why a change without a verdict breaks nothing.
    fn harmless(&self, change: &Change) -> &'static str {
        match (change.change, change.kind) {
            (_, Kind::Comment) => "a comment changes no behaviour",
            (ChangeKind::Added, Kind::Column) => "writes that leave the column out still succeed",
            (ChangeKind::Added, Kind::Index) | (_, Kind::Statistics) => {
                "it changes how fast queries run, not what they return"
            }
            (ChangeKind::Removed, Kind::Index) => "queries still return the same, perhaps more slowly",
            (ChangeKind::Added, _) => "nothing that runs now uses it",
            (_, Kind::Default) => "writes that leave the column out still succeed",
            (_, Kind::Enum) => "the old values stay; a new one is read only once something writes it",
            (_, Kind::Column) if change.touches("not_null") => "a null is read only once something writes it",
            (_, Kind::View | Kind::MaterializedView) => "its columns stay; what it returns may differ",
            (_, Kind::Function | Kind::Procedure | Kind::Aggregate) => {
                "calls to it still succeed; what it does may differ"
            }
            _ => "what runs now can use it as before",
        }
    }

    fn added(&self, change: &Change, found: &mut Found) {
        let after = |attribute: &str| change.after.as_ref().map_or(&Value::Null, |after| &after[attribute]);
        match change.kind {
            Kind::Column => {
                let filled = self.after.find(Kind::Default, &change.object).is_some()
                    || after("generated").is_string()
                    || after("identity").as_str().is_some_and(|identity| !identity.is_empty());
                if after("not_null") == true && !filled {
                    found.say(
                        Yes,
                        "column_added_not_null_without_default",
                        "inserts that do not name the new column fail",
                    );
                }
            }
            Kind::Constraint => {
                let (word, reason) = match constraint_type(after("definition")) {
                    "primary_key" => ("primary_key", "writes of duplicates and nulls, accepted now, are refused"),
                    "unique" => ("unique", "writes of duplicates, accepted now, are refused"),
                    "foreign_key" => ("foreign_key", "writes without a matching row, accepted now, are refused"),
                    "exclusion" => ("exclusion", "writes of conflicting rows, accepted now, are refused"),
                    _ => ("check", "writes that fail the check, accepted now, are refused"),
                };
                if self.only_new_columns(change, after("definition")) {
                    found.say(
                        No,
                        format!("{word}_added"),
                        "it is about new columns, which nothing that runs now writes",
                    );
                } else {
                    found.say(Possibly, format!("{word}_added"), reason);
                }
            }
            Kind::DomainConstraint => {
                found.say(Possibly, "domain_constraint_added", "values that fail the check, accepted now, are refused");
            }
            Kind::Index if after("unique") == true => {
                if self.only_new_columns(change, after("definition")) {
                    found.say(No, "unique_index_added", "it is about new columns, which nothing that runs now writes");
                } else {
                    found.say(Possibly, "unique_index_added", "writes of duplicates, accepted now, are refused");
                }
            }
            Kind::Trigger => found.say(Possibly, "trigger_added", "writes to the table now do more, or are refused"),
            Kind::Rule => found.say(Possibly, "rule_added", "statements on the table are rewritten"),
            Kind::Policy => found.say(Possibly, "policy_added", "which rows are seen and accepted may differ"),
            Kind::EventTrigger => found.say(Possibly, "event_trigger_added", "DDL now does more, or is refused"),
            Kind::PrivilegeRevoked => {
                found.say(Possibly, "privilege_revoked", "statements that need the privilege fail")
            }
            Kind::Cast | Kind::Operator => {
                found.say(Possibly, format!("{}_added", change.kind), "expressions may resolve to it from now on");
            }
            _ => {}
        }
    }

    fn removed(&self, change: &Change, found: &mut Found) {
        let before = |attribute: &str| change.before.as_ref().map_or(&Value::Null, |before| &before[attribute]);
        let name = change.object.as_str();
        let mut gone = |breaking, reason: &str| found.say(breaking, format!("{}_removed", change.kind), reason);
        match change.kind {
            Kind::Schema => gone(Yes, "queries that name anything in the schema fail"),
            Kind::Extension => gone(Yes, "queries that use its types, functions or operators fail"),
            Kind::Table | Kind::ForeignTable | Kind::View | Kind::MaterializedView => match self.stand_in(change) {
                Some(kind) => gone(
                    Possibly,
                    &format!(
                        "a {} of the same name and columns takes its place; not every statement works on it",
                        kind.words()
                    ),
                ),
                None => gone(Yes, &format!("queries on the {} fail", change.kind.words())),
            },
            Kind::Column => gone(Yes, "queries that name the column fail"),
            Kind::ViewColumn => gone(Yes, "queries that name the view's column fail"),
            Kind::Default => {
                let column = self.after.find(Kind::Column, name);
                let needed = column.is_some_and(|column| {
                    column.is("not_null")
                        && column.text("generated").is_none()
                        && column.text("identity").unwrap_or_default().is_empty()
                });
                if needed {
                    found.say(Yes, "default_removed_on_not_null_column", "inserts that leave the column out fail");
                }
            }
            Kind::Constraint => {
                let (word, reason) = match constraint_type(before("definition")) {
                    "primary_key" => ("primary_key", "INSERT ... ON CONFLICT on it fails, and duplicates are accepted"),
                    "unique" => ("unique", "INSERT ... ON CONFLICT on it fails, and duplicates are accepted"),
                    "foreign_key" => {
                        ("foreign_key", "rows without a match are accepted, and its ON DELETE action is gone")
                    }
                    "exclusion" => ("exclusion", "conflicting rows are accepted"),
                    _ => ("check", "rows the application may not expect are accepted"),
                };
                found.say(Possibly, format!("{word}_removed"), reason);
            }
            Kind::DomainConstraint => gone(Possibly, "values the application may not expect are accepted"),
            Kind::Index if before("unique") == true => {
                found.say(
                    Possibly,
                    "unique_index_removed",
                    "INSERT ... ON CONFLICT on it fails, and duplicates are accepted",
                );
            }
            Kind::Sequence => gone(Yes, "calls of nextval that name it fail"),
            Kind::Function | Kind::Procedure | Kind::Aggregate => gone(Yes, "calls to it fail"),
            Kind::Trigger => gone(Possibly, "writes to the table no longer do what it did"),
            Kind::Rule => gone(Possibly, "statements on the table are no longer rewritten"),
            Kind::Policy => gone(Possibly, "which rows are seen and accepted may differ"),
            Kind::Enum | Kind::Domain | Kind::CompositeType | Kind::RangeType | Kind::BaseType => {
                gone(Yes, "queries that name the type fail");
            }
            Kind::Collation => gone(Possibly, "queries that name it fail"),
            Kind::Publication => gone(Possibly, "its subscribers stop receiving changes"),
            Kind::EventTrigger => gone(Possibly, "DDL no longer does what it did"),
            Kind::Cast | Kind::Operator | Kind::OperatorClass => gone(Possibly, "expressions that use it fail"),
            Kind::ForeignServer => gone(Yes, "queries on its foreign tables fail"),
            Kind::TextSearchConfiguration => gone(Yes, "searches that name it fail"),
            Kind::Privilege => found.say(Possibly, "privilege_revoked", "statements that need the privilege fail"),
            Kind::Index
            | Kind::IdentitySequence
            | Kind::Statistics
            | Kind::PrivilegeRevoked
            | Kind::DefaultPrivilege
            | Kind::Comment => {}
        }
    }

    /// Whether a unique or foreign key constraint, or a unique index, is about columns that are all new and stay null in what the
    /// running version writes, so that nothing it writes can be refused.
    fn only_new_columns(&self, change: &Change, definition: &Value) -> bool {
        let definition = definition.as_str().unwrap_or_default();
        let is_key = definition.starts_with("UNIQUE (") || definition.starts_with("FOREIGN KEY (");
        let list = if is_key { definition } else { definition.split_once(" USING ").map_or("", |(_, rest)| rest) };
        let nulls_collide = definition.contains("NULLS NOT DISTINCT");
        let Some((columns, _)) = list.split_once('(').and_then(|(_, rest)| rest.split_once(')')) else { return false };
        // An expression or an ordering is no column's name, and so is not found.
        !nulls_collide
            && columns.split(", ").all(|column| {
                let key = ObjectKey::new(Kind::Column, format!("{}.{column}", change.root.name));
                let stays_null = self.after.get(&key).is_some_and(|column| {
                    column.text("generated").is_none() && column.text("identity").unwrap_or_default().is_empty()
                });
                stays_null && self.before.get(&key).is_none() && self.after.find(Kind::Default, &key.name).is_none()
            })
    }

    /// What stands in for a removed relation: another kind of relation of the same name with all its columns.
    fn stand_in(&self, change: &Change) -> Option<Kind> {
        let relations = [Kind::Table, Kind::ForeignTable, Kind::View, Kind::MaterializedView];
        let kind = relations.into_iter().find(|kind| self.after.find(*kind, &change.object).is_some())?;
        let columns = |catalog: &Catalog, of: &ObjectKey| -> Vec<String> {
            let is_column = |key: &ObjectKey| matches!(key.kind, Kind::Column | Kind::ViewColumn);
            catalog.children(of).filter(|(key, _)| is_column(key)).map(|(key, _)| key.name.clone()).collect()
        };
        let old = columns(self.before, &change.key());
        let new = columns(self.after, &ObjectKey::new(kind, change.object.clone()));
        old.iter().all(|column| new.contains(column)).then_some(kind)
    }

    fn modified(&self, change: &Change, found: &mut Found) {
        match change.kind {
            Kind::Column | Kind::ViewColumn => self.column_modified(change, found),
            Kind::Table | Kind::ForeignTable => table_modified(change, found),
            Kind::Enum => enum_modified(change, found),
            Kind::Constraint => {
                // A constraint that was merely validated accepts what it accepted.
                let bare = |value: &Value| value.as_str().unwrap_or_default().trim_end_matches(" NOT VALID").to_owned();
                let validated = change.values("definition").is_some_and(|(old, new)| bare(old) == bare(new));
                if change.touches("definition") && !validated {
                    found.say(Possibly, "constraint_changed", "writes accepted now may be refused");
                }
            }
            Kind::DomainConstraint => {
                found.say(Possibly, "domain_constraint_changed", "values accepted now may be refused");
            }
            Kind::Domain => {
                if let Some((old, new)) = change.values("type") {
                    self.type_modified("domain", old, new, found);
                }
                if change.values("not_null").is_some_and(|(_, new)| new == true) {
                    found.say(Possibly, "domain_set_not_null", "nulls, accepted now, are refused");
                }
            }
            Kind::Index => {
                if change.values("unique").is_some_and(|(old, _)| old == true) {
                    found.say(
                        Possibly,
                        "unique_index_removed",
                        "INSERT ... ON CONFLICT on it fails, and duplicates are accepted",
                    );
                } else if change.values("unique").is_some_and(|(_, new)| new == true) {
                    found.say(Possibly, "unique_index_added", "writes of duplicates, accepted now, are refused");
                } else if change.touches("definition")
                    && change.after.as_ref().is_some_and(|after| after["unique"] == true)
                {
                    found.say(Possibly, "unique_index_changed", "writes accepted now may be refused");
                }
            }
            Kind::Sequence => {
                let shape = ["type", "min", "max", "increment", "cycle", "owned_by", "start", "cache"];
                if shape.iter().any(|attribute| change.touches(attribute)) {
                    let narrower = change.values("max").is_some_and(|(old, new)| new.as_i64() < old.as_i64())
                        || change.values("min").is_some_and(|(old, new)| new.as_i64() > old.as_i64());
                    let other = ["increment", "cycle"].iter().any(|attribute| change.touches(attribute));
                    if narrower {
                        found.say(Possibly, "sequence_changed", "it runs out earlier");
                    } else if other {
                        found.say(Possibly, "sequence_changed", "it gives other numbers");
                    } else {
                        found.say(Possibly, "sequence_changed", "it may give other numbers, or go with another column");
                    }
                }
            }
            Kind::Function | Kind::Procedure | Kind::Aggregate if change.touches("result") => {
                found.say(Yes, format!("{}_result_changed", change.kind), "calls get a result of another type");
            }
            Kind::CompositeType => {
                if change.touches("attributes") {
                    found.say(Yes, "composite_type_changed", "values of the type have other fields");
                }
            }
            Kind::RangeType | Kind::BaseType => {
                found.say(Possibly, format!("{}_changed", change.kind), "values of the type may read differently");
            }
            Kind::Trigger => found.say(Possibly, "trigger_changed", "writes to the table do something else"),
            Kind::Rule => found.say(Possibly, "rule_changed", "statements on the table are rewritten in another way"),
            Kind::Policy => found.say(Possibly, "policy_changed", "which rows are seen and accepted may differ"),
            Kind::Extension => found.say(Possibly, "extension_changed", "its functions and types may work differently"),
            Kind::Collation => found.say(Possibly, "collation_changed", "text may sort and compare differently"),
            Kind::Publication => {
                found.say(Possibly, "publication_changed", "its subscribers may receive other changes")
            }
            Kind::EventTrigger => found.say(Possibly, "event_trigger_changed", "DDL does something else"),
            Kind::Cast | Kind::Operator | Kind::OperatorClass => {
                found.say(
                    Possibly,
                    format!("{}_changed", change.kind),
                    "expressions that use it may give something else",
                );
            }
            Kind::ForeignServer => {
                found.say(Possibly, "foreign_server_changed", "queries on its foreign tables may reach something else");
            }
            Kind::TextSearchConfiguration => {
                found.say(Possibly, "text_search_configuration_changed", "searches may find something else");
            }
            Kind::View | Kind::MaterializedView if change.touches("options") => {
                found.say(
                    Possibly,
                    format!("{}_options_changed", change.kind),
                    "who may read and write through it may differ",
                );
            }
            Kind::IdentitySequence
            | Kind::Schema
            | Kind::Default
            | Kind::View
            | Kind::MaterializedView
            | Kind::Function
            | Kind::Procedure
            | Kind::Aggregate
            | Kind::Statistics
            | Kind::Privilege
            | Kind::PrivilegeRevoked
            | Kind::DefaultPrivilege
            | Kind::Comment => {}
        }
    }

    fn column_modified(&self, change: &Change, found: &mut Found) {
        let view = if change.kind == Kind::ViewColumn { "view_column" } else { "column" };
        if let Some((old, new)) = change.values("type") {
            self.type_modified(view, old, new, found);
        }
        if change.kind == Kind::ViewColumn {
            return;
        }
        if let Some((_, new)) = change.values("not_null")
            && new == true
        {
            let identity = change.after.as_ref().and_then(|after| after["identity"].as_str()).unwrap_or_default();
            if !identity.is_empty() || self.after.find(Kind::Default, &change.object).is_some() {
                found.say(Possibly, "column_set_not_null", "writes of null, accepted now, are refused");
            } else {
                let reason = "writes that leave the column out or null, accepted now, are refused";
                found.say(Yes, "column_set_not_null", reason);
            }
        }
        if change.touches("collation") {
            found.say(Possibly, "column_collation_changed", "the column sorts and compares differently");
        }
        if let Some((_, new)) = change.values("generated") {
            if new.is_string() {
                found.say(Yes, "column_generated_changed", "its value is computed, and writes that set it fail");
            } else {
                found.say(Possibly, "column_generated_changed", "its value is no longer computed");
            }
        }
        if let Some((_, new)) = change.values("identity") {
            match new.as_str().unwrap_or_default() {
                "a" => found.say(Possibly, "column_identity_changed", "inserts that set the column fail"),
                "d" => found.say(
                    Possibly,
                    "column_identity_changed",
                    "inserts that leave the column out get a generated number",
                ),
                _ => found.say(Possibly, "column_identity_changed", "inserts no longer get a generated number"),
            }
        }
    }

    fn type_modified(&self, what: &str, old: &Value, new: &Value, found: &mut Found) {
        let (old, new) = (old.as_str().unwrap_or_default(), new.as_str().unwrap_or_default());
        match type_change(old, new) {
            TypeChange::Widened => {
                found.say(
                    No,
                    format!("{what}_type_widened"),
                    "every value that fits the old type fits the new one unchanged",
                );
            }
            TypeChange::Narrowed => {
                found.say(
                    Possibly,
                    format!("{what}_type_changed"),
                    format!("{new} holds less than {old}; larger values are refused"),
                );
            }
            TypeChange::Lossy(how) => {
                found.lossy = true;
                found.say(
                    Yes,
                    format!("{what}_type_changed"),
                    format!("the type changes from {old} to {new}, and {how}"),
                );
            }
            TypeChange::Other => {
                found.say(
                    Yes,
                    format!("{what}_type_changed"),
                    format!("it is read and written as {new} instead of {old}"),
                );
            }
        }
    }
}

fn table_modified(change: &Change, found: &mut Found) {
    if let Some((_, new)) = change.values("persistence") {
        if new == "u" {
            found.say(Possibly, "persistence_changed", "it is emptied after a crash, and not replicated");
        } else {
            found.say(No, "persistence_changed", "its rows now survive a crash");
        }
    }
    if change.touches("partition_key") || change.touches("partition_bound") {
        found.say(Possibly, "partitioning_changed", "rows may be routed elsewhere or refused");
    }
    if change.touches("row_security") || change.touches("force_row_security") {
        let on = |attribute| change.values(attribute).is_some_and(|(_, new)| new == true);
        if on("row_security") || on("force_row_security") {
            found.say(Yes, "row_security_changed", "rows that no policy allows can no longer be seen or written");
        } else {
            found.say(Possibly, "row_security_changed", "rows that policies hid can be seen and written");
        }
    }
    if change.touches("replica_identity") {
        found.say(
            Possibly,
            "replica_identity_changed",
            "subscribers get other old values, and updates of a published table may fail",
        );
    }
    if change.touches("server") || (change.kind == Kind::ForeignTable && change.touches("options")) {
        found.say(Possibly, "foreign_table_changed", "it may read something else");
    }
}

fn enum_modified(change: &Change, found: &mut Found) {
    let Some((old, new)) = change.values("values") else { return };
    let list = |value: &Value| -> Vec<String> {
        let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let (old, new) = (list(old), list(new));
    let gone: Vec<&str> = old.iter().filter(|value| !new.contains(value)).map(String::as_str).collect();
    if !gone.is_empty() {
        found.say(Yes, "enum_value_removed", format!("queries that name {} fail", gone.join(", ")));
        return;
    }
    let kept: Vec<&String> = new.iter().filter(|value| old.contains(value)).collect();
    if !kept.into_iter().eq(old.iter()) {
        found.say(Possibly, "enum_values_reordered", "its values sort and compare differently");
    }
}

/// Which constraint it is, by how its definition begins.
fn constraint_type(definition: &Value) -> &'static str {
    let definition = definition.as_str().unwrap_or_default();
    let types = [
        ("PRIMARY KEY", "primary_key"),
        ("UNIQUE", "unique"),
        ("FOREIGN KEY", "foreign_key"),
        ("EXCLUDE", "exclusion"),
    ];
    types.into_iter().find(|(words, _)| definition.starts_with(words)).map_or("check", |(_, name)| name)
}

fn rename_text(key: &ObjectKey) -> String {
    if key.kind == Kind::Column { key.last_part().to_owned() } else { key.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::diff::{diff, tests::catalog};
    use super::*;
    use serde_json::json;

    fn judged(before: &[(&str, &str, Value)], after: &[(&str, &str, Value)]) -> Vec<Judged> {
        let (before, after) = (catalog(before), catalog(after));
        judge(&before, &after, diff(&before, &after))
    }

    /// One object before and after, within a table that is in both.
    #[track_caller]
    fn check(key: &str, before: Option<Value>, after: Option<Value>, expected: &[(&str, Breaking)]) -> Judged {
        let table = || ("table:public.t", "", json!({}));
        let side = |value: Option<Value>| {
            let mut objects = vec![table()];
            objects.extend(value.map(|value| (key, "table:public.t", value)));
            objects
        };
        let mut judged = judged(&side(before), &side(after));
        assert_eq!(judged.len(), 1, "{judged:?}");
        let judged = judged.remove(0);
        let found: Vec<(&str, Breaking)> =
            judged.verdicts.iter().map(|verdict| (verdict.code.as_str(), verdict.breaking)).collect();
        assert_eq!(found, expected);
        assert!(!judged.reason.is_empty());
        judged
    }

    fn column(kind: &str) -> Option<Value> {
        Some(json!({"type": kind, "not_null": false, "identity": ""}))
    }

    /// Attributes that together set off every rule, for whatever kind they are given to.
    fn samples() -> Vec<Value> {
        let words =
            ["PRIMARY KEY (a)", "UNIQUE (a)", "FOREIGN KEY (a) REFERENCES b(a)", "EXCLUDE (a)", "CHECK ((a > 0))"];
        let mut samples: Vec<Value> =
            words.iter().map(|definition| json!({"definition": definition, "unique": false})).collect();
        samples.extend(
            ["integer", "bigint", "text", "real", "double precision"].map(|of| json!({"type": of, "result": of})),
        );
        samples.extend([
            json!({"not_null": true, "identity": "", "unique": true, "definition": "CREATE UNIQUE INDEX i ON t USING btree (lower(a))"}),
            json!({"not_null": false, "identity": "a", "unique": true, "definition": "CREATE UNIQUE INDEX i ON t USING btree (b)"}),
            json!({"values": ["a", "b"], "attributes": ["x"], "persistence": "p", "partition_key": "a", "row_security": false}),
            json!({"values": ["b", "a"], "attributes": ["y"], "persistence": "u", "partition_key": "b", "row_security": true}),
            json!({"values": ["b"], "collation": "x", "generated": "1", "replica_identity": "n", "server": "s", "options": ["a"], "max": 9}),
            json!({"values": ["b"], "collation": "y", "replica_identity": "d", "server": "t", "options": ["b"], "max": 3}),
        ]);
        samples
    }

    #[test]
    fn every_code_a_rule_can_say_has_a_page_and_every_page_a_rule() {
        use crate::domain::finding;
        let mut said = std::collections::BTreeSet::new();
        let mut hear = |before: &[(&str, &str, Value)], after: &[(&str, &str, Value)]| {
            said.extend(judged(before, after).into_iter().flat_map(|one| one.verdicts).map(|verdict| verdict.code));
        };
        for kind in Kind::ALL {
            let key = format!("{kind}:public.t.x");
            for one in samples() {
                let here = [(key.as_str(), "", one.clone())];
                hear(&[], &here);
                hear(&here, &[]);
                for other in samples() {
                    hear(&here, &[(key.as_str(), "", other)]);
                }
            }
        }
        // A default goes, and its column stays as it was.
        let column = ("column:public.t.x", "", json!({"type": "text", "not_null": true, "identity": ""}));
        hear(&[column.clone(), ("default:public.t.x", "column:public.t.x", json!({"expr": "1"}))], &[column]);
        // These come from the rehearsal and the configuration, not from a rule.
        let others = [
            "rows_removed",
            "column_values_changed",
            "blocked_reads_over_budget",
            "blocked_writes_over_budget",
            "duration_over_budget",
            "personal_column_unmasked",
            "down_does_not_work",
            "not_reversible",
        ];
        said.extend(others.map(str::to_owned));
        let pages: std::collections::BTreeSet<String> = finding::codes().map(str::to_owned).collect();
        assert_eq!(said.difference(&pages).collect::<Vec<_>>(), Vec::<&String>::new(), "codes without a page");
        assert_eq!(pages.difference(&said).collect::<Vec<_>>(), Vec::<&String>::new(), "pages without a code");
    }

    #[test]
    fn a_removed_column_breaks_and_an_added_nullable_one_does_not() {
        check("column:public.t.a", column("text"), None, &[("column_removed", Yes)]);
        check("column:public.t.a", None, column("text"), &[]);
    }

    #[test]
    fn a_mandatory_column_breaks_inserts_unless_something_fills_it() {
        let mandatory = |more: Value| {
            let mut value = json!({"type": "text", "not_null": true, "identity": ""});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Some(value)
        };
        let code = ("column_added_not_null_without_default", Yes);
        check("column:public.t.a", None, mandatory(json!({})), &[code]);
        check("column:public.t.a", None, mandatory(json!({"identity": "d"})), &[]);
        check("column:public.t.a", None, mandatory(json!({"generated": "1"})), &[]);

        let table = ("table:public.t", "", json!({}));
        let with_default = [
            table.clone(),
            ("column:public.t.a", "table:public.t", json!({"type": "text", "not_null": true})),
            ("default:public.t.a", "column:public.t.a", json!({"expr": "1"})),
        ];
        assert!(judged(&[table], &with_default).iter().all(|judged| judged.breaking == No));
    }

    #[test]
    fn types_are_judged_by_what_happens_to_values() {
        let widened = check("column:public.t.a", column("integer"), column("bigint"), &[("column_type_widened", No)]);
        assert!(!widened.lossy);
        check("column:public.t.a", column("integer"), column("smallint"), &[("column_type_changed", Possibly)]);
        check("column:public.t.a", column("integer"), column("text"), &[("column_type_changed", Yes)]);
        let lossy =
            check("column:public.t.a", column("double precision"), column("real"), &[("column_type_changed", Yes)]);
        assert!(lossy.lossy);
        check("view_column:public.v.a", column("integer"), column("text"), &[("view_column_type_changed", Yes)]);
    }

    #[test]
    fn one_change_may_break_in_several_ways() {
        let before = Some(json!({"type": "integer", "not_null": false, "identity": ""}));
        let after = Some(json!({"type": "integer", "not_null": true, "identity": "a"}));
        let codes = [("column_set_not_null", Possibly), ("column_identity_changed", Possibly)];
        check("column:public.t.a", before, after, &codes);
    }

    #[test]
    fn a_dropped_default_matters_only_on_a_column_that_needs_one() {
        for (not_null, expected) in [(true, Yes), (false, No)] {
            let column = ("column:public.t.a", "", json!({"type": "text", "not_null": not_null, "identity": ""}));
            let default = ("default:public.t.a", "column:public.t.a", json!({"expr": "'x'::text"}));
            let judged = judged(&[column.clone(), default], &[column]);
            assert_eq!(judged[0].breaking, expected);
        }
    }

    #[test]
    fn constraints_are_named_by_their_type() {
        let definition = |text: &str| Some(json!({"definition": text}));
        let key = "constraint:public.t.c";
        check(key, None, definition("PRIMARY KEY (id)"), &[("primary_key_added", Possibly)]);
        check(key, None, definition("FOREIGN KEY (a) REFERENCES b(a)"), &[("foreign_key_added", Possibly)]);
        check(key, definition("UNIQUE (a)"), None, &[("unique_removed", Possibly)]);
        check(key, definition("CHECK (a)"), definition("CHECK (b)"), &[("constraint_changed", Possibly)]);
        check(key, definition("CHECK (a) NOT VALID"), definition("CHECK (a)"), &[]);
    }

    #[test]
    fn a_key_on_new_columns_refuses_nothing_that_runs_now() {
        let table = || ("table:public.t", "", json!({}));
        let column = || ("column:public.t.new", "table:public.t", json!({"type": "integer"}));
        let default = || ("default:public.t.new", "column:public.t.new", json!({"expr": "1"}));
        let old = || ("column:public.t.old", "table:public.t", json!({"type": "integer"}));
        let verdict = |definition: &str, more: Vec<(&str, &str, Value)>| {
            let mut after = vec![table(), old(), column()];
            after.push(("constraint:public.t.k", "table:public.t", json!({"definition": definition})));
            after.extend(more);
            let judged = judged(&[table(), old()], &after);
            judged.iter().find(|one| one.change.kind == Kind::Constraint).unwrap().breaking
        };
        assert_eq!(verdict("FOREIGN KEY (new) REFERENCES public.o(id)", vec![]), No);
        assert_eq!(verdict("FOREIGN KEY (new, old) REFERENCES public.o(id, x)", vec![]), Possibly);
        assert_eq!(verdict("FOREIGN KEY (new) REFERENCES public.o(id)", vec![default()]), Possibly);
        assert_eq!(verdict("UNIQUE (new)", vec![]), No);
        assert_eq!(verdict("UNIQUE NULLS NOT DISTINCT (new)", vec![]), Possibly);
        assert_eq!(verdict("CHECK ((new > 0))", vec![]), Possibly);

        let index = (
            "index:public.i",
            "table:public.t",
            json!({
                "unique": true, "definition": "CREATE UNIQUE INDEX i ON public.t USING btree (new)"
            }),
        );
        let judged = judged(&[table(), old()], &[table(), old(), column(), index]);
        assert!(judged.iter().all(|one| one.breaking == No));
    }

    #[test]
    fn an_enum_may_grow_but_not_shrink_or_turn() {
        let values = |values: &[&str]| Some(json!({"values": values}));
        check("enum:public.e", values(&["a", "b"]), values(&["a", "x", "b"]), &[]);
        check("enum:public.e", values(&["a", "b"]), values(&["b"]), &[("enum_value_removed", Yes)]);
        check("enum:public.e", values(&["a", "b"]), values(&["b", "a"]), &[("enum_values_reordered", Possibly)]);
    }

    #[test]
    fn row_security_switched_on_hides_rows() {
        let table = |on: bool| json!({"row_security": on, "force_row_security": false});
        let on = judged(&[("table:public.t", "", table(false))], &[("table:public.t", "", table(true))]);
        assert_eq!((on[0].breaking, on[0].verdicts[0].code.as_str()), (Yes, "row_security_changed"));
        let off = judged(&[("table:public.t", "", table(true))], &[("table:public.t", "", table(false))]);
        assert_eq!(off[0].breaking, Possibly);
    }

    #[test]
    fn a_table_behind_a_view_of_its_name_only_possibly_breaks() {
        let table = [("table:s.t", "", json!({})), ("column:s.t.a", "table:s.t", json!({"type": "text"}))];
        let view = [("view:s.t", "", json!({})), ("view_column:s.t.a", "view:s.t", json!({"type": "text"}))];
        let verdict = |judged: &[Judged]| judged.iter().find(|one| one.change.kind == Kind::Table).unwrap().breaking;
        assert_eq!(verdict(&judged(&table, &[])), Yes);
        // The view's column carries the same name under another kind.
        assert_eq!(verdict(&judged(&table, &view)), Possibly);
        assert_eq!(verdict(&judged(&table, &view[..1])), Yes);
    }

    #[test]
    fn a_lone_pair_of_the_same_type_looks_like_a_rename() {
        let table = || ("table:public.t", "", json!({}));
        let one = |name: &'static str, kind: &str| (name, "table:public.t", json!({"type": kind}));
        let renamed =
            judged(&[table(), one("column:public.t.a", "text")], &[table(), one("column:public.t.b", "text")]);
        assert!(renamed[0].reason.ends_with("it looks like a rename to b"), "{}", renamed[0].reason);
        assert!(renamed[1].reason.ends_with("it looks like a rename of a"), "{}", renamed[1].reason);

        let ambiguous = judged(
            &[table(), one("column:public.t.a", "text")],
            &[table(), one("column:public.t.b", "text"), one("column:public.t.c", "text")],
        );
        assert!(ambiguous.iter().all(|judged| !judged.reason.contains("rename")));
        let other =
            judged(&[table(), one("column:public.t.a", "text")], &[table(), one("column:public.t.b", "integer")]);
        assert!(other.iter().all(|judged| !judged.reason.contains("rename")));
    }

    #[test]
    fn a_table_of_the_same_columns_looks_like_a_rename() {
        let table =
            |name: &'static str, column: &'static str| [(name, "", json!({})), (column, name, json!({"type": "text"}))];
        let renamed = judged(
            &table("table:public.old", "column:public.old.a"),
            &table("table:public.new", "column:public.new.a"),
        );
        let reasons: Vec<&str> =
            renamed.iter().map(|one| one.reason.as_str()).filter(|it| it.contains("rename")).collect();
        assert_eq!(reasons.len(), 2);
        assert!(reasons.iter().any(|reason| reason.ends_with("it looks like a rename to public.new")), "{reasons:?}");
        let other = judged(
            &table("table:public.old", "column:public.old.a"),
            &table("table:public.new", "column:public.new.b"),
        );
        assert!(other.iter().all(|one| !one.reason.contains("rename")));
    }

    #[test]
    fn a_nested_change_leaves_the_verdict_to_the_one_it_follows() {
        let judged = judged(
            &[("table:public.t", "", json!({})), ("column:public.t.a", "table:public.t", json!({"type": "text"}))],
            &[],
        );
        assert_eq!(judged.iter().map(|one| one.breaking).collect::<Vec<_>>(), [Yes, No]);
        assert!(judged[1].reason.contains("table public.t"));
    }
}
