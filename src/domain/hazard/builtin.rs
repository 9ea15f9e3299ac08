//! The functions that give the same value throughout a statement, of PostgreSQL itself and of well-known extensions.
//!
//! Where a catalog is in view it is asked instead. Without one, a function that is not here counts as volatile: what people write
//! themselves is, unless they say otherwise, and the usual makers of keys are.

/// `STABLE` or `IMMUTABLE` in every form, in alphabetical order; from `pg_proc` of PostgreSQL 15, without what only operators,
/// indexes and types call.
const STEADY: &[&str] = &[
    "abbrev", "abs", "acldefault", "aclexplode", "acos", "acosd", "acosh", "age", "area", "array_append", "array_cat",
    "array_dims", "array_fill", "array_length", "array_lower", "array_ndims", "array_position", "array_positions",
    "array_prepend", "array_remove", "array_replace", "array_to_json", "array_to_string", "array_to_tsvector",
    "array_upper", "ascii", "asin", "asind", "asinh", "atan", "atan2", "atan2d", "atand", "atanh", "bit_length",
    "bool", "booland_statefunc", "boolor_statefunc", "box", "bpchar", "broadcast", "btrim", "cardinality", "cbrt",
    "ceil", "ceiling", "center", "char", "char_length", "character_length", "chr", "cidr", "circle", "coalesce",
    "col_description", "concat", "concat_ws", "convert", "convert_from", "convert_to", "cos", "cosd", "cosh", "cot",
    "cotd", "crypt", "current_database", "current_schema", "current_schemas", "current_setting", "current_user",
    "database_to_xml", "database_to_xml_and_xmlschema", "database_to_xmlschema", "date", "date_bin", "date_part",
    "date_trunc", "datemultirange", "daterange", "daterange_canonical", "daterange_subdiff", "decode", "degrees",
    "dexp", "diagonal", "diameter", "digest", "div", "dlog1", "dlog10", "dround", "dtrunc", "encode", "enum_first",
    "enum_larger", "enum_last", "enum_range", "enum_smaller", "exp", "extract", "factorial", "family", "float4",
    "float8", "floor", "format", "format_type", "gcd", "generate_series", "generate_subscripts", "get_bit",
    "get_byte", "get_current_ts_config", "getdatabaseencoding", "getpgusername", "greatest", "height", "hmac", "host",
    "hostmask", "inet", "inet_client_addr", "inet_server_addr", "initcap", "int2", "int4", "int4mul", "int4range",
    "int8", "int8range", "interval", "is_normalized", "isclosed", "isempty", "isfinite", "ishorizontal", "isopen",
    "isparallel", "isperp", "isvertical", "json_array_elements", "json_array_elements_text", "json_array_length",
    "json_build_array", "json_build_object", "json_each", "json_each_text", "json_object", "json_object_keys",
    "json_populate_record", "json_populate_recordset", "json_strip_nulls", "json_to_record", "json_to_recordset",
    "json_to_tsvector", "json_typeof", "jsonb_array_elements", "jsonb_array_elements_text", "jsonb_array_length",
    "jsonb_build_array", "jsonb_build_object", "jsonb_each", "jsonb_each_text", "jsonb_insert", "jsonb_object",
    "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_exists_tz", "jsonb_path_match", "jsonb_path_match_tz",
    "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_array_tz", "jsonb_path_query_first",
    "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record", "jsonb_populate_recordset",
    "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls", "jsonb_to_record", "jsonb_to_recordset",
    "jsonb_to_tsvector", "jsonb_typeof", "justify_days", "justify_hours", "justify_interval", "jwt", "lcm", "least",
    "left", "length", "like", "like_escape", "line", "ln", "log", "log10", "lower", "lower_inc", "lower_inf", "lpad",
    "lseg", "ltrim", "macaddr", "make_date", "make_interval", "make_time", "make_timestamp", "make_timestamptz",
    "makeaclitem", "masklen", "md5", "min_scale", "mod", "money", "mxid_age", "name", "nameconcatoid", "netmask",
    "normalize", "notlike", "now", "npoints", "nullif", "num_nonnulls", "num_nulls", "numeric", "numeric_div_trunc",
    "numeric_exp", "numeric_inc", "numeric_larger", "numeric_ln", "numeric_log", "numeric_smaller", "numeric_sqrt",
    "nummultirange", "numnode", "numrange", "numrange_subdiff", "obj_description", "octet_length", "overlaps",
    "overlay", "parse_ident", "path", "pclose", "pg_backend_pid", "pg_current_xact_id", "pg_typeof",
    "phraseto_tsquery", "pi", "plainto_tsquery", "point", "polygon", "popen", "position", "pow", "power", "querytree",
    "quote_ident", "quote_literal", "quote_nullable", "radians", "radius", "regclass", "regexp_count", "regexp_instr",
    "regexp_like", "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array",
    "regexp_split_to_table", "regexp_substr", "repeat", "replace", "reverse", "right", "role", "round", "row",
    "row_security_active", "row_to_json", "rpad", "rtrim", "satisfies_hash_partition", "scale", "schema_to_xml",
    "schema_to_xml_and_xmlschema", "schema_to_xmlschema", "session_user", "set_bit", "set_byte", "set_masklen",
    "setweight", "sha224", "sha256", "sha384", "sha512", "shobj_description", "sign", "similar_escape",
    "similar_to_escape", "similarity", "sin", "sind", "sinh", "slope", "split_part", "sqrt", "st_geogfromtext",
    "st_geomfromtext", "st_makepoint", "st_point", "st_setsrid", "statement_timestamp", "string_to_array",
    "string_to_table", "strip", "strpos", "substr", "substring", "table_to_xml", "table_to_xml_and_xmlschema",
    "table_to_xmlschema", "tan", "tand", "tanh", "text", "text_larger", "text_smaller", "textlen", "time",
    "timestamp", "timestamptz", "timetz", "timezone", "to_ascii", "to_char", "to_date", "to_hex", "to_json",
    "to_jsonb", "to_number", "to_regclass", "to_regcollation", "to_regnamespace", "to_regoper", "to_regoperator",
    "to_regproc", "to_regprocedure", "to_regrole", "to_regtype", "to_timestamp", "to_tsquery", "to_tsvector",
    "transaction_timestamp", "translate", "trim_array", "trim_scale", "trunc", "tsmultirange", "tsrange",
    "tsrange_subdiff", "tstzmultirange", "tstzrange", "tstzrange_subdiff", "tsvector_to_array", "txid_current",
    "txid_current_if_assigned", "txid_current_snapshot", "txid_snapshot_xip", "txid_snapshot_xmax",
    "txid_snapshot_xmin", "txid_visible_in_snapshot", "uid", "unaccent", "unistr", "unnest", "upper", "upper_inc",
    "upper_inf", "uuid_generate_v3", "uuid_generate_v5", "uuid_nil", "uuid_ns_dns", "uuid_ns_url", "varchar",
    "version", "websearch_to_tsquery", "width", "width_bucket", "xml", "xml_is_well_formed",
    "xml_is_well_formed_content", "xml_is_well_formed_document", "xmlcomment", "xmlconcat2", "xmlexists", "xmlparse",
    "xmlserialize", "xmlvalidate", "xpath", "xpath_exists",
];

/// Whether a function may give another value each time it is called, as far as its name tells.
#[must_use]
pub fn is_volatile(name: &str) -> bool {
    STEADY.binary_search(&name).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_keys_is_volatile_and_what_tells_the_time_of_the_statement_is_not() {
        assert!(STEADY.is_sorted());
        for name in ["gen_random_uuid", "uuid_generate_v4", "random", "clock_timestamp", "nextval", "my_own", "timeofday"] {
            assert!(is_volatile(name), "{name}");
        }
        for name in ["now", "lower", "to_char", "jsonb_build_object", "timezone", "current_setting", "md5", "date_trunc"] {
            assert!(!is_volatile(name), "{name}");
        }
    }
}
