//! What statements do, in the few words the hazards are judged by: [`read`](super::read) makes these of PostgreSQL's parse tree.

use crate::domain::sql::quote_ident;
use std::fmt;

/// A name as a statement writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The schema, if one is written.
    pub schema: Option<String>,
    /// The name, as the catalog spells it. [`Name::UNKNOWN`] where a statement is put together while it runs.
    pub name: String,
}

impl Name {
    /// What stands for a name that only the running statement knows.
    pub const UNKNOWN: &'static str = "?";

    /// A name without a schema.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self { schema: None, name: name.to_owned() }
    }

    /// A name in a schema.
    #[must_use]
    pub fn within(schema: &str, name: &str) -> Self {
        Self { schema: Some(schema.to_owned()), name: name.to_owned() }
    }

    /// The last part and, before it, the schema.
    #[must_use]
    pub fn of_parts(parts: &[String]) -> Self {
        match parts {
            [] => Self::default(),
            [name] => Self::bare(name),
            [.., schema, name] => Self::within(schema, name),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote_ident(schema))?;
        }
        if self.name == Self::UNKNOWN { f.write_str(&self.name) } else { f.write_str(&quote_ident(&self.name)) }
    }
}

/// A type as a statement writes it, `pg_catalog` left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeName {
    /// The schema, if one is written.
    pub schema: Option<String>,
    /// The catalog's name: `int4`, not `integer`.
    pub name: String,
    /// The numbers in parentheses.
    pub mods: Vec<i32>,
    /// Whether it is an array.
    pub array: bool,
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        let spoken = match self.name.as_str() {
            "int2" => "smallint",
            "int4" => "integer",
            "int8" => "bigint",
            "float4" => "real",
            "float8" => "double precision",
            "bool" => "boolean",
            "bpchar" => "character",
            other => other,
        };
        f.write_str(spoken)?;
        if !self.mods.is_empty() {
            let mods: Vec<String> = self.mods.iter().map(ToString::to_string).collect();
            write!(f, "({})", mods.join(","))?;
        }
        if self.array { f.write_str("[]") } else { Ok(()) }
    }
}

/// What an expression is, as far as hazards ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The constant NULL.
    Null,
    /// Another constant.
    Constant,
    /// A column by itself.
    Column(String),
    /// A cast of something.
    Cast(Box<Shape>, TypeName),
    /// Anything else.
    #[default]
    Other,
}

/// An expression: a default, a check, what USING says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expr {
    /// What it is.
    pub shape: Shape,
    /// The functions it calls.
    pub functions: Vec<Name>,
    /// The columns it names.
    pub columns: Vec<String>,
    /// The columns that are not null wherever it is not false.
    pub not_null: Vec<String>,
    /// The types it casts to.
    pub casts: Vec<TypeName>,
    /// The strings in it.
    pub strings: Vec<String>,
}

/// A column that is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// Its type; for `serial` the integer behind it.
    pub ty: TypeName,
    /// Its collation, without the schema; none is that of its type.
    pub collation: Option<String>,
    /// Whether it is NOT NULL, also by being a key, an identity or serial.
    pub not_null: bool,
    /// Its default.
    pub default: Option<Expr>,
    /// Whether it is `GENERATED ... AS IDENTITY`.
    pub identity: bool,
    /// Whether it is `GENERATED ALWAYS AS (...) STORED`.
    pub stored: bool,
    /// Whether it is `serial` and the like.
    pub serial: bool,
    /// The constraints written with it, apart from NOT NULL.
    pub constraints: Vec<NewConstraint>,
}

/// A constraint that is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConstraint {
    /// Its name, if one is written.
    pub name: Option<String>,
    /// What it demands.
    pub demand: Demand,
    /// Whether it is NOT VALID or NOT ENFORCED: nothing that is there is looked at.
    pub unchecked: bool,
    /// The index it takes over, `USING INDEX`.
    pub using_index: Option<String>,
}

/// What a constraint demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// `CHECK`.
    Check(Expr),
    /// `FOREIGN KEY`.
    Foreign {
        /// The columns here.
        columns: Vec<String>,
        /// The table there.
        to: Name,
        /// The columns there; none written means its primary key.
        to_columns: Vec<String>,
    },
    /// `UNIQUE`.
    Unique(Vec<String>),
    /// `PRIMARY KEY`.
    Primary(Vec<String>),
    /// `EXCLUDE`.
    Exclude(Vec<String>),
    /// `NOT NULL` as a table constraint (PostgreSQL 18).
    NotNull(String),
}

/// A table that is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTable {
    /// Its name.
    pub name: Name,
    /// Its columns.
    pub columns: Vec<NewColumn>,
    /// Its table constraints.
    pub constraints: Vec<NewConstraint>,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `TEMPORARY`.
    pub temporary: bool,
    /// `UNLOGGED`.
    pub unlogged: bool,
    /// Whether it is itself partitioned.
    pub partitioned: bool,
    /// The columns it is partitioned by; an expression gives none.
    pub partition_key: Vec<String>,
    /// `PARTITION OF`.
    pub partition_of: Option<Name>,
    /// `INHERITS`.
    pub inherits: Vec<Name>,
    /// Whether its columns come from elsewhere: `LIKE`, `OF`, `INHERITS`, a query.
    pub columns_elsewhere: bool,
}

/// What one part of an `ALTER TABLE` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alter {
    /// `ADD COLUMN`.
    AddColumn {
        /// The column.
        column: Box<NewColumn>,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `DROP COLUMN`.
    DropColumn {
        /// The column.
        column: String,
        /// `IF EXISTS`.
        if_exists: bool,
        /// `CASCADE`.
        cascade: bool,
    },
    /// `ALTER COLUMN ... TYPE`.
    Type {
        /// The column.
        column: String,
        /// The new type.
        ty: TypeName,
        /// `COLLATE`.
        collation: Option<String>,
        /// `USING`.
        using: Option<Expr>,
    },
    /// `SET NOT NULL`.
    SetNotNull(String),
    /// `DROP NOT NULL`.
    DropNotNull(String),
    /// `ADD GENERATED ... AS IDENTITY`.
    AddIdentity(String),
    /// `SET DEFAULT` or `DROP DEFAULT`.
    Default(String, Option<Expr>),
    /// `ADD CONSTRAINT`.
    AddConstraint(NewConstraint),
    /// `VALIDATE CONSTRAINT`.
    Validate(String),
    /// `DROP CONSTRAINT`.
    DropConstraint {
        /// The constraint.
        name: String,
        /// `CASCADE`.
        cascade: bool,
    },
    /// `SET LOGGED`, `SET UNLOGGED`, `SET ACCESS METHOD`, `SET TABLESPACE`, `SET EXPRESSION`: in words.
    Rewrite(&'static str),
    /// `ATTACH PARTITION`.
    Attach {
        /// The partition.
        child: Name,
        /// Whether it is the DEFAULT one.
        default: bool,
    },
    /// `DETACH PARTITION`.
    Detach {
        /// The partition.
        child: Name,
        /// `CONCURRENTLY`.
        concurrently: bool,
    },
    /// `ENABLE`, `DISABLE TRIGGER`.
    Trigger,
    /// `ENABLE`, `DISABLE`, `FORCE ROW LEVEL SECURITY`.
    RowSecurity,
    /// `REPLICA IDENTITY`.
    ReplicaIdentity,
    /// `INHERIT`.
    Inherit(Name),
    /// What takes a short lock, or none that matters.
    Other,
}

/// What kind of thing is dropped or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A table.
    Table,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A sequence.
    Sequence,
    /// A schema.
    Schema,
    /// A type or a domain.
    Type,
    /// A function or procedure.
    Function,
    /// A trigger, a rule.
    Trigger,
    /// A policy.
    Policy,
    /// An extension.
    Extension,
    /// A database.
    Database,
    /// A column, in a rename.
    Column,
    /// A constraint, in a rename.
    Constraint,
    /// An index, in a rename.
    Index,
    /// A value of an enum, in a rename.
    EnumValue,
    /// Anything else.
    Other,
}

impl Thing {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Sequence => "sequence",
            Self::Schema => "schema",
            Self::Type => "type",
            Self::Function => "function",
            Self::Trigger => "trigger",
            Self::Policy => "policy",
            Self::Extension => "extension",
            Self::Database => "database",
            Self::Column => "column",
            Self::Constraint => "constraint",
            Self::Index => "index",
            Self::EnumValue => "enum value",
            Self::Other => "object",
        }
    }
}

/// What a query does with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `SELECT`, `VALUES`, `PERFORM`, `CALL`.
    Select,
    /// `INSERT`, `COPY ... FROM`, `MERGE`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
}

/// What `REINDEX` works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReindexOf {
    /// One index.
    Index,
    /// A table.
    Table,
    /// A schema or the database.
    More,
}

/// A question a block asks the catalog before it does something: `IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'x')`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The catalog table or view.
    pub relation: String,
    /// The columns that are compared with a constant.
    pub equals: Vec<(String, String)>,
    /// Whether it must be there or must not.
    pub there: bool,
}

/// What a statement, or one part of it, does.
#[allow(
    clippy::large_enum_variant,
    reason = "acts live as long as their file is judged, and boxes would make every rule harder to read"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// `CREATE TABLE`, also by a query.
    CreateTable(Box<NewTable>),
    /// `CREATE MATERIALIZED VIEW`, `CREATE VIEW`, `CREATE FOREIGN TABLE`, `CREATE SEQUENCE`.
    CreateOther {
        /// What.
        thing: Thing,
        /// Its name.
        name: Name,
        /// `IF NOT EXISTS` or `OR REPLACE`.
        lenient: bool,
    },
    /// One part of `ALTER TABLE`.
    Alter {
        /// The table.
        table: Name,
        /// `IF EXISTS`.
        if_exists: bool,
        /// Whether it is a table at all, and not a view, an index, a type.
        of_table: bool,
        /// What is done to it.
        alter: Alter,
    },
    /// `CREATE INDEX`.
    CreateIndex {
        /// The table.
        table: Name,
        /// The index, if it is named.
        index: Option<String>,
        /// The columns by name; an expression gives none.
        columns: Vec<String>,
        /// The columns its expressions and its predicate name.
        computed_from: Vec<String>,
        /// How many parts its key has.
        parts: usize,
        /// `UNIQUE`.
        unique: bool,
        /// `CONCURRENTLY`.
        concurrently: bool,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// `ON ONLY`.
        only: bool,
    },
    /// `DROP INDEX`.
    DropIndex {
        /// The index.
        index: Name,
        /// `CONCURRENTLY`.
        concurrently: bool,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `REINDEX`.
    Reindex {
        /// What it works on.
        of: ReindexOf,
        /// Its name.
        name: Name,
        /// `CONCURRENTLY`.
        concurrently: bool,
    },
    /// `VACUUM FULL` or `CLUSTER`, of one table or of all.
    Repack {
        /// The command.
        words: &'static str,
        /// The table; none is all of them.
        table: Option<Name>,
    },
    /// `VACUUM` without `FULL`, `ANALYZE`.
    Vacuum,
    /// `REFRESH MATERIALIZED VIEW`.
    Refresh {
        /// The view.
        view: Name,
        /// `CONCURRENTLY`.
        concurrently: bool,
    },
    /// `CREATE TRIGGER`.
    CreateTrigger {
        /// The table.
        table: Name,
        /// The trigger.
        trigger: String,
    },
    /// `DROP TRIGGER`, `DROP POLICY`, `DROP RULE`.
    DropOnTable {
        /// What.
        thing: Thing,
        /// The table.
        table: Name,
        /// Its own name.
        name: String,
    },
    /// `CREATE POLICY`, `ALTER POLICY`.
    Policy {
        /// The table.
        table: Name,
    },
    /// `GRANT`, `REVOKE`.
    Privilege {
        /// Whether it is taken away.
        revoked: bool,
        /// The objects, in words.
        objects: Vec<Name>,
    },
    /// `CREATE`, `ALTER PUBLICATION`.
    Publication(String),
    /// `DROP` of anything but an index.
    Drop {
        /// What.
        thing: Thing,
        /// Its name.
        name: Name,
        /// `IF EXISTS`.
        if_exists: bool,
        /// `CASCADE`.
        cascade: bool,
    },
    /// `TRUNCATE`.
    Truncate {
        /// The table.
        table: Name,
        /// `CASCADE`.
        cascade: bool,
    },
    /// A rename, or `SET SCHEMA`.
    Rename {
        /// What.
        thing: Thing,
        /// The relation, or the thing itself.
        on: Name,
        /// The old name, of what lies within a relation.
        part: Option<String>,
        /// The new name.
        to: String,
        /// Whether `to` is a schema.
        schema: bool,
    },
    /// `ALTER TYPE ... ADD VALUE`.
    EnumValue {
        /// The type.
        ty: Name,
        /// The value.
        value: String,
        /// Whether its place is said, `BEFORE` or `AFTER`.
        placed: bool,
    },
    /// `CREATE TYPE ... AS ENUM` and other types.
    CreateType {
        /// The type.
        name: Name,
        /// Whether it is an enum.
        is_enum: bool,
    },
    /// `CREATE DOMAIN`.
    CreateDomain {
        /// The domain.
        name: Name,
        /// The type below it.
        base: TypeName,
        /// Whether it has a constraint.
        constrained: bool,
        /// Its default.
        default: Option<Expr>,
    },
    /// `ALTER DOMAIN ... ADD CONSTRAINT` or `SET NOT NULL`, checked at once.
    ConstrainDomain {
        /// The domain.
        name: Name,
        /// Whether what is there is looked at.
        checked: bool,
    },
    /// `CREATE FUNCTION`, `CREATE PROCEDURE`.
    CreateFunction {
        /// The function.
        name: Name,
        /// Whether it is VOLATILE.
        volatile: bool,
        /// Its language.
        language: String,
        /// Its text.
        body: Option<String>,
    },
    /// `ALTER FUNCTION ... VOLATILE`, `STABLE` or `IMMUTABLE`.
    Volatility {
        /// The function.
        name: Name,
        /// Whether it is VOLATILE now.
        volatile: bool,
    },
    /// `CREATE EXTENSION`.
    CreateExtension(String),
    /// `ALTER EXTENSION ... UPDATE`.
    UpdateExtension(String),
    /// `CREATE SCHEMA`.
    CreateSchema(String),
    /// A query.
    Query {
        /// What it does with rows.
        verb: Verb,
        /// The table it changes.
        table: Option<Name>,
        /// The tables it reads.
        reads: Vec<Name>,
        /// Whether it has a WHERE.
        filtered: bool,
        /// The functions it calls.
        functions: Vec<Name>,
        /// The strings in it.
        strings: Vec<String>,
        /// Whether rows come from a query rather than from VALUES.
        from_query: bool,
    },
    /// `LOCK TABLE` in a mode that keeps readers waiting.
    LockExclusive(Name),
    /// `SET name = value`.
    Set {
        /// The setting.
        name: String,
        /// The values.
        values: Vec<String>,
    },
    /// `BEGIN`.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `PREPARE TRANSACTION` and what else steers a transaction.
    Control,
    /// What a block or a function does.
    Nested {
        /// The question asked before.
        guard: Option<Guard>,
        /// The deeds.
        acts: Vec<Act>,
    },
    /// A statement that is put together while it runs, of which too little is known.
    Dynamic,
    /// Nothing that matters here.
    Other,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The line it starts on, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Where it is in the text, in bytes.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
    /// What it does, part by part.
    pub acts: Vec<Act>,
    /// Whether its tree could not be read.
    pub opaque: bool,
}
