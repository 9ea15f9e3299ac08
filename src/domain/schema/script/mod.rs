//! The statements that make one schema into another.
//!
//! What PostgreSQL deparsed in the later catalog is what they are made of; the order comes from which name is spoken of where. A catalog does not
//! tell everything (secrets of servers, the code behind a base type), and SQL cannot do everything (alter an operator class): what cannot be done
//! is said, object by object. So a script claims nothing by itself: whoever uses one runs it on a copy first and compares.

mod alter;
mod create;
mod name;

use super::catalog::{Catalog, Kind, Object, ObjectKey};
use super::diff::{Change, ChangeKind, diff};
use super::types::{TypeChange, type_change};
use alter::Way;
use name::mentions;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why something cannot be put into statements.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cannot(&'static str);

impl Cannot {
    const fn because(why: &'static str) -> Self {
        Self(why)
    }
}

/// One statement of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The SQL, without a semicolon at its end.
    pub sql: String,
    /// The object it is about.
    pub about: ObjectKey,
    /// What it throws away, for people; `None` if no stored value is touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
}

/// An object that the statements leave as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsaid {
    /// Which one.
    pub object: ObjectKey,
    /// Why.
    pub why: String,
}

/// The way from one schema to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The statements, in the order in which they have to run, in one transaction.
    pub statements: Vec<Statement>,
    /// What has to be done by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsaid: Vec<Unsaid>,
}

impl Script {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.unsaid.is_empty()
    }

    /// What the statements throw away, for people.
    pub fn losses(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().filter_map(|statement| statement.loses.as_deref())
    }
}

/// As a file of SQL: losses and gaps as comments where they belong.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Functions may be made before what they speak of.
        if self.statements.iter().any(|statement| matches!(statement.about.kind, Kind::Function | Kind::Procedure)) {
            writeln!(f, "SET LOCAL check_function_bodies = off;")?;
        }
        for Statement { sql, loses, .. } in &self.statements {
            if let Some(loses) = loses {
                writeln!(f, "-- this loses {loses}")?;
            }
            writeln!(f, "{sql};")?;
        }
        for Unsaid { object, why } in &self.unsaid {
            writeln!(f, "-- by hand: {} {}: {why}", object.kind.words(), object.name)?;
        }
        Ok(())
    }
}

/// The statements that make a database with the catalog `from` into one with the catalog `to`.
#[must_use]
pub fn script(from: &Catalog, to: &Catalog) -> Script {
    let changes = diff(from, to);
    let mut builder = Builder { from, to, again: BTreeSet::new(), gone: BTreeSet::new(), script: Script::default() };
    builder.decide(&changes);
    builder.write(&changes)
}

struct Builder<'a> {
    from: &'a Catalog,
    to: &'a Catalog,
    /// What stands in both catalogs, and goes and comes again.
    again: BTreeSet<ObjectKey>,
    /// What is only in the earlier one.
    gone: BTreeSet<ObjectKey>,
    script: Script,
}

/// Some statements about one object, and what has to be there before them.
struct Step {
    key: ObjectKey,
    statements: Vec<Statement>,
    /// What they speak of.
    text: String,
    /// What has to be there, beyond what the text tells.
    needs: Vec<ObjectKey>,
}

impl Builder<'_> {
    /// Finds what has to go and come again: what cannot be altered, and whatever is built on something that goes.
    fn decide(&mut self, changes: &[Change]) {
        let mut going: Vec<ObjectKey> = Vec::new();
        for change in changes {
            let key = change.key();
            match change.change {
                ChangeKind::Removed => {
                    self.gone.insert(key.clone());
                    going.push(key);
                }
                ChangeKind::Modified if !change.nested => {
                    let (Some(old), Some(new)) = (self.from.get(&key), self.to.get(&key)) else { continue };
                    let retyped = key.kind == Kind::Column && change.touches("type");
                    let way = alter::alter(self.from, self.to, change, old, new);
                    if matches!(way, Ok(Way::Again)) {
                        self.again.insert(key.clone());
                        going.push(key);
                    } else if retyped {
                        going.push(key);
                    } else if key.kind == Kind::Enum && way.is_ok() && alter::is_replaced(old, new) {
                        let stays = |(child, _): &(&ObjectKey, &Object)| self.to.get(child).is_some();
                        let hanging = self.from.children(&key).filter(stays).map(|(child, _)| child.clone());
                        self.again.extend(hanging);
                        going.extend(alter::columns_of(self.from, &key.name).map(|(column, _)| column.clone()));
                        going.push(key);
                    }
                }
                _ => {}
            }
        }
        let mut standing: Vec<(&ObjectKey, &Object, String)> = self
            .from
            .objects
            .iter()
            .filter(|(key, _)| rests(key.kind) && self.to.get(key).is_some())
            .map(|(key, object)| (key, object, spoken(key, object, self.from)))
            .collect();
        while let Some(key) = going.pop() {
            let table = self.from.get(&key).and_then(|object| object.parent.as_ref());
            standing.retain(|(other, object, text)| {
                if self.again.contains(*other) {
                    return false;
                }
                let falls = **other != key && built_on(other, object, text, &key, table);
                if falls {
                    self.again.insert((*other).clone());
                    going.push((*other).clone());
                }
                !falls
            });
        }
        // What hangs on something that goes, goes with it, and has to come again with it.
        let children: Vec<ObjectKey> = self
            .from
            .objects
            .keys()
            .filter(|key| self.to.get(key).is_some())
            .filter(|key| self.from.ancestors(key).any(|above| self.again.contains(above)))
            .cloned()
            .collect();
        self.again.extend(children);
    }

    /// Whether it goes with something else that goes.
    fn goes_along(&self, key: &ObjectKey) -> bool {
        let goes = |key: &ObjectKey| self.gone.contains(key) || self.again.contains(key);
        self.from.ancestors(key).any(goes) || self.owner_goes(key)
    }

    /// Whether it is a sequence whose column, or the table of that, is gone.
    fn owner_goes(&self, key: &ObjectKey) -> bool {
        let owned_by = self.from.get(key).filter(|_| key.kind == Kind::Sequence).and_then(|it| it.text("owned_by"));
        owned_by.and_then(|plain| name::quoted(plain, 3)).is_some_and(|column| {
            self.gone.contains(&ObjectKey::new(Kind::Table, name::above(&column)))
                || self.gone.contains(&ObjectKey::new(Kind::Column, column))
        })
    }

    fn cannot(&mut self, key: &ObjectKey, Cannot(why): Cannot) {
        self.script.unsaid.push(Unsaid { object: key.clone(), why: why.to_owned() });
    }

    fn write(mut self, changes: &[Change]) -> Script {
        let (mut first, mut last, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for key in self.gone.clone().iter().chain(&self.again.clone()) {
            let Some(object) = self.from.get(key) else { continue };
            if let Some(step) = self.inherited_once(key, object) {
                steps.push(step);
                continue;
            }
            if object.inherited || self.goes_along(key) {
                continue;
            }
            match alter::drop(key, object) {
                Ok(Some(sql)) => {
                    let mut needs = needs(key, object, self.from);
                    // The foreign keys of a table go with it, and so before what they rest on.
                    let constraints = self.from.children(key).filter(|(child, _)| child.kind == Kind::Constraint);
                    needs.extend(constraints.flat_map(|(child, object)| self::needs(child, object, self.from)));
                    needs.retain(|needed| needed != key);
                    let step = Step {
                        key: key.clone(),
                        statements: vec![Statement { sql, about: key.clone(), loses: self.lost(key, object) }],
                        text: spoken(key, object, self.from),
                        needs,
                    };
                    if self.goes_late(key) { last.push(step) } else { first.push(step) }
                }
                Ok(None) => {}
                Err(cannot) => self.cannot(key, cannot),
            }
        }
        for change in changes {
            let key = change.key();
            first.extend(self.let_go(change));
            match change.change {
                ChangeKind::Added => self.make(&key, &mut steps),
                ChangeKind::Modified if !change.nested && !self.again.contains(&key) => {
                    self.change(change, &mut steps);
                }
                _ => {}
            }
        }
        for key in self.again.clone() {
            self.make(&key, &mut steps);
        }
        self.leave_what_needs_the_unsaid(&mut steps);
        let mut script = std::mem::take(&mut self.script);
        // What is built on something goes before it.
        let backwards = |steps: Vec<Step>, catalog: &Catalog| {
            let mut statements = in_order(steps, catalog);
            statements.reverse();
            statements
        };
        script.statements.extend(backwards(first, self.from));
        script.statements.extend(in_order(steps, self.to));
        script.statements.extend(backwards(last, self.from));
        script
    }

    /// What a table had from a parent that it leaves, and is not to keep: it stays behind, unless it goes with the parent's.
    fn inherited_once(&self, key: &ObjectKey, object: &Object) -> Option<Step> {
        let table = object.parent.as_ref().filter(|_| object.inherited && self.gone.contains(key))?;
        let (old, new) = (self.from.get(table)?, self.to.get(table)?);
        if old.get("parents") == new.get("parents") {
            return None;
        }
        let sql = match key.kind {
            Kind::Index => format!("DROP INDEX IF EXISTS {}", key.name),
            Kind::Constraint => format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", table.name, key.last_part()),
            _ => return None,
        };
        let statements = vec![Statement { sql, about: key.clone(), loses: None }];
        Some(Step { key: key.clone(), statements, text: String::new(), needs: Vec::new() })
    }

    /// What a thing that stays has to let go of before that can be dropped, or its name be used again.
    fn let_go(&mut self, change: &Change) -> Option<Step> {
        let key = change.key();
        let (old, new) = (self.from.get(&key)?, self.to.get(&key)?);
        let table = |name: &str| ObjectKey::new(Kind::Table, name);
        let (made, needs) = match key.kind {
            // The sequence of an identity goes with it.
            Kind::Column if change.touches("identity") && new.text("identity") == Some("") => {
                let alter = format!("ALTER TABLE {} ALTER COLUMN {}", name::above(&key.name), key.last_part());
                (vec![format!("{alter} DROP IDENTITY")], Vec::new())
            }
            Kind::Sequence if self.owner_goes(&key) => {
                let column = old.text("owned_by").and_then(|plain| name::quoted(plain, 3))?;
                let needs = vec![table(name::above(&column)), ObjectKey::new(Kind::Column, column)];
                (vec![format!("ALTER SEQUENCE {} OWNED BY NONE", key.name)], needs)
            }
            Kind::Table if change.touches("parents") || change.touches("partition_bound") => {
                match alter::orphan(&key, old, new) {
                    Ok((made, parents)) => (made, parents.iter().map(|parent| table(parent)).collect()),
                    Err(cannot) => {
                        self.cannot(&key, cannot);
                        return None;
                    }
                }
            }
            _ => return None,
        };
        let statement = |sql| Statement { sql, about: key.clone(), loses: None };
        // Drops are put in order backwards: it comes before the drop of what it needs.
        Some(Step {
            key: key.clone(),
            statements: made.into_iter().map(statement).collect(),
            text: String::new(),
            needs,
        })
    }

    /// What is built on something that has to be made by hand has to wait for that, too.
    fn leave_what_needs_the_unsaid(&mut self, steps: &mut Vec<Step>) {
        let mut missing: Vec<ObjectKey> = self
            .script
            .unsaid
            .iter()
            .map(|gap| gap.object.clone())
            .filter(|key| self.from.get(key).is_none() || self.again.contains(key))
            .collect();
        while let Some(key) = missing.pop() {
            let needs = |step: &Step| step.needs.contains(&key) || mentions(&step.text, &key.name);
            let (left, kept): (Vec<Step>, Vec<Step>) = std::mem::take(steps).into_iter().partition(needs);
            *steps = kept;
            for step in left {
                self.cannot(&step.key, Cannot::because("it is built on something that has to be made by hand"));
                missing.push(step.key);
            }
        }
    }

    /// Whether something that is altered may still use it, so that it goes last.
    fn goes_late(&self, key: &ObjectKey) -> bool {
        let late = matches!(
            key.kind,
            Kind::Schema
                | Kind::Extension
                | Kind::Sequence
                | Kind::Function
                | Kind::Procedure
                | Kind::Aggregate
                | Kind::Enum
                | Kind::Domain
                | Kind::CompositeType
                | Kind::RangeType
                | Kind::BaseType
                | Kind::Collation
                | Kind::Operator
                | Kind::OperatorClass
                | Kind::ForeignServer
                | Kind::TextSearchConfiguration
        );
        // Its name may be wanted for something else.
        let name = key.name.as_str();
        let wanted = |kind: &Kind| *kind != key.kind && self.to.find(*kind, name).is_some();
        late && !self.again.contains(key) && !Kind::ALL.iter().any(wanted)
    }

    fn lost(&self, key: &ObjectKey, object: &Object) -> Option<String> {
        match key.kind {
            Kind::Table => Some(format!("the rows of {}", key.name)),
            Kind::Column if object.text("generated").is_none() => Some(format!("the values of {}", key.name)),
            Kind::Sequence => Some(format!("how far {} has counted", key.name)),
            _ => None,
        }
    }

    /// Makes what is added, or comes again.
    fn make(&mut self, key: &ObjectKey, steps: &mut Vec<Step>) {
        let Some(object) = self.to.get(key) else { return };
        let comes = |key: &ObjectKey| self.from.get(key).is_none() || self.again.contains(key);
        // It comes with what it hangs on.
        let folded = match key.kind {
            Kind::Cast => object.parent.is_some(),
            Kind::Column => object.parent.as_ref().is_some_and(comes),
            Kind::Default => object.parent.as_ref().is_some_and(|column| column.kind == Kind::Column && comes(column)),
            _ => false,
        };
        if folded || object.inherited {
            return;
        }
        match create::create(self.to, key, object) {
            Ok(made) => {
                self.push(key, object, made, steps);
                self.late(key, object, steps);
            }
            Err(cannot) => self.cannot(key, cannot),
        }
    }

    fn change(&mut self, change: &Change, steps: &mut Vec<Step>) {
        let key = change.key();
        let (Some(old), Some(new)) = (self.from.get(&key), self.to.get(&key)) else { return };
        match alter::alter(self.from, self.to, change, old, new) {
            Ok(Way::InPlace(made)) => {
                let types = change.values("type").filter(|_| key.kind == Kind::Column);
                let turned = types.is_some_and(|(old, new)| {
                    let (old, new) = (old.as_str().unwrap_or_default(), new.as_str().unwrap_or_default());
                    matches!(type_change(old, new), TypeChange::Lossy(_) | TypeChange::Other)
                });
                self.push(&key, new, made, steps);
                if let (true, Some(step)) = (turned, steps.last_mut())
                    && let Some(statement) = step.statements.iter_mut().find(|one| one.sql.contains(" USING "))
                {
                    statement.loses = Some(format!("what the new type of {} cannot hold", key.name));
                }
                self.late(&key, new, steps);
            }
            Ok(Way::Again) => {}
            Err(cannot) => self.cannot(&key, cannot),
        }
    }

    fn push(&self, key: &ObjectKey, object: &Object, made: Vec<String>, steps: &mut Vec<Step>) {
        let statement = |sql| Statement { sql, about: key.clone(), loses: None };
        steps.push(Step {
            key: key.clone(),
            statements: made.into_iter().map(statement).collect(),
            text: spoken(key, object, self.to),
            needs: needs(key, object, self.to),
        });
    }

    /// What can only be said once something else is there: the index a table is clustered on, the column a sequence belongs to.
    fn late(&mut self, key: &ObjectKey, object: &Object, steps: &mut Vec<Step>) {
        let old = self.from.get(key).filter(|_| !self.again.contains(key));
        let differs = |attribute: &str| old.is_none_or(|old| old.get(attribute) != object.get(attribute));
        let mut late = Vec::new();
        let mut wants = Vec::new();
        if let Some(space) = name::space(&key.name) {
            let mut on_index = |attribute: &str, text: &str| {
                if let Some(index) = object.text(attribute).filter(|_| differs(attribute)) {
                    late.push(format!("ALTER TABLE {} {text} {index}", key.name));
                    wants.push(ObjectKey::new(Kind::Index, format!("{space}.{index}")));
                    wants.push(ObjectKey::new(Kind::Constraint, format!("{}.{index}", key.name)));
                }
            };
            if key.kind != Kind::Sequence {
                on_index("clustered_on", "CLUSTER ON");
                on_index("replica_identity_index", "REPLICA IDENTITY USING INDEX");
            }
        }
        if key.kind == Kind::Sequence && differs("owned_by") {
            match alter::owned_by(key, object) {
                Ok(sql) => late.extend(sql),
                Err(cannot) => self.cannot(key, cannot),
            }
            if let Some(column) = object.text("owned_by").and_then(|plain| name::quoted(plain, 3)) {
                wants.push(ObjectKey::new(Kind::Table, name::above(&column)));
                wants.push(ObjectKey::new(Kind::Column, column));
            }
        }
        if !late.is_empty() {
            wants.push(key.clone());
            let statement = |sql| Statement { sql, about: key.clone(), loses: None };
            steps.push(Step {
                // Nothing waits for it.
                key: ObjectKey::new(Kind::Comment, format!("{key}")),
                statements: late.into_iter().map(statement).collect(),
                text: String::new(),
                needs: wants,
            });
        }
    }
}

/// Whether things of this kind are built on others in a way that PostgreSQL knows of.
fn rests(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::View
            | Kind::MaterializedView
            | Kind::Rule
            | Kind::Policy
            | Kind::Trigger
            | Kind::Default
            | Kind::Constraint
            | Kind::Index
            | Kind::Function
            | Kind::Procedure
            | Kind::Aggregate
            | Kind::DomainConstraint
            | Kind::Statistics
            | Kind::EventTrigger
    )
}

/// Whether `other`, which speaks of `text`, could not stand if `key` of `table` went: PostgreSQL would refuse, or take it along.
fn built_on(other: &ObjectKey, object: &Object, text: &str, key: &ObjectKey, table: Option<&ObjectKey>) -> bool {
    match key.kind {
        Kind::View
        | Kind::MaterializedView
        | Kind::Table
        | Kind::ForeignTable
        | Kind::Function
        | Kind::Procedure
        | Kind::Aggregate
        | Kind::Enum
        | Kind::Domain
        | Kind::CompositeType
        | Kind::RangeType
        | Kind::BaseType
        | Kind::Collation
        | Kind::Operator => mentions(text, &key.name),
        // Constraints, indexes and defaults of a column are turned with it, or were dropped with it.
        Kind::Column => {
            matches!(
                other.kind,
                Kind::View | Kind::MaterializedView | Kind::Rule | Kind::Policy | Kind::Trigger | Kind::Function
            ) && mentions(text, name::above(&key.name))
                && text.contains(key.last_part())
        }
        // A foreign key rests on the unique constraint or index of the table it refers to.
        Kind::Constraint | Kind::Index => {
            let Some(table) = table else { return false };
            other.kind == Kind::Constraint
                && object.text("definition").is_some_and(|definition| {
                    definition
                        .split_once(" REFERENCES ")
                        .is_some_and(|(_, referred)| referred.starts_with(&format!("{}(", table.name)))
                })
        }
        _ => false,
    }
}

/// Everything an object's own statements speak of.
fn spoken(key: &ObjectKey, object: &Object, catalog: &Catalog) -> String {
    let mut text = String::new();
    let of_function = matches!(key.kind, Kind::Function | Kind::Procedure);
    for (attribute, value) in &object.attributes {
        match (attribute.as_str(), value) {
            // The body of a function is looked into when it runs, unless it is of the SQL standard's form.
            ("definition", Value::String(definition)) if of_function && !definition.contains("\nBEGIN ATOMIC") => {
                text.push_str(definition.split("\nAS ").next().unwrap_or_default());
            }
            ("parents", value) => {
                text.extend(
                    name::texts(value).into_iter().filter_map(|parent| name::quoted(parent, 2)).map(|name| name + " "),
                );
            }
            ("owner" | "owned_by" | "clustered_on" | "replica_identity_index", _) => {}
            (_, value) => say(value, &mut text),
        }
        text.push('\n');
    }
    if matches!(key.kind, Kind::Table | Kind::ForeignTable | Kind::Column) {
        for (key, object) in catalog.children(key).filter(|(key, _)| matches!(key.kind, Kind::Column | Kind::Default)) {
            text.push_str(&spoken(key, object, catalog));
        }
    }
    text
}

fn say(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => {
            text.push_str(string);
            text.push(' ');
        }
        Value::Array(values) => values.iter().for_each(|value| say(value, text)),
        Value::Object(map) => map.values().for_each(|value| say(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What an object hangs on or stands in, which its text does not tell.
fn needs(key: &ObjectKey, object: &Object, catalog: &Catalog) -> Vec<ObjectKey> {
    let mut needs: Vec<ObjectKey> = catalog.ancestors(key).cloned().collect();
    needs.extend(name::space(&key.name).map(|space| ObjectKey::new(Kind::Schema, space)));
    if let Some(table) = object
        .text("definition")
        .filter(|_| key.kind == Kind::Constraint)
        .and_then(|definition| definition.split_once(" REFERENCES "))
        .and_then(|(_, referred)| referred.split_once('(').map(|(table, _)| table))
    {
        let unique = catalog.objects.iter().filter(|(other, object)| {
            object.parent.as_ref().is_some_and(|parent| parent.name == table)
                && (other.kind == Kind::Index && object.is("unique")
                    || other.kind == Kind::Constraint
                        && object
                            .text("definition")
                            .is_some_and(|text| text.starts_with("PRIMARY KEY") || text.starts_with("UNIQUE")))
        });
        needs.extend(unique.map(|(key, _)| key.clone()));
    }
    needs
}

/// What is made earlier where nothing else decides.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Schema => 0,
        Kind::Extension => 1,
        Kind::ForeignServer | Kind::Collation | Kind::TextSearchConfiguration => 2,
        Kind::Enum | Kind::BaseType => 3,
        Kind::CompositeType | Kind::Domain | Kind::RangeType | Kind::DomainConstraint => 4,
        Kind::Sequence => 5,
        Kind::Function | Kind::Procedure | Kind::Operator | Kind::OperatorClass | Kind::Cast => 6,
        Kind::Aggregate => 7,
        Kind::Table | Kind::ForeignTable => 8,
        Kind::Column | Kind::IdentitySequence => 9,
        Kind::Default => 10,
        Kind::Index => 11,
        Kind::Constraint => 12,
        Kind::View | Kind::MaterializedView | Kind::ViewColumn => 13,
        Kind::Statistics | Kind::Trigger | Kind::Rule | Kind::Policy => 14,
        Kind::Publication | Kind::EventTrigger => 15,
        Kind::DefaultPrivilege | Kind::PrivilegeRevoked => 16,
        Kind::Privilege => 17,
        Kind::Comment => 18,
    }
}

/// The statements of `steps`, each after those it needs; where they need each other, by rank.
fn in_order(steps: Vec<Step>, catalog: &Catalog) -> Vec<Statement> {
    let places: BTreeMap<&ObjectKey, usize> = steps.iter().enumerate().map(|(at, step)| (&step.key, at)).collect();
    // Names that a text can speak of.
    let named: Vec<(&str, usize)> = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| {
            matches!(
                step.key.kind,
                Kind::Table
                    | Kind::ForeignTable
                    | Kind::View
                    | Kind::MaterializedView
                    | Kind::Sequence
                    | Kind::Function
                    | Kind::Procedure
                    | Kind::Aggregate
                    | Kind::Enum
                    | Kind::Domain
                    | Kind::CompositeType
                    | Kind::RangeType
                    | Kind::BaseType
                    | Kind::Collation
                    | Kind::Operator
                    | Kind::TextSearchConfiguration
                    | Kind::ForeignServer
            )
        })
        .map(|(at, step)| (step.key.name.as_str(), at))
        .collect();
    let waits: Vec<BTreeSet<usize>> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let needed = step.needs.iter().filter_map(|key| places.get(key).copied());
            let spoken = named.iter().filter(|(name, _)| mentions(&step.text, name)).map(|(_, place)| *place);
            // A view that is read for its columns, altered below it: what is done to a table comes before what reads it.
            let below = steps.iter().enumerate().filter(|(_, other)| {
                other.key.kind == Kind::Column
                    && matches!(
                        step.key.kind,
                        Kind::View
                            | Kind::MaterializedView
                            | Kind::Index
                            | Kind::Constraint
                            | Kind::Function
                            | Kind::Trigger
                            | Kind::Policy
                            | Kind::Rule
                            | Kind::Statistics
                    )
                    && (catalog.ancestors(&step.key).any(|above| above.name == name::above(&other.key.name))
                        || mentions(&step.text, name::above(&other.key.name)))
            });
            let below: Vec<usize> = below.map(|(place, _)| place).collect();
            needed.chain(spoken).chain(below).filter(|place| *place != at).collect()
        })
        .collect();
    let mut left: BTreeSet<(u8, &ObjectKey, usize)> =
        steps.iter().enumerate().map(|(at, step)| (rank(step.key.kind), &step.key, at)).collect();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut order = Vec::new();
    while let Some(next) = left
        .iter()
        .find(|(_, _, at)| waits[*at].iter().all(|place| done.contains(place)))
        .or_else(|| left.first())
        .copied()
    {
        left.remove(&next);
        done.insert(next.2);
        order.push(next.2);
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| steps[at].take()).flat_map(|step| step.statements).collect()
}
