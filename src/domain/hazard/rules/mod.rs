//! The hazards, one file each: what is known of it, and how it is told from an act.

pub mod access_changed;
pub mod cascade_takes_more;
pub mod check_added_valid;
pub mod column_dropped;
pub mod column_type_rewritten;
pub mod concurrently_in_transaction;
pub mod constrained_domain_column_added;
pub mod constraint_dropped;
pub mod database_dropped;
pub mod delete_without_where;
pub mod domain_constrained;
pub mod dynamic_sql;
pub mod enum_value_unordered;
pub mod enum_value_used_at_once;
pub mod exclusion_constraint_added;
pub mod extension_missing;
pub mod extension_updated;
pub mod fk_validation_blocks_writes;
pub mod foreign_key_added_valid;
pub mod foreign_key_to_live_table;
pub mod foreign_key_without_index;
pub mod function_still_names_it;
pub mod generated_column_added;
pub mod index_build_blocks_writes;
pub mod index_dropped_not_concurrently;
pub mod index_not_concurrent;
pub mod lock_timeout_switched_off;
pub mod materialized_view_refreshed;
pub mod not_null_dropped;
pub mod not_null_set;
pub mod object_renamed;
pub mod partition_attached_without_check;
pub mod partition_created_in_place;
pub mod partition_detached;
pub mod primary_key_added_directly;
pub mod primary_key_over_nullable_columns;
pub mod reindex_not_concurrent;
pub mod replication_changed;
pub mod required_column_added;
pub mod rewrite;
pub mod scan_under_access_exclusive;
pub mod schema_dropped;
pub mod serial_column_added;
pub mod statement_fails;
pub mod statement_while_holding_access_exclusive;
pub mod style_char;
pub mod style_enum;
pub mod style_integer_key;
pub mod style_json;
pub mod style_serial;
pub mod style_timestamp;
pub mod style_varchar;
pub mod style_wide_index;
pub mod syntax_error;
pub mod table_dropped;
pub mod table_repacked;
pub mod table_rewritten;
pub mod table_truncated;
pub mod table_worked_through_twice;
pub mod transaction_control;
pub mod trigger_on_live_table;
pub mod type_change_rechecks;
pub mod unique_added_directly;
pub mod unreadable_file;
pub mod update_without_where;
pub mod validated_in_same_transaction;
pub mod volatile_default_added;
pub mod waiver_without_reason;
pub mod wide_lock_window;

use super::Hazard;

/// Every hazard, those about locks first.
pub static ALL: &[&Hazard] = &[
    &index_not_concurrent::HAZARD,
    &index_dropped_not_concurrently::HAZARD,
    &reindex_not_concurrent::HAZARD,
    &concurrently_in_transaction::HAZARD,
    &check_added_valid::HAZARD,
    &foreign_key_added_valid::HAZARD,
    &foreign_key_to_live_table::HAZARD,
    &validated_in_same_transaction::HAZARD,
    &unique_added_directly::HAZARD,
    &primary_key_added_directly::HAZARD,
    &primary_key_over_nullable_columns::HAZARD,
    &exclusion_constraint_added::HAZARD,
    &not_null_set::HAZARD,
    &column_type_rewritten::HAZARD,
    &type_change_rechecks::HAZARD,
    &volatile_default_added::HAZARD,
    &serial_column_added::HAZARD,
    &generated_column_added::HAZARD,
    &constrained_domain_column_added::HAZARD,
    &required_column_added::HAZARD,
    &table_rewritten::HAZARD,
    &table_repacked::HAZARD,
    &materialized_view_refreshed::HAZARD,
    &statement_while_holding_access_exclusive::HAZARD,
    &wide_lock_window::HAZARD,
    &table_worked_through_twice::HAZARD,
    &lock_timeout_switched_off::HAZARD,
    &partition_attached_without_check::HAZARD,
    &partition_detached::HAZARD,
    &partition_created_in_place::HAZARD,
    &trigger_on_live_table::HAZARD,
    &foreign_key_without_index::HAZARD,
    &access_changed::HAZARD,
    &replication_changed::HAZARD,
    &table_dropped::HAZARD,
    &schema_dropped::HAZARD,
    &database_dropped::HAZARD,
    &column_dropped::HAZARD,
    &table_truncated::HAZARD,
    &cascade_takes_more::HAZARD,
    &object_renamed::HAZARD,
    &not_null_dropped::HAZARD,
    &constraint_dropped::HAZARD,
    &update_without_where::HAZARD,
    &delete_without_where::HAZARD,
    &enum_value_used_at_once::HAZARD,
    &enum_value_unordered::HAZARD,
    &domain_constrained::HAZARD,
    &function_still_names_it::HAZARD,
    &extension_missing::HAZARD,
    &extension_updated::HAZARD,
    &dynamic_sql::HAZARD,
    &transaction_control::HAZARD,
    &syntax_error::HAZARD,
    &unreadable_file::HAZARD,
    &waiver_without_reason::HAZARD,
    &rewrite::HAZARD,
    &scan_under_access_exclusive::HAZARD,
    &index_build_blocks_writes::HAZARD,
    &fk_validation_blocks_writes::HAZARD,
    &statement_fails::HAZARD,
    &style_integer_key::HAZARD,
    &style_serial::HAZARD,
    &style_varchar::HAZARD,
    &style_char::HAZARD,
    &style_timestamp::HAZARD,
    &style_json::HAZARD,
    &style_enum::HAZARD,
    &style_wide_index::HAZARD,
];
