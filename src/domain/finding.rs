//! Findings: one thing noticed about a migration or a schema, with its code and whether it was allowed.
//!
//! Each code has a page under `docs/findings/`, which is what `dbd explain` shows.

use super::hazard::waive::Waived;
use serde::{Deserialize, Serialize};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// May break something; does not stop the run.
    Warning,
    /// Refuses the run unless it is allowed.
    Error,
}

/// One thing noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing, like `table_removed`; `--allow` takes it.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// The object, as comparisons name it.
    pub object: String,
    /// What was noticed, in a sentence.
    pub message: String,
    /// Whether it was let pass, by `--allow` or by a waiver.
    pub allowed: bool,
    /// The waiver in the file or in the configuration that lets it pass, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
}

/// What `--allow` lets pass, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The codes; `all` stands for every one.
    pub codes: Vec<String>,
    /// The reason given.
    pub reason: Option<String>,
}

impl Allowance {
    /// Whether `finding` passes.
    #[must_use]
    pub fn allows(&self, finding: &Finding) -> bool {
        self.codes.iter().any(|code| code == "all" || code.replace('-', "_") == finding.code)
    }
}

macro_rules! pages {
    ($($code:ident,)*) => {
        /// Every code with its page, in alphabetical order.
        const PAGES: &[(&str, &str)] =
            &[$((stringify!($code), include_str!(concat!("../../docs/findings/", stringify!($code), ".md"))),)*];
    };
}

pages! {
    aggregate_removed,
    aggregate_result_changed,
    base_type_changed,
    base_type_removed,
    blocked_reads_over_budget,
    blocked_writes_over_budget,
    cast_added,
    cast_changed,
    cast_removed,
    check_added,
    check_removed,
    collation_changed,
    collation_removed,
    column_added_not_null_without_default,
    column_collation_changed,
    column_generated_changed,
    column_identity_changed,
    column_removed,
    column_set_not_null,
    column_type_changed,
    column_type_widened,
    column_values_changed,
    composite_type_changed,
    composite_type_removed,
    constraint_changed,
    default_removed_on_not_null_column,
    domain_constraint_added,
    domain_constraint_changed,
    domain_constraint_removed,
    domain_removed,
    domain_set_not_null,
    domain_type_changed,
    domain_type_widened,
    down_does_not_work,
    duration_over_budget,
    enum_removed,
    enum_value_removed,
    enum_values_reordered,
    event_trigger_added,
    event_trigger_changed,
    event_trigger_removed,
    exclusion_added,
    exclusion_removed,
    extension_changed,
    extension_removed,
    foreign_key_added,
    foreign_key_removed,
    foreign_server_changed,
    foreign_server_removed,
    foreign_table_changed,
    foreign_table_removed,
    function_removed,
    function_result_changed,
    materialized_view_options_changed,
    materialized_view_removed,
    not_reversible,
    operator_added,
    operator_changed,
    operator_class_changed,
    operator_class_removed,
    operator_removed,
    partitioning_changed,
    persistence_changed,
    personal_column_unmasked,
    policy_added,
    policy_changed,
    policy_removed,
    primary_key_added,
    primary_key_removed,
    privilege_revoked,
    procedure_removed,
    procedure_result_changed,
    publication_changed,
    publication_removed,
    range_type_changed,
    range_type_removed,
    replica_identity_changed,
    row_security_changed,
    rows_removed,
    rule_added,
    rule_changed,
    rule_removed,
    schema_removed,
    sequence_changed,
    sequence_removed,
    table_removed,
    text_search_configuration_changed,
    text_search_configuration_removed,
    trigger_added,
    trigger_changed,
    trigger_removed,
    unique_added,
    unique_index_added,
    unique_index_changed,
    unique_index_removed,
    unique_removed,
    view_column_removed,
    view_column_type_changed,
    view_column_type_widened,
    view_options_changed,
    view_removed,
}

/// Every code that a run or a comparison can come with, in alphabetical order.
pub fn codes() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(code, _)| *code)
}

/// The page of a code; `-` may stand for `_`, and case does not matter.
#[must_use]
pub fn page(code: &str) -> Option<&'static str> {
    let code = code.to_ascii_lowercase().replace('-', "_");
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, page)| *page)
}

/// What a page is about, in a few words: the rest of its first line.
#[must_use]
pub fn title(page: &'static str) -> &'static str {
    page.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, title)| title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_says_what_it_means_what_breaks_and_the_safe_way() {
        for (code, page) in PAGES {
            assert!(page.starts_with(&format!("# {code}: {}\n", title(page))) && !title(page).is_empty(), "{code}");
            for heading in ["## What breaks\n", "## The safe way\n", "## Example\n"] {
                let parts: Vec<&str> = page.split(heading).collect();
                assert_eq!(parts.len(), 2, "{code}: {heading}");
                assert!(parts[1].trim_start().len() > 20, "{code}: {heading} says nothing");
            }
            assert!(page.ends_with("```\n"), "{code}");
            assert!(page.lines().all(|line| line.chars().count() <= 120), "{code} has a line over 120 characters");
        }
    }

    #[test]
    fn every_example_is_sql_that_postgresql_parses() {
        for (code, page) in PAGES {
            let (_, rest) = page.split_once("```sql\n").unwrap_or_else(|| panic!("{code} has no example"));
            let sql = rest.trim_end().trim_end_matches("```");
            if let Err(error) = pg_query::parse(sql, pg_query::ParserOptions::default()) {
                panic!("{code}: {error}");
            }
        }
    }

    #[test]
    fn a_page_names_only_codes_that_exist() {
        for (code, page) in PAGES {
            for named in page
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|text| text.ends_with("_changed") || text.ends_with("_not_null"))
            {
                assert!(super::page(named).is_some(), "{code} names `{named}`");
            }
        }
    }

    #[test]
    fn the_pages_are_in_order_and_found_however_the_code_is_written() {
        assert!(PAGES.is_sorted_by_key(|(code, _)| *code));
        assert_eq!(page("table_removed"), page("Table-Removed"));
        assert!(page("table_removed").is_some() && page("table").is_none());
    }
}
