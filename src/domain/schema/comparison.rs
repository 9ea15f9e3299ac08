//! The report of two sides: what deploying one schema over the other would change, and whether to.

use super::catalog::{Catalog, Kind, ObjectKey};
use super::compat::{Breaking, Judged, judge};
use super::diff::{Change, ChangeKind, diff};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What to do about a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recommendation {
    /// Nothing breaks the running application.
    Safe,
    /// Something may; a person should look.
    Review,
    /// Something does.
    Unsafe,
}

impl Recommendation {
    /// The word for it in every format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Review => "review",
            Self::Unsafe => "unsafe",
        }
    }
}

/// The tables of both sides, counted. A table is its columns, constraints, indexes, triggers, policies and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Tables that are the same on both sides.
    pub tables_matching: usize,
    /// Tables on both sides that are not the same.
    pub tables_differing: usize,
    /// Tables that deploying would create, by name.
    pub tables_only_in_source: Vec<String>,
    /// Tables that deploying would drop, by name.
    pub tables_only_in_target: Vec<String>,
}

/// What deploying `source` over `target` would change: the target is before, the source is after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the user calls the source.
    pub source: String,
    /// What the user calls the target.
    pub target: String,
    /// The tables, counted.
    pub summary: Summary,
    /// Every difference with its judgement, by kind and name.
    pub changes: Vec<Judged>,
}

impl Comparison {
    /// Compares two catalogs under the names the user gave them.
    #[must_use]
    pub fn new(source_label: &str, source: &Catalog, target_label: &str, target: &Catalog) -> Self {
        let changes = diff(target, source);
        let summary = summarise(source, target, &changes);
        Self {
            source: source_label.to_owned(),
            target: target_label.to_owned(),
            summary,
            changes: judge(target, source, changes),
        }
    }

    /// Whether there is no difference at all.
    #[must_use]
    pub fn identical(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes that break the running application, or possibly do; the definite ones first.
    #[must_use]
    pub fn breaking(&self) -> Vec<&Judged> {
        let mut breaking: Vec<&Judged> = self.changes.iter().filter(|one| one.breaking > Breaking::No).collect();
        breaking.sort_by_key(|one| std::cmp::Reverse(one.breaking));
        breaking
    }

    /// What to do.
    #[must_use]
    pub fn recommendation(&self) -> Recommendation {
        match self.changes.iter().map(|one| one.breaking).max() {
            Some(Breaking::Yes) => Recommendation::Unsafe,
            Some(Breaking::Possibly) => Recommendation::Review,
            Some(Breaking::No) | None => Recommendation::Safe,
        }
    }
}

fn summarise(source: &Catalog, target: &Catalog, changes: &[Change]) -> Summary {
    let differing = tables_touched(changes);
    let only = |one: &Catalog, other: &Catalog| -> Vec<String> {
        one.tables().filter(|(key, _)| other.get(key).is_none()).map(|(key, _)| key.name.clone()).collect()
    };
    let both: Vec<&ObjectKey> = source.tables().map(|(key, _)| key).filter(|key| target.get(key).is_some()).collect();
    let tables_differing = both.iter().filter(|key| differing.contains(**key)).count();
    Summary {
        tables_matching: both.len() - tables_differing,
        tables_differing,
        tables_only_in_source: only(source, target),
        tables_only_in_target: only(target, source),
    }
}

/// The tables that a change is about, the table itself or anything that hangs on it.
fn tables_touched(changes: &[Change]) -> BTreeSet<&ObjectKey> {
    changes.iter().map(|change| &change.root).filter(|root| root.kind.is_table()).collect()
}

/// How many objects of each kind came, went and changed: `{"tables_modified": 2, "columns_added": 5}`.
///
/// Zeros are left out, and so is what merely follows another change: the columns of a new table are not counted. A table counts
/// as modified when anything that hangs on it changed.
#[must_use]
pub fn counts(changes: &[Change]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut count = |kind: Kind, change: ChangeKind, by: usize| {
        if by > 0 {
            *counts.entry(format!("{}_{}", kind.plural(), change.as_str())).or_default() += by as u64;
        }
    };
    for change in changes.iter().filter(|change| !change.nested) {
        if !(change.kind.is_table() && change.change == ChangeKind::Modified) {
            count(change.kind, change.change, 1);
        }
    }
    let came_or_went: BTreeSet<ObjectKey> = changes
        .iter()
        .filter(|change| change.kind.is_table() && change.change != ChangeKind::Modified)
        .map(Change::key)
        .collect();
    let modified = tables_touched(changes).into_iter().filter(|table| !came_or_went.contains(table));
    let (foreign, ordinary): (Vec<_>, Vec<_>) = modified.partition(|table| table.kind == Kind::ForeignTable);
    count(Kind::Table, ChangeKind::Modified, ordinary.len());
    count(Kind::ForeignTable, ChangeKind::Modified, foreign.len());
    counts
}

#[cfg(test)]
mod tests {
    use super::super::diff::tests::catalog;
    use super::*;
    use serde_json::json;

    fn target() -> Catalog {
        catalog(&[
            ("table:public.same", "", json!({})),
            ("table:public.changed", "", json!({})),
            ("column:public.changed.a", "table:public.changed", json!({"type": "text"})),
            ("table:public.gone", "", json!({})),
        ])
    }

    fn source() -> Catalog {
        catalog(&[
            ("table:public.same", "", json!({})),
            ("table:public.changed", "", json!({})),
            ("column:public.changed.a", "table:public.changed", json!({"type": "text"})),
            ("comment:column:public.changed.a", "column:public.changed.a", json!({"text": "x"})),
            ("index:public.i", "table:public.changed", json!({})),
            ("table:public.new", "", json!({})),
            ("column:public.new.a", "table:public.new", json!({"type": "text"})),
        ])
    }

    #[test]
    fn tables_are_counted_once_each_and_by_what_hangs_on_them() {
        let comparison = Comparison::new("local", &source(), "dev", &target());
        assert_eq!(
            comparison.summary,
            Summary {
                tables_matching: 1,
                tables_differing: 1,
                tables_only_in_source: vec!["public.new".to_owned()],
                tables_only_in_target: vec!["public.gone".to_owned()],
            }
        );
        assert_eq!(comparison.recommendation(), Recommendation::Unsafe);
        assert_eq!(comparison.breaking().len(), 1);
        assert!(!comparison.identical());
    }

    #[test]
    fn the_same_on_both_sides_is_identical_and_safe() {
        let comparison = Comparison::new("a", &source(), "b", &source());
        assert!(comparison.identical());
        assert_eq!(comparison.recommendation(), Recommendation::Safe);
        assert_eq!(comparison.summary.tables_matching, 3);
    }

    #[test]
    fn counts_leave_out_zeros_and_what_follows_another_change() {
        let expected = [
            ("comments_added", 1),
            ("indexes_added", 1),
            ("tables_added", 1),
            ("tables_modified", 1),
            ("tables_removed", 1),
        ];
        let expected = expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(counts(&diff(&target(), &source())), expected);
        assert!(counts(&[]).is_empty());
    }
}
