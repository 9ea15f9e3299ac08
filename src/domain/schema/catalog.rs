//! The catalog of one database as a value: every object by its kind and name, with what PostgreSQL says about it.

use compact_str::CompactString;
use litemap::LiteMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $plural:literal;)*) => {
        /// What an object is. The order is the order of reports: what others hang on comes first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The word for it in every machine format, for example `view_column`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }

            /// The word for several, for example `view_columns`.
            #[must_use]
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$name => $plural,)* }
            }
        }
    };
}

kinds! {
    /// A schema.
    Schema = "schema", "schemas";
    /// An extension; what belongs to it is not listed.
    Extension = "extension", "extensions";
    /// A table, partitioned table or partition.
    Table = "table", "tables";
    /// A table on a foreign server.
    ForeignTable = "foreign_table", "foreign_tables";
    /// A column of a table or foreign table.
    Column = "column", "columns";
    /// The default of a column.
    Default = "default", "defaults";
    /// A primary key, unique, foreign key, check or exclusion constraint of a table.
    Constraint = "constraint", "constraints";
    /// An index that no constraint owns.
    Index = "index", "indexes";
    /// A sequence, owned by a column or not.
    Sequence = "sequence", "sequences";
    /// The sequence behind an identity column.
    IdentitySequence = "identity_sequence", "identity_sequences";
    /// A view.
    View = "view", "views";
    /// A column of a view or materialized view.
    ViewColumn = "view_column", "view_columns";
    /// A materialized view.
    MaterializedView = "materialized_view", "materialized_views";
    /// A function or window function.
    Function = "function", "functions";
    /// A procedure.
    Procedure = "procedure", "procedures";
    /// An aggregate.
    Aggregate = "aggregate", "aggregates";
    /// A trigger of a table or view.
    Trigger = "trigger", "triggers";
    /// A rewrite rule that somebody wrote.
    Rule = "rule", "rules";
    /// A row security policy.
    Policy = "policy", "policies";
    /// An enum type.
    Enum = "enum", "enums";
    /// A domain.
    Domain = "domain", "domains";
    /// A check constraint of a domain.
    DomainConstraint = "domain_constraint", "domain_constraints";
    /// A composite type of its own (not a table's row type).
    CompositeType = "composite_type", "composite_types";
    /// A range type.
    RangeType = "range_type", "range_types";
    /// A base type.
    BaseType = "base_type", "base_types";
    /// A collation.
    Collation = "collation", "collations";
    /// Extended statistics.
    Statistics = "statistics", "statistics";
    /// A publication.
    Publication = "publication", "publications";
    /// An event trigger.
    EventTrigger = "event_trigger", "event_triggers";
    /// A cast.
    Cast = "cast", "casts";
    /// An operator.
    Operator = "operator", "operators";
    /// An operator class.
    OperatorClass = "operator_class", "operator_classes";
    /// A foreign server.
    ForeignServer = "foreign_server", "foreign_servers";
    /// A text search configuration.
    TextSearchConfiguration = "text_search_configuration", "text_search_configurations";
    /// A privilege somebody was granted beyond what an object of its kind starts with.
    Privilege = "privilege", "privileges";
    /// A privilege an object of its kind starts with, and that was taken away.
    PrivilegeRevoked = "privilege_revoked", "privileges_revoked";
    /// A privilege that objects made later will carry.
    DefaultPrivilege = "default_privilege", "default_privileges";
    /// A comment.
    Comment = "comment", "comments";
}

impl Kind {
    /// Finds a kind by its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Whether rows live in it and it is counted as a table in reports.
    #[must_use]
    pub const fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::ForeignTable)
    }

    /// The word for people: `view column`.
    #[must_use]
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("no such kind of object: {text}")))
    }
}

/// Which object: its kind, and its name as SQL would write it. Printed and serialised as `kind:name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// Its full name, each part quoted only where SQL needs it; functions carry their identity arguments.
    pub name: String,
}

impl ObjectKey {
    /// The key of the object of `kind` called `name`.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Reads `kind:name`; `None` if the kind is not one of [`Kind`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        Some(Self::new(Kind::parse(kind)?, name))
    }

    /// The last part of the name, quotes and all: `id` of `public.orders.id`.
    #[must_use]
    pub fn last_part(&self) -> &str {
        last_part(&self.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an object's key: {text}")))
    }
}

/// The parts of a qualified name before any argument list, quotes kept: `public."a.b".c` is `public`, `"a.b"`, `c`.
pub(crate) fn parts(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, character) in name.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                parts.push(&name[start..at]);
                start = at + 1;
            }
            '(' if !quoted => break,
            _ => {}
        }
    }
    parts.push(&name[start..]);
    parts
}

/// The last part of a qualified name, quotes kept.
pub(crate) fn last_part(name: &str) -> &str {
    parts(name).last().copied().unwrap_or(name)
}

/// What an object is like, by the attribute's name. Flat, as a large database has a hundred thousand objects of a handful of attributes each.
pub type Attributes = LiteMap<CompactString, Value>;

/// One object: what PostgreSQL says about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// The object it comes and goes with: a column's table, a default's column, a comment's object.
    ///
    /// Only for telling what is nested; it does not count in comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectKey>,
    /// Whether it is merely inherited from the same thing of a parent table or partitioned table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inherited: bool,
    /// The place of a column in its table, for making the table again as people know it. It does not count in comparisons.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub position: i32,
    /// What it is like. A missing attribute and one that is null are the same; the reader leaves nulls out.
    #[serde(default, skip_serializing_if = "LiteMap::is_empty")]
    pub attributes: Attributes,
}

/// Whether there is no position to say.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(position: &i32) -> bool {
    *position == 0
}

impl Object {
    /// One attribute; null if the object has none of that name.
    #[must_use]
    pub fn get(&self, attribute: &str) -> &Value {
        self.attributes.get(attribute).unwrap_or(&Value::Null)
    }

    /// One attribute that is a text; `None` if it is missing or something else.
    #[must_use]
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.get(attribute).as_str()
    }

    /// Whether an attribute is there and true.
    #[must_use]
    pub fn is(&self, attribute: &str) -> bool {
        self.get(attribute).as_bool() == Some(true)
    }
}

/// The catalog of one database at one moment: every object that belongs to the user.
///
/// Objects of the system, of extensions and of dbd itself are not in it, and neither are the positions of columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Catalog {
    /// Every object by its key.
    pub objects: BTreeMap<ObjectKey, Object>,
}

impl Catalog {
    /// The object with this key.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.get(key)
    }

    /// The object of `kind` called `name`.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.objects.get(&ObjectKey::new(kind, name))
    }

    /// Puts an object in, in place of one with the same key.
    pub fn insert(&mut self, key: ObjectKey, object: Object) {
        self.objects.insert(key, object);
    }

    /// Every object of one kind, by name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Object)> {
        self.objects.range(ObjectKey::new(kind, "")..).take_while(move |(key, _)| key.kind == kind)
    }

    /// Every table and foreign table, by name.
    pub fn tables(&self) -> impl Iterator<Item = (&ObjectKey, &Object)> {
        self.of_kind(Kind::Table).chain(self.of_kind(Kind::ForeignTable))
    }

    /// The objects that come and go with `parent`, directly.
    pub fn children<'a>(&'a self, parent: &'a ObjectKey) -> impl Iterator<Item = (&'a ObjectKey, &'a Object)> {
        self.objects.iter().filter(move |(_, object)| object.parent.as_ref() == Some(parent))
    }

    /// The objects that come and go with each parent, directly: [`Catalog::children`] of many at once.
    #[must_use]
    pub fn families(&self) -> BTreeMap<&ObjectKey, Vec<(&ObjectKey, &Object)>> {
        let mut families: BTreeMap<&ObjectKey, Vec<(&ObjectKey, &Object)>> = BTreeMap::new();
        for (key, object) in &self.objects {
            if let Some(parent) = &object.parent {
                families.entry(parent).or_default().push((key, object));
            }
        }
        families
    }

    /// The chain of parents of an object, nearest first. Ends at a parent that is not in the catalog.
    pub fn ancestors<'a>(&'a self, key: &'a ObjectKey) -> impl Iterator<Item = &'a ObjectKey> {
        // A chain is at most comment -> default -> column -> table long; the bound keeps a damaged catalog finite.
        std::iter::successors(self.get(key).and_then(|object| object.parent.as_ref()), |parent| {
            self.get(parent).and_then(|object| object.parent.as_ref())
        })
        .take(8)
    }

    /// The same catalog without owners and privileges: for comparing databases whose roles differ by intent.
    #[must_use]
    pub fn without_roles(&self) -> Self {
        let roles =
            |key: &ObjectKey| matches!(key.kind, Kind::Privilege | Kind::PrivilegeRevoked | Kind::DefaultPrivilege);
        let objects = self.objects.iter().filter(|(key, _)| !roles(key)).map(|(key, object)| {
            let mut object = object.clone();
            object.attributes.remove("owner");
            (key.clone(), object)
        });
        Self { objects: objects.collect() }
    }
}

impl Catalog {
    /// The same catalog without `tables` (as `schema.table`) and what hangs on them, nor a schema that held nothing else: the
    /// bookkeeping of tools.
    #[must_use]
    pub fn without_tables(&self, tables: &[&str]) -> Self {
        let table = |key: &ObjectKey| key.kind == Kind::Table && tables.contains(&key.name.as_str());
        let gone = |key: &ObjectKey, object: &Object| {
            table(key)
                || self.ancestors(key).any(table)
                || object
                    .text("owned_by")
                    .and_then(|column| column.rsplit_once('.'))
                    .is_some_and(|(owner, _)| tables.contains(&owner))
        };
        let mut kept: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        let mut emptied: BTreeSet<String> = BTreeSet::new();
        for (key, object) in &self.objects {
            if gone(key, object) {
                emptied.extend(parts(&key.name).first().map(|schema| (*schema).to_owned()));
            } else {
                kept.insert(key.clone(), object.clone());
            }
        }
        emptied.retain(|schema| {
            schema != "public" && !kept.keys().any(|key| parts(&key.name).len() > 1 && parts(&key.name)[0] == schema)
        });
        let in_emptied = |key: &ObjectKey| key.kind == Kind::Schema && emptied.contains(&key.name);
        let hangs = |object: &Object| object.parent.as_ref().is_some_and(in_emptied);
        kept.retain(|key, object| !in_emptied(key) && !hangs(object));
        Self { objects: kept }
    }

    /// The catalog without what `roles`, as SQL writes them, are granted: as it is once they are gone.
    #[must_use]
    pub fn without_grants_to(&self, roles: &BTreeSet<String>) -> Self {
        let granted = |key: &ObjectKey| {
            matches!(key.kind, Kind::Privilege | Kind::DefaultPrivilege)
                && key.name.rsplit(':').nth(1).is_some_and(|role| roles.contains(role))
        };
        Self {
            objects: self
                .objects
                .iter()
                .filter(|(key, _)| !granted(key))
                .map(|(k, o)| (k.clone(), o.clone()))
                .collect(),
        }
    }

    /// Every role the catalog speaks of, as SQL writes it: owners, and who is granted what.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<String> {
        let mut roles = BTreeSet::new();
        for (key, object) in &self.objects {
            roles.extend(object.text("owner").map(crate::domain::sql::quote_ident));
            let mut granted =
                |name: Option<&str>| roles.extend(name.filter(|name| *name != "PUBLIC").map(str::to_owned));
            match key.kind {
                Kind::Privilege | Kind::PrivilegeRevoked => granted(key.name.rsplit(':').nth(1)),
                Kind::DefaultPrivilege => {
                    granted(key.name.split(':').next());
                    granted(key.name.rsplit(':').nth(1));
                }
                Kind::Policy => {
                    for role in object.get("roles").as_array().into_iter().flatten() {
                        granted(role.as_str());
                    }
                }
                _ => {}
            }
        }
        roles
    }
}

impl FromIterator<(ObjectKey, Object)> for Catalog {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, Object)>>(objects: I) -> Self {
        Self { objects: objects.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_is_split_at_its_dots_but_not_within_quotes_or_arguments() {
        assert_eq!(parts(r#"public."a.b".c"#), ["public", r#""a.b""#, "c"]);
        assert_eq!(parts("public.f(a pg_catalog.int4)"), ["public", "f(a pg_catalog.int4)"]);
        assert_eq!(parts(r#"s."x""y.z""#), ["s", r#""x""y.z""#]);
    }

    #[test]
    fn every_kind_is_found_by_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(Kind::parse("tables"), None);
    }

    #[test]
    fn a_catalog_is_written_with_its_keys_as_text_and_read_back_the_same() {
        let mut catalog = Catalog::default();
        let key = ObjectKey::parse("comment:column:public.t.a").unwrap();
        assert_eq!((key.kind, key.name.as_str()), (Kind::Comment, "column:public.t.a"));
        let object = Object {
            parent: ObjectKey::parse("column:public.t.a"),
            inherited: false,
            position: 0,
            attributes: [("text".into(), json!("x"))].into_iter().collect(),
        };
        catalog.insert(key, object);
        let text = serde_json::to_string(&catalog).unwrap();
        assert_eq!(text, r#"{"comment:column:public.t.a":{"parent":"column:public.t.a","attributes":{"text":"x"}}}"#);
        assert_eq!(serde_json::from_str::<Catalog>(&text).unwrap(), catalog);
        assert!(serde_json::from_str::<Catalog>(r#"{"thing:x":{}}"#).is_err());
    }

    #[test]
    fn without_roles_leaves_owners_and_privileges_out_and_the_rest_in() {
        let catalog = Catalog::from_iter([
            (
                ObjectKey::new(Kind::Table, "public.t"),
                Object {
                    attributes: [("owner".into(), json!("a")), ("persistence".into(), json!("p"))]
                        .into_iter()
                        .collect(),
                    ..Object::default()
                },
            ),
            (ObjectKey::new(Kind::Privilege, "table:public.t:b:SELECT"), Object::default()),
        ]);
        let bare = catalog.without_roles();
        assert_eq!(bare.objects.len(), 1);
        assert_eq!(bare.find(Kind::Table, "public.t").unwrap().text("persistence"), Some("p"));
        assert_eq!(bare.find(Kind::Table, "public.t").unwrap().text("owner"), None);
    }
}
