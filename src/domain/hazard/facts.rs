//! What is known of the database a migration will meet: nothing but the folder's own statements, or a whole catalog.
//!
//! [`Facts::apply`] plays a statement through, so that the next one meets what it left.

use super::act::{Act, Alter, Demand, Expr, Guard, Name, NewColumn, NewConstraint, Thing, TypeName};
use super::read::gives_value;
use crate::domain::sql::quote_ident;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A relation, with its schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rel {
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
}

impl Rel {
    /// A relation of a schema.
    #[must_use]
    pub fn new(schema: &str, name: &str) -> Self {
        Self { schema: schema.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Rel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == Name::UNKNOWN {
            return f.write_str(Name::UNKNOWN);
        }
        if self.schema == Name::UNKNOWN {
            return f.write_str(&quote_ident(&self.name));
        }
        write!(f, "{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

/// What kind of relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// A table with rows of its own.
    Table,
    /// A partitioned table: its partitions have the rows.
    Partitioned,
    /// A materialized view.
    MaterializedView,
    /// A view, a foreign table, a sequence: no rows to scan.
    Bare,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeName,
    /// Its collation, without the schema; none is that of its type.
    pub collation: Option<String>,
    /// Whether it is NOT NULL.
    pub not_null: bool,
}

/// A constraint that a relation has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// What it demands.
    pub demand: Demand,
    /// Whether every row was looked at.
    pub valid: bool,
}

/// A relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// What kind.
    pub kind: RelationKind,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Whether these are all.
    pub columns_known: bool,
    /// Its constraints.
    pub constraints: Vec<Held>,
    /// About how many rows it has.
    pub rows: Option<u64>,
    /// How much room it takes, indexes and all, in bytes.
    pub bytes: Option<u64>,
    /// Whether this migration itself made it: nobody else sees it yet.
    pub here: bool,
    /// Whether it is UNLOGGED, if that is known.
    pub unlogged: Option<bool>,
    /// The columns it is partitioned by; none if it is not, or by an expression.
    pub partition_key: Vec<String>,
    /// Its partitions and inheritance children.
    pub children: Vec<Rel>,
    /// Whether it has a default partition.
    pub default_partition: Option<Rel>,
}

impl Relation {
    /// A relation nothing else is known of.
    #[must_use]
    pub fn new(kind: RelationKind) -> Self {
        Self {
            kind,
            columns: Vec::new(),
            columns_known: true,
            constraints: Vec::new(),
            rows: None,
            bytes: None,
            here: false,
            unlogged: None,
            partition_key: Vec::new(),
            children: Vec::new(),
            default_partition: None,
        }
    }

    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its table.
    pub table: Rel,
    /// Its columns; an expression gives none.
    pub columns: Vec<String>,
    /// The columns its expressions and its predicate name.
    pub computed_from: Vec<String>,
}

impl Index {
    /// Whether a new type of the column has it built anew, even where the rows stay: what is computed is compared by its text.
    #[must_use]
    pub fn computes_with(&self, column: &String) -> bool {
        self.computed_from.contains(column) || (!self.computed_from.is_empty() && self.columns.contains(column))
    }
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its schema.
    pub schema: String,
    /// Whether it is VOLATILE.
    pub volatile: bool,
    /// Its language.
    pub language: String,
    /// Its text, where that may matter.
    pub body: Option<String>,
}

/// A type that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserType {
    /// A domain.
    Domain {
        /// The type below.
        base: TypeName,
        /// Whether it has a constraint.
        constrained: bool,
        /// Its default.
        default: Option<Box<Expr>>,
    },
    /// An enum.
    Enum,
    /// Any other.
    Other,
}

/// How big something is, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
}

/// What a statement's table turns out to be.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The relation.
    pub rel: Rel,
    /// What is known of it.
    pub relation: Option<&'a Relation>,
    /// Whether it, or a partition of it, was there before the migration and has rows of its own.
    pub live: bool,
    /// Whether it was there before the migration, rows or not.
    pub existed: bool,
    /// How big it is, partitions and all.
    pub size: Size,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether this is everything there is; else what is not in here may well exist.
    pub complete: bool,
    /// Whether sessions run in UTC.
    pub utc: bool,
    /// The version, as `server_version_num`; 0 if not known.
    pub version: u32,
    /// Where names without a schema are looked for.
    pub search_path: Vec<String>,
    /// The relations.
    pub relations: BTreeMap<Rel, Relation>,
    /// The indexes.
    pub indexes: BTreeMap<Rel, Index>,
    /// The types that somebody made.
    pub types: BTreeMap<Rel, UserType>,
    /// The functions, by name without schema.
    pub functions: BTreeMap<String, Vec<Function>>,
    /// Pairs of types where a value of the first is one of the second, byte for byte.
    pub binary_coercible: BTreeSet<(String, String)>,
    /// The extensions the server could install; none if not asked.
    pub available_extensions: Option<BTreeSet<String>>,
    /// The extensions that are installed.
    pub extensions: BTreeSet<String>,
    /// The schemas.
    pub schemas: BTreeSet<String>,
}

impl Facts {
    /// Nothing known but what the folder itself does. Servers are taken to be in UTC, as nearly all of them are.
    #[must_use]
    pub fn of_text() -> Self {
        Self { search_path: vec!["public".to_owned()], utc: true, ..Self::default() }
    }

    /// What is known around one table: enough to play a few statements through.
    #[must_use]
    pub fn clone_of(&self, table: &Name) -> Self {
        let rel = self.rel(table);
        let relations = self.relations.iter().filter(|(one, _)| **one == rel);
        let indexes = self.indexes.iter().filter(|(_, index)| index.table == rel);
        Self {
            search_path: self.search_path.clone(),
            relations: relations.map(|(rel, one)| (rel.clone(), one.clone())).collect(),
            indexes: indexes.map(|(rel, index)| (rel.clone(), index.clone())).collect(),
            ..Self::default()
        }
    }

    /// A new migration begins: what the last one made is there now.
    pub fn next_migration(&mut self) {
        for relation in self.relations.values_mut().filter(|relation| relation.here) {
            relation.here = false;
            // Nobody had the time to fill it.
            if self.complete {
                relation.rows.get_or_insert(0);
                relation.bytes.get_or_insert(0);
            }
        }
    }

    /// Where a name leads.
    #[must_use]
    pub fn rel(&self, name: &Name) -> Rel {
        if let Some(schema) = &name.schema {
            return Rel::new(schema, &name.name);
        }
        let there = |rel: &Rel| {
            self.relations.contains_key(rel) || self.indexes.contains_key(rel) || self.types.contains_key(rel)
        };
        let mut places = self.search_path.iter().map(|schema| Rel::new(schema, &name.name));
        places
            .find(there)
            .unwrap_or_else(|| Rel::new(self.search_path.first().map_or("public", String::as_str), &name.name))
    }

    /// What a name's relation is.
    #[must_use]
    pub fn target(&self, name: &Name) -> Target<'_> {
        let rel = self.rel(name);
        self.target_of(rel)
    }

    /// What a relation is.
    #[must_use]
    pub fn target_of(&self, rel: Rel) -> Target<'_> {
        let relation = self.relations.get(&rel);
        if rel.name == Name::UNKNOWN || rel.schema == Name::UNKNOWN {
            return Target { rel, relation: None, live: true, existed: true, size: Size::default() };
        }
        match relation {
            None => {
                let maybe = !self.complete && rel.schema != "pg_temp";
                Target { rel, relation: None, live: maybe, existed: maybe, size: Size::default() }
            }
            Some(one) => {
                let leaves = self.leaves(&rel);
                let live = leaves.iter().any(|leaf| self.relations.get(leaf).is_some_and(|leaf| !leaf.here));
                let sum = |of: fn(&Relation) -> Option<u64>| {
                    leaves.iter().map(|leaf| self.relations.get(leaf).and_then(of)).sum::<Option<u64>>()
                };
                let size = Size { rows: sum(|leaf| leaf.rows), bytes: sum(|leaf| leaf.bytes) };
                Target { rel, relation, live, existed: !one.here, size }
            }
        }
    }

    /// The relations that hold a relation's rows: itself, its partitions, its children.
    #[must_use]
    pub fn leaves(&self, rel: &Rel) -> Vec<Rel> {
        let mut found = Vec::new();
        let mut next = vec![rel.clone()];
        while let Some(one) = next.pop() {
            let Some(relation) = self.relations.get(&one) else { continue };
            if matches!(relation.kind, RelationKind::Table | RelationKind::MaterializedView) && !found.contains(&one) {
                found.push(one);
            }
            if found.len() < 100_000 {
                next.extend(relation.children.iter().cloned());
            }
        }
        found
    }

    /// The type somebody made, if it is one.
    #[must_use]
    pub fn user_type(&self, ty: &TypeName) -> Option<&UserType> {
        let name = Name { schema: ty.schema.clone(), name: ty.name.clone() };
        self.types.get(&self.rel(&name))
    }

    /// The function a call most likely runs.
    #[must_use]
    pub fn function(&self, name: &Name) -> Option<&Function> {
        let all = self.functions.get(&name.name)?;
        match &name.schema {
            Some(schema) => all.iter().find(|one| one.schema == *schema),
            None => all.iter().find(|one| self.search_path.contains(&one.schema)).or_else(|| all.first()),
        }
    }

    /// Whether a call gives another value each time.
    #[must_use]
    pub fn is_volatile(&self, name: &Name) -> bool {
        match self.function(name) {
            Some(function) => function.volatile && !self.is_steady_inside(function),
            None => super::builtin::is_volatile(&name.name),
        }
    }

    /// Whether a function of one plain SELECT, which PostgreSQL puts in its place, calls nothing volatile itself.
    fn is_steady_inside(&self, function: &Function) -> bool {
        let Some(body) = function.body.as_ref().filter(|_| function.language == "sql") else { return false };
        match super::read::body("sql", body).as_slice() {
            [Act::Query { verb: super::act::Verb::Select, reads, functions, .. }] => {
                // One that calls itself, or one that does, is followed no further.
                let steady = |name: &Name| {
                    self.function(name).map_or_else(|| !super::builtin::is_volatile(&name.name), |one| !one.volatile)
                };
                reads.is_empty() && functions.iter().all(steady)
            }
            _ => false,
        }
    }

    /// Whether a valid check proves that a column holds no NULL, or it is NOT NULL already.
    #[must_use]
    pub fn proves_not_null(&self, target: &Target<'_>, column: &str) -> bool {
        let Some(relation) = target.relation else { return false };
        relation.column(column).is_some_and(|column| column.not_null)
            || relation.constraints.iter().any(|held| match &held.demand {
                Demand::Check(check) => held.valid && check.not_null.iter().any(|name| name == column),
                _ => false,
            })
    }

    /// Whether what a block asks the catalog is so; `None` if that cannot be known.
    #[must_use]
    pub fn answer(&self, guard: &Guard) -> Option<bool> {
        let value =
            |name: &str| guard.equals.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str());
        let relation = |name: &str, schema: Option<&str>| {
            let fits = |rel: &Rel| rel.name == name && schema.is_none_or(|schema| rel.schema == schema);
            self.relations.keys().chain(self.indexes.keys()).any(fits)
        };
        let there = match guard.relation.as_str() {
            "pg_constraint" | "table_constraints" => {
                let name = value("conname").or_else(|| value("constraint_name"))?;
                self.relations.values().any(|relation| relation.constraints.iter().any(|held| held.name == name))
            }
            "pg_type" => self.types.keys().any(|rel| Some(rel.name.as_str()) == value("typname")),
            "pg_class" => relation(value("relname")?, value("nspname")),
            "pg_attribute" => {
                // `'public.t'::regclass` names the schema too, which is not needed to tell that it is nowhere.
                let table = value("relname").or_else(|| value("attrelid"))?;
                let table = table.rsplit('.').next().unwrap_or(table).trim_matches('"');
                let column = value("attname")?;
                self.relations.iter().any(|(rel, relation)| rel.name == table && relation.column(column).is_some())
            }
            "pg_indexes" => relation(value("indexname")?, value("schemaname")),
            "pg_tables" => relation(value("tablename")?, value("schemaname")),
            "tables" => relation(value("table_name")?, value("table_schema")),
            "columns" => {
                let (table, schema, column) = (value("table_name"), value("table_schema"), value("column_name")?);
                self.relations.iter().any(|(rel, relation)| {
                    table.is_none_or(|table| rel.name == table)
                        && schema.is_none_or(|schema| rel.schema == schema)
                        && relation.column(column).is_some()
                })
            }
            "pg_namespace" | "schemata" => self.schemas.contains(value("nspname").or_else(|| value("schema_name"))?),
            "pg_extension" => self.extensions.contains(value("extname")?),
            _ => return None,
        };
        (there || self.complete).then_some(there)
    }

    /// Plays an act through.
    pub fn apply(&mut self, act: &Act) {
        match act {
            Act::CreateTable(table) => {
                let rel =
                    if table.temporary { Rel::new("pg_temp", &table.name.name) } else { self.new_rel(&table.name) };
                if table.if_not_exists && self.relations.contains_key(&rel) {
                    return;
                }
                let kind = if table.partitioned { RelationKind::Partitioned } else { RelationKind::Table };
                let mut relation = Relation { here: true, unlogged: Some(table.unlogged), ..Relation::new(kind) };
                relation.partition_key.clone_from(&table.partition_key);
                relation.columns_known = !table.columns_elsewhere;
                relation.columns = table.columns.iter().map(column_of).collect();
                for parent in table.inherits.iter().chain(&table.partition_of) {
                    let parent = self.rel(parent);
                    if let Some(parent) = self.relations.get_mut(&parent) {
                        relation.columns.extend(parent.columns.iter().cloned());
                        parent.children.push(rel.clone());
                    }
                }
                self.relations.insert(rel.clone(), relation);
                for constraint in table.columns.iter().flat_map(|column| &column.constraints).chain(&table.constraints)
                {
                    // Rows are looked at as they come; what is there from the first day holds.
                    self.add_constraint(&rel, &NewConstraint { unchecked: false, ..constraint.clone() });
                }
                if table.temporary && !self.search_path.contains(&"pg_temp".to_owned()) {
                    self.search_path.insert(0, "pg_temp".to_owned());
                }
            }
            Act::CreateOther { thing, name, lenient } => {
                let rel = self.new_rel(name);
                let kind = match thing {
                    Thing::MaterializedView => RelationKind::MaterializedView,
                    _ => RelationKind::Bare,
                };
                let made = Relation { here: true, columns_known: false, ..Relation::new(kind) };
                // What was there under the name is gone by now, else it would fail.
                if !lenient || !self.relations.contains_key(&rel) {
                    self.relations.insert(rel, made);
                }
            }
            Act::Alter { table, alter, .. } => self.alter(table, alter),
            Act::CreateIndex { table, index, columns, computed_from, .. } => {
                let rel = self.rel(table);
                let name = index.clone().unwrap_or_else(|| made_up(&rel.name, columns, "idx"));
                let (columns, computed_from) = (columns.clone(), computed_from.clone());
                self.indexes.entry(Rel::new(&rel.schema, &name)).or_insert(Index {
                    table: rel,
                    columns,
                    computed_from,
                });
            }
            Act::DropIndex { index, .. } => {
                let rel = self.rel(index);
                self.indexes.remove(&rel);
            }
            Act::Drop { thing, name, .. } => self.forget(*thing, name),
            Act::Rename { thing, on, part, to, schema } => self.rename(*thing, on, part.as_deref(), to, *schema),
            Act::CreateType { name, is_enum } => {
                let rel = self.new_rel(name);
                self.types.insert(rel, if *is_enum { UserType::Enum } else { UserType::Other });
            }
            Act::CreateDomain { name, base, constrained, default } => {
                let rel = self.new_rel(name);
                let (below, inherited) = match self.user_type(base) {
                    Some(UserType::Domain { constrained, default, .. }) => (*constrained, default.clone()),
                    _ => (false, None),
                };
                let default = default.clone().map(Box::new).or(inherited);
                let (base, constrained) = (base.clone(), *constrained || below);
                self.types.insert(rel, UserType::Domain { base, constrained, default });
            }
            Act::ConstrainDomain { name, .. } => {
                let rel = self.rel(name);
                if let Some(UserType::Domain { constrained, .. }) = self.types.get_mut(&rel) {
                    *constrained = true;
                }
            }
            Act::CreateFunction { name, volatile, language, body } => {
                let schema = self.new_rel(name).schema;
                let all = self.functions.entry(name.name.clone()).or_default();
                all.retain(|one| one.schema != schema);
                let (language, body) = (language.clone(), body.clone());
                all.push(Function { schema, volatile: *volatile, language, body });
            }
            Act::Volatility { name, volatile } => {
                let schema = self.function(name).map(|one| one.schema.clone());
                for one in self.functions.get_mut(&name.name).into_iter().flatten() {
                    if Some(&one.schema) == schema.as_ref() {
                        one.volatile = *volatile;
                    }
                }
            }
            Act::CreateExtension(name) => {
                self.extensions.insert(name.clone());
            }
            Act::CreateSchema(name) => {
                self.schemas.insert(name.clone());
            }
            Act::Set { name, values } if name == "search_path" => {
                let path = values.iter().flat_map(|value| value.split(',')).map(|one| one.trim().trim_matches('"'));
                self.search_path = path.filter(|one| !one.is_empty() && *one != "$user").map(str::to_owned).collect();
            }
            Act::Set { name, values } if name == "timezone" => {
                self.utc = values.iter().any(|value| super::types::is_utc(value));
            }
            Act::Query { verb: super::act::Verb::Insert, table: Some(table), from_query: true, .. } => {
                // Filled by a query: no longer as empty as it was made.
                let rel = self.rel(table);
                if let Some(relation) = self.relations.get_mut(&rel).filter(|relation| relation.rows == Some(0)) {
                    relation.rows = None;
                    relation.bytes = None;
                }
            }
            _ => {}
        }
    }

    /// Where a new thing goes.
    fn new_rel(&self, name: &Name) -> Rel {
        let place = self.search_path.iter().find(|schema| *schema != "pg_temp" && *schema != "pg_catalog");
        let schema = name.schema.as_ref().or(place);
        Rel::new(schema.map_or("public", String::as_str), &name.name)
    }

    /// What is known of a relation that only a statement speaks of.
    fn relation(&mut self, rel: &Rel) -> Option<&mut Relation> {
        if !self.relations.contains_key(rel) {
            if self.complete || rel.name == Name::UNKNOWN || rel.schema == Name::UNKNOWN {
                return None;
            }
            let spoken_of = Relation { columns_known: false, ..Relation::new(RelationKind::Table) };
            self.relations.insert(rel.clone(), spoken_of);
        }
        self.relations.get_mut(rel)
    }

    fn alter(&mut self, table: &Name, alter: &Alter) {
        let rel = self.rel(table);
        let Some(relation) = self.relation(&rel) else { return };
        match alter {
            Alter::AddColumn { column, .. } if relation.column(&column.name).is_none() => {
                relation.columns.push(column_of(column));
                for constraint in &column.constraints {
                    self.add_constraint(&rel, constraint);
                }
            }
            Alter::DropColumn { column, .. } => {
                relation.columns.retain(|one| one.name != *column);
                relation.constraints.retain(|held| !demand_columns(&held.demand).contains(column));
                self.indexes.retain(|_, index| index.table != rel || !index.columns.contains(column));
            }
            Alter::Type { column, ty, collation, .. } => {
                match relation.columns.iter_mut().find(|one| one.name == *column) {
                    Some(one) => {
                        one.ty = ty.clone();
                        one.collation.clone_from(collation);
                    }
                    None => {
                        let (ty, collation) = (ty.clone(), collation.clone());
                        relation.columns.push(Column { name: column.clone(), ty, collation, not_null: false });
                    }
                }
            }
            Alter::Rewrite("SET LOGGED") => relation.unlogged = Some(false),
            Alter::Rewrite("SET UNLOGGED") => relation.unlogged = Some(true),
            Alter::SetNotNull(column) | Alter::AddConstraint(NewConstraint { demand: Demand::NotNull(column), .. }) => {
                set_not_null(relation, column, true);
            }
            Alter::DropNotNull(column) => set_not_null(relation, column, false),
            Alter::AddConstraint(constraint) => {
                let constraint = constraint.clone();
                self.add_constraint(&rel, &constraint);
            }
            Alter::Validate(name) => {
                for held in relation.constraints.iter_mut().filter(|held| held.name == *name) {
                    held.valid = true;
                }
            }
            Alter::DropConstraint { name, .. } => {
                relation.constraints.retain(|held| held.name != *name);
                let index = Rel::new(&rel.schema, name);
                self.indexes.remove(&index);
            }
            Alter::Attach { child, default } => {
                let child = self.rel(child);
                if let Some(relation) = self.relations.get_mut(&rel) {
                    relation.children.push(child.clone());
                    if *default {
                        relation.default_partition = Some(child);
                    }
                }
            }
            Alter::Detach { child, .. } => {
                let child = self.rel(child);
                if let Some(relation) = self.relations.get_mut(&rel) {
                    relation.children.retain(|one| *one != child);
                }
            }
            Alter::Inherit(parent) => {
                let parent = self.rel(parent);
                if let Some(parent) = self.relations.get_mut(&parent) {
                    parent.children.push(rel.clone());
                }
            }
            _ => {}
        }
    }

    /// Adds a constraint, with the index and the NOT NULL that come with it.
    pub fn add_constraint(&mut self, rel: &Rel, constraint: &NewConstraint) {
        let columns = demand_columns(&constraint.demand);
        let ending = match constraint.demand {
            Demand::Check(_) => "check",
            Demand::Foreign { .. } => "fkey",
            Demand::Unique(_) => "key",
            Demand::Exclude(_) => "excl",
            Demand::Primary(_) | Demand::NotNull(_) => "pkey",
        };
        let name = match (&constraint.name, &constraint.demand) {
            (Some(name), _) => name.clone(),
            (None, Demand::Primary(_)) => format!("{}_pkey", rel.name),
            (None, Demand::Check(check)) if check.columns.len() != 1 => format!("{}_check", rel.name),
            (None, _) => made_up(&rel.name, &columns, ending),
        };
        if matches!(constraint.demand, Demand::Unique(_) | Demand::Primary(_) | Demand::Exclude(_)) {
            // A constraint that takes an index over gives it its own name.
            if let Some(old) = &constraint.using_index
                && let Some(index) = self.indexes.remove(&Rel::new(&rel.schema, old))
            {
                self.indexes.insert(Rel::new(&rel.schema, &name), index);
            } else {
                let index = Index { table: rel.clone(), columns: columns.clone(), computed_from: Vec::new() };
                self.indexes.insert(Rel::new(&rel.schema, &name), index);
            }
        }
        if let Some(relation) = self.relation(rel) {
            if let Demand::Primary(keys) = &constraint.demand {
                for key in keys {
                    set_not_null(relation, key, true);
                }
            }
            relation.constraints.push(Held { name, demand: constraint.demand.clone(), valid: !constraint.unchecked });
        }
    }

    fn forget(&mut self, thing: Thing, name: &Name) {
        match thing {
            Thing::Schema => {
                self.relations.retain(|rel, _| rel.schema != name.name);
                self.indexes.retain(|rel, _| rel.schema != name.name);
                self.types.retain(|rel, _| rel.schema != name.name);
                self.schemas.remove(&name.name);
            }
            Thing::Table | Thing::View | Thing::MaterializedView | Thing::Sequence => {
                let rel = self.rel(name);
                for child in self.relations.get(&rel).map(|gone| gone.children.clone()).unwrap_or_default() {
                    self.relations.remove(&child);
                }
                self.relations.remove(&rel);
                self.indexes.retain(|_, index| index.table != rel);
                for relation in self.relations.values_mut() {
                    relation.children.retain(|child| *child != rel);
                }
            }
            Thing::Type => {
                let rel = self.rel(name);
                self.types.remove(&rel);
            }
            Thing::Function => {
                self.functions.remove(&name.name);
            }
            Thing::Extension => {
                self.extensions.remove(&name.name);
            }
            _ => {}
        }
    }

    fn rename_schema(&mut self, from: &str, to: &str) {
        let new = |rel: &mut Rel| {
            if rel.schema == from {
                to.clone_into(&mut rel.schema);
            }
        };
        moved(&mut self.relations, new);
        moved(&mut self.indexes, new);
        moved(&mut self.types, new);
        for relation in self.relations.values_mut() {
            relation.children.iter_mut().chain(&mut relation.default_partition).for_each(new);
        }
        self.indexes.values_mut().for_each(|index| new(&mut index.table));
        for function in self.functions.values_mut().flatten().filter(|function| function.schema == from) {
            to.clone_into(&mut function.schema);
        }
        if self.schemas.remove(from) {
            self.schemas.insert(to.to_owned());
        }
    }

    fn rename(&mut self, thing: Thing, on: &Name, part: Option<&str>, to: &str, schema: bool) {
        let old = self.rel(on);
        let new = if schema { Rel::new(to, &old.name) } else { Rel::new(&old.schema, to) };
        match (thing, part) {
            (Thing::Column, Some(part)) => {
                if let Some(relation) = self.relations.get_mut(&old) {
                    for column in relation.columns.iter_mut().filter(|column| column.name == part) {
                        to.clone_into(&mut column.name);
                    }
                    for held in &mut relation.constraints {
                        rename_in(&mut held.demand, part, to);
                    }
                }
                for index in self.indexes.values_mut().filter(|index| index.table == old) {
                    for column in
                        index.columns.iter_mut().chain(&mut index.computed_from).filter(|column| *column == part)
                    {
                        to.clone_into(column);
                    }
                }
            }
            (Thing::Constraint, Some(part)) => {
                if let Some(relation) = self.relations.get_mut(&old) {
                    for held in relation.constraints.iter_mut().filter(|held| held.name == part) {
                        to.clone_into(&mut held.name);
                    }
                }
            }
            (Thing::Table | Thing::View | Thing::MaterializedView | Thing::Sequence | Thing::Index, _) => {
                if let Some(relation) = self.relations.remove(&old) {
                    self.relations.insert(new.clone(), relation);
                }
                if let Some(index) = self.indexes.remove(&old) {
                    self.indexes.insert(new.clone(), index);
                }
                for index in self.indexes.values_mut().filter(|index| index.table == old) {
                    index.table = new.clone();
                }
                for relation in self.relations.values_mut() {
                    for child in relation.children.iter_mut().filter(|child| **child == old) {
                        *child = new.clone();
                    }
                }
            }
            (Thing::Schema, Some(part)) => self.rename_schema(part, to),
            (Thing::Type, _) => {
                if let Some(ty) = self.types.remove(&old) {
                    self.types.insert(new, ty);
                }
            }
            _ => {}
        }
    }
}

/// A thing by its name, as it is called once a schema has another name.
fn moved<T>(all: &mut BTreeMap<Rel, T>, new: impl Fn(&mut Rel)) {
    *all = std::mem::take(all)
        .into_iter()
        .map(|(mut rel, one)| {
            new(&mut rel);
            (rel, one)
        })
        .collect();
}

fn column_of(column: &NewColumn) -> Column {
    Column {
        name: column.name.clone(),
        ty: column.ty.clone(),
        collation: column.collation.clone(),
        not_null: column.not_null || column.identity,
    }
}

fn set_not_null(relation: &mut Relation, name: &str, not_null: bool) {
    match relation.columns.iter_mut().find(|column| column.name == name) {
        Some(column) => column.not_null = not_null,
        None if !relation.columns_known => {
            // Its type is not known, so it is one that equals no other.
            let (name, ty) = (name.to_owned(), TypeName::default());
            relation.columns.push(Column { name, ty, collation: None, not_null });
        }
        None => {}
    }
}

/// The columns a demand is about.
#[must_use]
pub fn demand_columns(demand: &Demand) -> Vec<String> {
    match demand {
        Demand::Check(check) => check.columns.clone(),
        Demand::Foreign { columns, .. } => columns.clone(),
        Demand::Unique(columns) | Demand::Primary(columns) | Demand::Exclude(columns) => columns.clone(),
        Demand::NotNull(column) => vec![column.clone()],
    }
}

fn rename_in(demand: &mut Demand, from: &str, to: &str) {
    let swap = |columns: &mut Vec<String>| {
        for column in columns.iter_mut().filter(|column| *column == from) {
            to.clone_into(column);
        }
    };
    match demand {
        Demand::Check(check) => {
            swap(&mut check.columns);
            swap(&mut check.not_null);
        }
        Demand::Foreign { columns, .. } => swap(columns),
        Demand::Unique(columns) | Demand::Primary(columns) | Demand::Exclude(columns) => swap(columns),
        Demand::NotNull(column) => {
            if column == from {
                to.clone_into(column);
            }
        }
    }
}

/// The name PostgreSQL gives where none is written, unless it is taken or too long.
fn made_up(table: &str, columns: &[String], ending: &str) -> String {
    format!("{table}_{}_{ending}", columns.join("_"))
}

/// Whether a column that is added gives every row a value without looking at it: then NOT NULL needs no scan.
#[must_use]
pub fn fills(column: &NewColumn) -> bool {
    gives_value(column.default.as_ref()) || column.identity || column.stored || column.serial
}
