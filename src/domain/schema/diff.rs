//! What differs between two catalogs.

use super::catalog::{Catalog, Kind, Object, ObjectKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What happened to an object on the way from one catalog to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is only in the later catalog.
    Added,
    /// It is only in the earlier catalog.
    Removed,
    /// It is in both, and not the same.
    Modified,
}

impl ChangeKind {
    /// The word for it in every format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Modified => "modified",
        }
    }
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What the object is.
    pub kind: Kind,
    /// What happened to it.
    pub change: ChangeKind,
    /// Its name, as in [`ObjectKey::name`].
    pub object: String,
    /// Whether it merely follows another change: its parent came or went with it, or it is inherited.
    pub nested: bool,
    /// The outermost object it belongs to: the table of a column, of its default and of its comment; itself if it stands alone.
    pub root: ObjectKey,
    /// Its attributes before, as a JSON object; `None` if it was added.
    pub before: Option<Value>,
    /// Its attributes after, as a JSON object; `None` if it was removed.
    pub after: Option<Value>,
    /// For a modified object, each attribute that differs: `[before, after]`, null for one that is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, [Value; 2]>,
}

impl Change {
    /// The object's key.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind, self.object.clone())
    }

    /// Whether this attribute is among those that differ.
    #[must_use]
    pub fn touches(&self, attribute: &str) -> bool {
        self.attributes.contains_key(attribute)
    }

    /// An attribute's values before and after, for a modified object.
    #[must_use]
    pub fn values(&self, attribute: &str) -> Option<(&Value, &Value)> {
        self.attributes.get(attribute).map(|[before, after]| (before, after))
    }
}

/// What has to happen to `before` to make it `after`, ordered by kind and name.
///
/// Nothing is left out and nothing invented: the result is empty exactly when the [`fingerprint`](super::fingerprint())s are
/// equal. Parents do not count, so a view replaced by a materialized view of the same columns is two changes, not two and
/// one for each column.
#[must_use]
pub fn diff(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let pairs = side_by_side(before, after);
    let gone = |(key, old, new): &(_, Option<_>, Option<_>)| (old.is_some() && new.is_none()).then_some(*key);
    let come = |(key, old, new): &(_, Option<_>, Option<_>)| (old.is_none() && new.is_some()).then_some(*key);
    let removed: BTreeSet<&ObjectKey> = pairs.iter().filter_map(gone).collect();
    let added: BTreeSet<&ObjectKey> = pairs.iter().filter_map(come).collect();
    let follows = |catalog: &Catalog, key: &ObjectKey, gone: &BTreeSet<&ObjectKey>| {
        catalog.ancestors(key).any(|ancestor| gone.contains(ancestor))
    };

    let mut changes = Vec::new();
    for (key, old, new) in pairs {
        let change = match (old, new) {
            (Some(old), None) => {
                let nested = old.inherited || follows(before, key, &removed);
                one(key, ChangeKind::Removed, nested, root(before, key), Some(old), None)
            }
            (None, Some(new)) => {
                let nested = new.inherited || follows(after, key, &added);
                one(key, ChangeKind::Added, nested, root(after, key), None, Some(new))
            }
            (Some(old), Some(new)) => {
                let attributes = differing(old, new);
                if attributes.is_empty() {
                    continue;
                }
                let nested = old.inherited || new.inherited;
                let change = one(key, ChangeKind::Modified, nested, root(after, key), Some(old), Some(new));
                Change { attributes, ..change }
            }
            // A key comes from one of the two.
            (None, None) => continue,
        };
        changes.push(change);
    }
    changes
}

/// An object as it is on either side.
type Pair<'a> = (&'a ObjectKey, Option<&'a Object>, Option<&'a Object>);

/// Every object that is not the same on both sides, in order: of two catalogs of many objects, few are told apart.
fn side_by_side<'a>(before: &'a Catalog, after: &'a Catalog) -> Vec<Pair<'a>> {
    let (mut olds, mut news) = (before.objects.iter().peekable(), after.objects.iter().peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        let same = matches!((old, new), (Some((_, old)), Some((_, new)))
            if old.inherited == new.inherited && old.attributes == new.attributes);
        if let (false, Some((key, _))) = (same, old.or(new)) {
            pairs.push((key, old.map(|(_, object)| object), new.map(|(_, object)| object)));
        }
    }
}

fn one(
    key: &ObjectKey,
    change: ChangeKind,
    nested: bool,
    root: ObjectKey,
    old: Option<&Object>,
    new: Option<&Object>,
) -> Change {
    Change {
        kind: key.kind,
        change,
        object: key.name.clone(),
        nested,
        root,
        before: old.map(as_value),
        after: new.map(as_value),
        attributes: BTreeMap::new(),
    }
}

fn root(catalog: &Catalog, key: &ObjectKey) -> ObjectKey {
    catalog.ancestors(key).last().unwrap_or(key).clone()
}

fn as_value(object: &Object) -> Value {
    let mut map: Map<String, Value> =
        object.attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    if object.inherited {
        map.insert("inherited".to_owned(), Value::Bool(true));
    }
    Value::Object(map)
}

/// The attributes in which two objects differ; being inherited counts as one.
fn differing(old: &Object, new: &Object) -> BTreeMap<String, [Value; 2]> {
    let names: BTreeSet<_> = old.attributes.keys().chain(new.attributes.keys()).collect();
    let mut differing: BTreeMap<String, [Value; 2]> = names
        .into_iter()
        .filter(|name| old.get(name) != new.get(name))
        .map(|name| (name.to_string(), [old.get(name).clone(), new.get(name).clone()]))
        .collect();
    if old.inherited != new.inherited {
        let value = |inherited: bool| if inherited { Value::Bool(true) } else { Value::Null };
        differing.insert("inherited".to_owned(), [value(old.inherited), value(new.inherited)]);
    }
    differing
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::fingerprint::fingerprint;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// A catalog from lines of `kind:name`, each with its parent's key (empty for none) and attributes.
    pub(crate) fn catalog(objects: &[(&str, &str, Value)]) -> Catalog {
        objects
            .iter()
            .map(|(key, parent, attributes)| {
                let attributes = attributes
                    .as_object()
                    .unwrap()
                    .clone()
                    .into_iter()
                    .map(|(name, value)| (name.into(), value))
                    .collect();
                let object = Object { parent: ObjectKey::parse(parent), attributes, ..Object::default() };
                (ObjectKey::parse(key).unwrap(), object)
            })
            .collect()
    }

    fn lines(changes: &[Change]) -> Vec<String> {
        let line = |change: &Change| {
            let nested = if change.nested { " nested" } else { "" };
            format!("{} {}{nested}", change.change.as_str(), change.key())
        };
        changes.iter().map(line).collect()
    }

    #[test]
    fn what_hangs_on_an_added_table_is_nested_and_what_joins_an_old_one_is_not() {
        let before = catalog(&[("table:public.a", "", json!({}))]);
        let after = catalog(&[
            ("table:public.a", "", json!({})),
            ("column:public.a.x", "table:public.a", json!({"type": "text"})),
            ("default:public.a.x", "column:public.a.x", json!({"expr": "1"})),
            ("table:public.b", "", json!({})),
            ("column:public.b.y", "table:public.b", json!({"type": "text"})),
            ("comment:column:public.b.y", "column:public.b.y", json!({"text": "why"})),
            ("sequence:public.b_y_seq", "", json!({})),
        ]);
        let changes = diff(&before, &after);
        assert_eq!(
            lines(&changes),
            [
                "added table:public.b",
                "added column:public.a.x",
                "added column:public.b.y nested",
                "added default:public.a.x nested",
                "added sequence:public.b_y_seq",
                "added comment:column:public.b.y nested",
            ]
        );
        assert_eq!(changes[5].root, ObjectKey::new(Kind::Table, "public.b"));
        assert_eq!(
            lines(&diff(&after, &before)),
            lines(&changes).iter().map(|line| line.replace("added", "removed")).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_modified_object_lists_what_differs_with_null_for_what_is_missing() {
        let before = catalog(&[("column:public.a.x", "", json!({"type": "integer", "not_null": false}))]);
        let after =
            catalog(&[("column:public.a.x", "", json!({"type": "bigint", "not_null": false, "generated": "1"}))]);
        let changes = diff(&before, &after);
        assert_eq!(changes.len(), 1);
        assert_eq!(
            serde_json::to_value(&changes[0].attributes).unwrap(),
            json!({"generated": [null, "1"], "type": ["integer", "bigint"]})
        );
    }

    #[test]
    fn becoming_inherited_is_a_nested_modification() {
        let before = catalog(&[("column:public.a.x", "", json!({"type": "integer"}))]);
        let mut after = before.clone();
        after.objects.values_mut().for_each(|object| object.inherited = true);
        let changes = diff(&before, &after);
        assert_eq!(lines(&changes), ["modified column:public.a.x nested"]);
        assert_eq!(serde_json::to_value(&changes[0].attributes).unwrap(), json!({"inherited": [null, true]}));
    }

    #[test]
    fn a_parent_that_changed_its_kind_does_not_change_its_columns() {
        let before = catalog(&[("view:s.v", "", json!({})), ("view_column:s.v.a", "view:s.v", json!({}))]);
        let after = catalog(&[
            ("materialized_view:s.v", "", json!({})),
            ("view_column:s.v.a", "materialized_view:s.v", json!({})),
        ]);
        assert_eq!(lines(&diff(&before, &after)), ["removed view:s.v", "added materialized_view:s.v"]);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z:,\"]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
    }

    /// Small alphabets on purpose: two catalogs then often share keys, and often are equal.
    fn any_catalog() -> impl Strategy<Value = Catalog> {
        let kind = prop::sample::select(vec![Kind::Table, Kind::Column, Kind::Default, Kind::Comment]);
        let key = (kind, "[ab]{1,2}").prop_map(|(kind, name)| ObjectKey::new(kind, name));
        let object =
            (prop::option::of(key.clone()), any::<bool>(), prop::collection::btree_map("[xy]", any_value(), 0..3))
                .prop_map(|(parent, inherited, attributes)| Object {
                    parent,
                    inherited,
                    attributes: attributes.into_iter().map(|(name, value)| (name.into(), value)).collect(),
                    ..Object::default()
                });
        prop::collection::btree_map(key, object, 0..5).prop_map(|objects| Catalog { objects })
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(catalog in any_catalog()) {
            prop_assert_eq!(diff(&catalog, &catalog), vec![]);
        }

        #[test]
        fn the_diff_is_empty_exactly_when_the_fingerprints_are_equal(a in any_catalog(), b in any_catalog()) {
            prop_assert_eq!(diff(&a, &b).is_empty(), fingerprint(&a) == fingerprint(&b));
        }

        #[test]
        fn one_changed_attribute_is_one_change_and_another_fingerprint(catalog in any_catalog(), value in any_value()) {
            for key in catalog.objects.keys() {
                let mut other = catalog.clone();
                let object = other.objects.get_mut(key).expect("the key is from the same catalog");
                if object.attributes.insert("x".into(), value.clone()).as_ref() == Some(&value) {
                    continue;
                }
                prop_assert_eq!(diff(&catalog, &other).len(), 1);
                prop_assert_ne!(fingerprint(&catalog), fingerprint(&other));
            }
        }

        #[test]
        fn the_way_back_is_the_way_there_mirrored(a in any_catalog(), b in any_catalog()) {
            let (there, back) = (diff(&a, &b), diff(&b, &a));
            prop_assert_eq!(there.len(), back.len());
            for (there, back) in there.iter().zip(&back) {
                prop_assert_eq!(there.key(), back.key());
                prop_assert_eq!(&there.before, &back.after);
                prop_assert_eq!(there.nested, back.nested);
            }
        }
    }
}
