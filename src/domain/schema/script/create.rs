//! The statements that make an object.

use super::Cannot;
use super::name::{above, bare, quoted, reference, space, texts, words};
use crate::domain::schema::catalog::{Catalog, Kind, Object, ObjectKey};
use crate::domain::sql::{quote_ident, quote_literal};
use serde_json::Value;

/// The statements that make `key` as it is in `to`, with what has no object of its own: owner, states, settings.
///
/// Tables are made with their columns, columns with their defaults. Whatever else hangs on them is an object of its own.
///
/// # Errors
/// Why the catalog does not tell enough to make it again.
pub(super) fn create(to: &Catalog, key: &ObjectKey, object: &Object) -> Result<Vec<String>, Cannot> {
    let name = key.name.as_str();
    let mut made = match key.kind {
        Kind::Schema if name == "public" => vec!["CREATE SCHEMA IF NOT EXISTS public".to_owned()],
        Kind::Schema => vec![format!("CREATE SCHEMA {name}")],
        Kind::Extension => {
            let schema = object.text("schema").unwrap_or("public");
            let version = quote_literal(object.text("version").unwrap_or_default());
            vec![format!("CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA {schema} VERSION {version}")]
        }
        Kind::Table | Kind::ForeignTable => table(to, key, object)?,
        Kind::Column => {
            let mut made = vec![format!("ALTER TABLE {} ADD COLUMN {}", above(name), column(to, key, object)?)];
            made.extend(column_settings(key, object));
            made
        }
        Kind::Default => {
            vec![format!("{} SET DEFAULT {}", alter_column(key, object), object.text("expr").unwrap_or_default())]
        }
        Kind::Constraint => {
            let definition = object.text("definition").unwrap_or_default();
            let mut made = vec![format!("ALTER TABLE {} ADD CONSTRAINT {} {definition}", above(name), key.last_part())];
            let options = texts(object.get("options"));
            if let (false, Some(space)) = (options.is_empty(), space(name)) {
                made.push(format!("ALTER INDEX {space}.{} SET ({})", key.last_part(), options.join(", ")));
            }
            made
        }
        Kind::Index => index(key, object)?,
        Kind::Sequence => vec![format!(
            "CREATE{} SEQUENCE {name} AS {} {}",
            if object.text("persistence") == Some("u") { " UNLOGGED" } else { "" },
            object.text("type").unwrap_or("bigint"),
            sequence_options(object)
        )],
        // It comes with its column.
        Kind::IdentitySequence => Vec::new(),
        Kind::View | Kind::MaterializedView => view(key, object),
        Kind::ViewColumn => view_column(key, object)?,
        Kind::Function | Kind::Procedure => vec![object.text("definition").unwrap_or_default().trim_end().to_owned()],
        Kind::Aggregate => vec![aggregate(key, object)?],
        Kind::Trigger | Kind::Rule => {
            let definition = object.text("definition").unwrap_or_default();
            let mut made = vec![definition.trim_end_matches(';').to_owned()];
            made.extend(firing(key, object).filter(|_| object.text("enabled") != Some("O")));
            made
        }
        Kind::Policy => vec![policy(key, object)],
        Kind::Enum => {
            let values: Vec<String> = texts(object.get("values")).into_iter().map(quote_literal).collect();
            vec![format!("CREATE TYPE {name} AS ENUM ({})", values.join(", "))]
        }
        Kind::Domain => vec![domain(key, object)?],
        Kind::DomainConstraint => vec![format!(
            "ALTER DOMAIN {} ADD CONSTRAINT {} {}",
            above(name),
            key.last_part(),
            object.text("definition").unwrap_or_default()
        )],
        Kind::CompositeType => {
            let attributes: Vec<String> =
                object.get("attributes").as_array().into_iter().flatten().map(attribute).collect();
            vec![format!("CREATE TYPE {name} AS ({})", attributes.join(", "))]
        }
        Kind::RangeType => vec![range(key, object)?],
        Kind::BaseType => return Err(Cannot::because("the functions of a base type live outside the catalog")),
        Kind::Collation => vec![collation(key, object)],
        Kind::Statistics => {
            let mut made = vec![object.text("definition").unwrap_or_default().to_owned()];
            if let Some(target) = object.get("target").as_i64() {
                made.push(format!("ALTER STATISTICS {name} SET STATISTICS {target}"));
            }
            made
        }
        Kind::Publication => vec![publication(key, object)],
        Kind::EventTrigger => event_trigger(key, object),
        Kind::Cast => vec![cast(key, object)],
        Kind::Operator => vec![operator(key, object)?],
        Kind::OperatorClass => return Err(Cannot::because("an operator class has to be made by hand")),
        Kind::ForeignServer => vec![server(key, object)?],
        Kind::TextSearchConfiguration => text_search(key, object),
        Kind::Privilege | Kind::PrivilegeRevoked => vec![privilege(key, object)?],
        Kind::DefaultPrivilege => vec![default_privilege(key, object)?],
        Kind::Comment => vec![comment(key, Some(object.text("text").unwrap_or_default()))?],
    };
    made.extend(owner(key, object));
    Ok(made)
}

/// `ALTER ... OWNER TO`, for what has an owner of its own.
pub(super) fn owner(key: &ObjectKey, object: &Object) -> Option<String> {
    if matches!(key.kind, Kind::IdentitySequence) {
        return None;
    }
    Some(format!("ALTER {} OWNER TO {}", reference(key)?, quote_ident(object.text("owner")?)))
}

/// The other kinds of relations answer to ALTER TABLE as well; only a view's default wants its own word.
pub(super) fn alter_column(key: &ObjectKey, object: &Object) -> String {
    let of_view = object.parent.as_ref().is_some_and(|parent| parent.kind == Kind::ViewColumn);
    let what = if of_view { "VIEW" } else { "TABLE" };
    format!("ALTER {what} {} ALTER COLUMN {}", above(&key.name), key.last_part())
}

fn table(to: &Catalog, key: &ObjectKey, object: &Object) -> Result<Vec<String>, Cannot> {
    let name = key.name.as_str();
    if object.text("of_type").is_some() {
        return Err(Cannot::because("a typed table has to be made by hand"));
    }
    let parents = texts(object.get("parents"))
        .into_iter()
        .map(|parent| quoted(parent, 2).ok_or_else(|| Cannot::because("the name of a parent holds a dot")))
        .collect::<Result<Vec<_>, _>>()?;
    let mut columns: Vec<(&ObjectKey, &Object)> =
        to.children(key).filter(|(column, object)| column.kind == Kind::Column && !object.inherited).collect();
    columns.sort_by_key(|(_, object)| object.position);
    let definitions: Vec<String> =
        columns.iter().map(|(key, object)| column(to, key, object)).collect::<Result<_, _>>()?;
    let mut sql = String::from("CREATE ");
    match (key.kind, object.text("persistence")) {
        (Kind::ForeignTable, _) => sql.push_str("FOREIGN "),
        (_, Some("u")) => sql.push_str("UNLOGGED "),
        _ => {}
    }
    sql.push_str(&format!("TABLE {name} "));
    match (object.text("partition_bound"), parents.first()) {
        (Some(bound), Some(parent)) => sql.push_str(&format!("PARTITION OF {parent} {bound}")),
        _ => {
            sql.push_str(&body(&definitions));
            if !parents.is_empty() {
                sql.push_str(&format!(" INHERITS ({})", parents.join(", ")));
            }
        }
    }
    if let Some(partition_key) = object.text("partition_key") {
        sql.push_str(&format!(" PARTITION BY {partition_key}"));
    }
    if key.kind == Kind::ForeignTable {
        sql.push_str(&format!(" SERVER {}", object.text("server").unwrap_or_default()));
        sql.push_str(&foreign_options(object.get("foreign_options"))?);
    } else {
        if let Some(method) = object.text("access_method").filter(|method| *method != "heap") {
            sql.push_str(&format!(" USING {}", quote_ident(method)));
        }
        let options = texts(object.get("options"));
        if !options.is_empty() {
            sql.push_str(&format!(" WITH ({})", options.join(", ")));
        }
    }
    let mut made = vec![sql];
    for (key, object) in columns {
        made.extend(column_settings(key, object));
    }
    if object.is("row_security") {
        made.push(format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"));
    }
    if object.is("force_row_security") {
        made.push(format!("ALTER TABLE {name} FORCE ROW LEVEL SECURITY"));
    }
    if let identity @ Some("f" | "n") = object.text("replica_identity") {
        let word = if identity == Some("f") { "FULL" } else { "NOTHING" };
        made.push(format!("ALTER TABLE {name} REPLICA IDENTITY {word}"));
    }
    Ok(made)
}

fn body(columns: &[String]) -> String {
    if columns.is_empty() { "()".to_owned() } else { format!("(\n    {}\n)", columns.join(",\n    ")) }
}

/// A column as CREATE TABLE and ADD COLUMN take it, its default with it.
pub(super) fn column(to: &Catalog, key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let mut sql = format!("{} {}", key.last_part(), object.text("type").unwrap_or_default());
    if let options @ Value::Array(_) = object.get("foreign_options") {
        sql.push_str(&foreign_options(options)?);
    }
    if let Some(collation) = object.text("collation") {
        let collation = quoted(collation, 2).ok_or_else(|| Cannot::because("the name of its collation holds a dot"))?;
        sql.push_str(&format!(" COLLATE {collation}"));
    }
    if let Some(expression) = object.text("generated") {
        let kind = if object.text("generated_kind") == Some("virtual") { "VIRTUAL" } else { "STORED" };
        sql.push_str(&format!(" GENERATED ALWAYS AS ({expression}) {kind}"));
    } else if let Some(identity) = identity_words(object) {
        sql.push_str(&format!(" GENERATED {identity} AS IDENTITY"));
        let sequence = to
            .objects
            .iter()
            .find(|(sequence, object)| sequence.kind == Kind::IdentitySequence && object.parent.as_ref() == Some(key));
        if let Some((sequence, options)) = sequence {
            sql.push_str(&format!(" (SEQUENCE NAME {} {})", sequence.name, sequence_options(options)));
        }
    } else if let Some(default) = to.find(Kind::Default, &key.name) {
        sql.push_str(&format!(" DEFAULT {}", default.text("expr").unwrap_or_default()));
    }
    if object.is("not_null") {
        sql.push_str(" NOT NULL");
    }
    Ok(sql)
}

/// `ALWAYS` or `BY DEFAULT`, for an identity column.
pub(super) fn identity_words(object: &Object) -> Option<&'static str> {
    match object.text("identity") {
        Some("a") => Some("ALWAYS"),
        Some("d") => Some("BY DEFAULT"),
        _ => None,
    }
}

/// What a column has beyond its definition.
fn column_settings(key: &ObjectKey, object: &Object) -> Vec<String> {
    let alter = format!("ALTER TABLE {} ALTER COLUMN {}", above(&key.name), key.last_part());
    let mut set = Vec::new();
    set.extend(object.text("storage").and_then(storage).map(|word| format!("{alter} SET STORAGE {word}")));
    set.extend(object.text("compression").and_then(compression).map(|word| format!("{alter} SET COMPRESSION {word}")));
    set.extend(object.get("statistics_target").as_i64().map(|target| format!("{alter} SET STATISTICS {target}")));
    let options = texts(object.get("options"));
    if !options.is_empty() {
        set.push(format!("{alter} SET ({})", options.join(", ")));
    }
    set
}

pub(super) fn storage(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "p" => "PLAIN",
        "e" => "EXTERNAL",
        "m" => "MAIN",
        "x" => "EXTENDED",
        _ => return None,
    })
}

pub(super) fn compression(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "p" => "pglz",
        "l" => "lz4",
        _ => return None,
    })
}

/// `INCREMENT BY 1 MINVALUE ...`, everything said.
pub(super) fn sequence_options(object: &Object) -> String {
    let number = |attribute: &str| object.get(attribute).as_i64().unwrap_or(1);
    format!(
        "INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {}{}",
        number("increment"),
        number("min"),
        number("max"),
        number("start"),
        number("cache"),
        if object.is("cycle") { " CYCLE" } else { " NO CYCLE" }
    )
}

fn index(key: &ObjectKey, object: &Object) -> Result<Vec<String>, Cannot> {
    if object.get("valid").as_bool() == Some(false) {
        return Err(Cannot::because("an invalid index is left by a build that failed; nobody makes one"));
    }
    // On a partitioned table the definition says ONLY, which would leave its partitions without.
    let definition = object.text("definition").unwrap_or_default().replacen(" ON ONLY ", " ON ", 1);
    let mut made = vec![definition];
    if let Value::Object(targets) = object.get("statistics_targets") {
        let name = &key.name;
        made.extend(
            targets
                .iter()
                .map(|(number, target)| format!("ALTER INDEX {name} ALTER COLUMN {number} SET STATISTICS {target}")),
        );
    }
    Ok(made)
}

fn view(key: &ObjectKey, object: &Object) -> Vec<String> {
    let definition = object.text("definition").unwrap_or_default().trim().trim_end_matches(';');
    let options = texts(object.get("options"));
    let with = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    if key.kind == Kind::View {
        return vec![format!("CREATE VIEW {}{with} AS\n{definition}", key.name)];
    }
    let method = object.text("access_method").filter(|method| *method != "heap");
    let using = method.map(|method| format!(" USING {}", quote_ident(method))).unwrap_or_default();
    vec![format!("CREATE MATERIALIZED VIEW {}{using}{with} AS\n{definition}", key.name)]
}

/// The columns of a view come with it; only what was set on them beyond is to be said.
fn view_column(key: &ObjectKey, object: &Object) -> Result<Vec<String>, Cannot> {
    let of_view = object.parent.as_ref().is_some_and(|parent| parent.kind == Kind::View);
    let options = texts(object.get("options"));
    if of_view && !options.is_empty() {
        return Err(Cannot::because("settings of a view's column have to be made by hand"));
    }
    let alter = format!("ALTER MATERIALIZED VIEW {} ALTER COLUMN {}", above(&key.name), key.last_part());
    let mut set = Vec::new();
    if !options.is_empty() {
        set.push(format!("{alter} SET ({})", options.join(", ")));
    }
    set.extend(object.get("statistics_target").as_i64().map(|target| format!("{alter} SET STATISTICS {target}")));
    Ok(set)
}

fn aggregate(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    if object.text("kind") != Some("n") || object.text("moving_function").is_some() {
        return Err(Cannot::because("an ordered-set or moving aggregate has to be made by hand"));
    }
    let mut parts = vec![
        format!("SFUNC = {}", bare(object.text("function").unwrap_or_default())),
        format!("STYPE = {}", object.text("state").unwrap_or_default()),
    ];
    let mut with = |word: &str, value: Option<String>| parts.extend(value.map(|value| format!("{word} = {value}")));
    let function = |attribute: &str| object.text(attribute).map(|name| bare(name).to_owned());
    with("SSPACE", object.get("state_size").as_i64().filter(|size| *size > 0).map(|size| size.to_string()));
    with("FINALFUNC", function("final"));
    with("COMBINEFUNC", function("combine"));
    with("SERIALFUNC", function("serialize"));
    with("DESERIALFUNC", function("deserialize"));
    with("INITCOND", object.text("initial").map(quote_literal));
    with("SORTOP", object.text("sort_operator").map(|name| format!("OPERATOR({})", bare(name))));
    let parallel = match object.text("parallel") {
        Some("s") => Some("SAFE"),
        Some("r") => Some("RESTRICTED"),
        _ => None,
    };
    with("PARALLEL", parallel.map(str::to_owned));
    if object.is("final_extra") {
        parts.push("FINALFUNC_EXTRA".to_owned());
    }
    let arguments = object.text("arguments").filter(|arguments| !arguments.is_empty()).unwrap_or("*");
    Ok(format!("CREATE AGGREGATE {}({arguments}) (\n    {}\n)", bare(&key.name), parts.join(",\n    ")))
}

/// `ENABLE ALWAYS TRIGGER t`, from the letter of `tgenabled`.
pub(super) fn firing(key: &ObjectKey, object: &Object) -> impl Iterator<Item = String> {
    let word = match object.text("enabled") {
        Some("O") => Some("ENABLE"),
        Some("D") => Some("DISABLE"),
        Some("R") => Some("ENABLE REPLICA"),
        Some("A") => Some("ENABLE ALWAYS"),
        _ => None,
    };
    let what = words(key.kind).unwrap_or_default();
    word.map(|word| format!("ALTER TABLE {} {word} {what} {}", above(&key.name), key.last_part())).into_iter()
}

fn policy(key: &ObjectKey, object: &Object) -> String {
    let mut sql = format!("CREATE POLICY {} ON {}", key.last_part(), above(&key.name));
    if object.get("permissive").as_bool() == Some(false) {
        sql.push_str(" AS RESTRICTIVE");
    }
    sql.push_str(&format!(" FOR {}", object.text("command").unwrap_or("ALL")));
    let roles = texts(object.get("roles"));
    if !roles.is_empty() {
        sql.push_str(&format!(" TO {}", roles.join(", ")));
    }
    if let Some(expression) = object.text("using") {
        sql.push_str(&format!(" USING ({expression})"));
    }
    if let Some(expression) = object.text("check") {
        sql.push_str(&format!(" WITH CHECK ({expression})"));
    }
    sql
}

fn domain(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let mut sql = format!("CREATE DOMAIN {} AS {}", key.name, object.text("type").unwrap_or_default());
    if let Some(collation) = object.text("collation") {
        let collation = quoted(collation, 2).ok_or_else(|| Cannot::because("the name of its collation holds a dot"))?;
        sql.push_str(&format!(" COLLATE {collation}"));
    }
    if let Some(default) = object.text("default") {
        sql.push_str(&format!(" DEFAULT {default}"));
    }
    if object.is("not_null") {
        sql.push_str(" NOT NULL");
    }
    Ok(sql)
}

/// An attribute of a composite type: `[name, type]` or `[name, type, collation]`.
pub(super) fn attribute(value: &Value) -> String {
    let parts = texts(value);
    let collation = parts.get(2).map(|collation| format!(" COLLATE {collation}")).unwrap_or_default();
    format!("{} {}{collation}", parts.first().unwrap_or(&""), parts.get(1).unwrap_or(&""))
}

fn range(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    if object.text("canonical").is_some() {
        return Err(Cannot::because("a range type with a canonical function has to be made by hand"));
    }
    let mut parts = vec![format!("SUBTYPE = {}", object.text("subtype").unwrap_or_default())];
    let mut with = |word: &str, value: Option<String>| parts.extend(value.map(|value| format!("{word} = {value}")));
    with("SUBTYPE_OPCLASS", object.text("subtype_opclass").map(str::to_owned));
    with("COLLATION", object.text("collation").and_then(|name| quoted(name, 2)));
    with("SUBTYPE_DIFF", object.text("subtype_diff").map(|name| bare(name).to_owned()));
    with("MULTIRANGE_TYPE_NAME", object.text("multirange").map(str::to_owned));
    Ok(format!("CREATE TYPE {} AS RANGE ({})", key.name, parts.join(", ")))
}

fn collation(key: &ObjectKey, object: &Object) -> String {
    let provider = match object.text("provider") {
        Some("i") => "icu",
        Some("b") => "builtin",
        _ => "libc",
    };
    let mut parts = vec![format!("PROVIDER = {provider}")];
    let mut with = |word: &str, value: Option<&str>| {
        parts.extend(value.map(|value| format!("{word} = {}", quote_literal(value))));
    };
    with("LOCALE", object.text("locale"));
    with("LC_COLLATE", object.text("lc_collate"));
    with("LC_CTYPE", object.text("lc_ctype"));
    with("RULES", object.text("rules"));
    if object.get("deterministic").as_bool() == Some(false) {
        parts.push("DETERMINISTIC = false".to_owned());
    }
    format!("CREATE COLLATION {} ({})", key.name, parts.join(", "))
}

fn publication(key: &ObjectKey, object: &Object) -> String {
    let mut sql = format!("CREATE PUBLICATION {}", key.name);
    if object.is("all_tables") {
        sql.push_str(" FOR ALL TABLES");
    } else {
        let tables = texts(object.get("tables"));
        let schemas = texts(object.get("schemas"));
        let mut what = Vec::new();
        if !tables.is_empty() {
            what.push(format!("TABLE {}", tables.join(", ")));
        }
        if !schemas.is_empty() {
            what.push(format!("TABLES IN SCHEMA {}", schemas.join(", ")));
        }
        if !what.is_empty() {
            sql.push_str(&format!(" FOR {}", what.join(", ")));
        }
    }
    let verbs: Vec<&str> =
        ["insert", "update", "delete", "truncate"].into_iter().filter(|verb| object.is(verb)).collect();
    sql.push_str(&format!(" WITH (publish = '{}'", verbs.join(", ")));
    if object.is("via_partition_root") {
        sql.push_str(", publish_via_partition_root = true");
    }
    if object.text("generated_columns") == Some("s") {
        sql.push_str(", publish_generated_columns = stored");
    }
    sql.push(')');
    sql
}

fn event_trigger(key: &ObjectKey, object: &Object) -> Vec<String> {
    let tags: Vec<String> = texts(object.get("tags")).into_iter().map(quote_literal).collect();
    let when = if tags.is_empty() { String::new() } else { format!(" WHEN TAG IN ({})", tags.join(", ")) };
    let mut made = vec![format!(
        "CREATE EVENT TRIGGER {} ON {}{when} EXECUTE FUNCTION {}()",
        key.name,
        object.text("event").unwrap_or_default(),
        bare(object.text("function").unwrap_or_default())
    )];
    made.extend(event_firing(key, object).filter(|_| object.text("enabled") != Some("O")));
    made
}

/// `ALTER EVENT TRIGGER e DISABLE`.
pub(super) fn event_firing(key: &ObjectKey, object: &Object) -> impl Iterator<Item = String> {
    let word = match object.text("enabled") {
        Some("D") => "DISABLE",
        Some("R") => "ENABLE REPLICA",
        Some("A") => "ENABLE ALWAYS",
        _ => "ENABLE",
    };
    std::iter::once(format!("ALTER EVENT TRIGGER {} {word}", key.name))
}

fn cast(key: &ObjectKey, object: &Object) -> String {
    let how = match (object.text("function"), object.text("method")) {
        (Some(function), _) => format!("WITH FUNCTION {function}"),
        (None, Some("i")) => "WITH INOUT".to_owned(),
        _ => "WITHOUT FUNCTION".to_owned(),
    };
    let context = match object.text("context") {
        Some("a") => " AS ASSIGNMENT",
        Some("i") => " AS IMPLICIT",
        _ => "",
    };
    format!("CREATE CAST {} {how}{context}", key.name)
}

fn operator(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let odd = || Cannot::because("the operator's types cannot be told apart");
    let (name, types) = key.name.strip_suffix(')').and_then(|name| name.split_once('(')).ok_or_else(odd)?;
    let (left, right) = types.split_once(',').ok_or_else(odd)?;
    let mut parts = vec![format!("FUNCTION = {}", bare(object.text("function").unwrap_or_default()))];
    if left != "NONE" {
        parts.push(format!("LEFTARG = {left}"));
    }
    parts.push(format!("RIGHTARG = {right}"));
    let mut with = |word: &str, value: Option<String>| parts.extend(value.map(|value| format!("{word} = {value}")));
    let other = |attribute: &str| object.text(attribute).map(|name| format!("OPERATOR({})", bare(name)));
    with("COMMUTATOR", other("commutator"));
    with("NEGATOR", other("negator"));
    with("RESTRICT", object.text("restrict").map(|name| bare(name).to_owned()));
    with("JOIN", object.text("join").map(|name| bare(name).to_owned()));
    if object.is("hashes") {
        parts.push("HASHES".to_owned());
    }
    if object.is("merges") {
        parts.push("MERGES".to_owned());
    }
    Ok(format!("CREATE OPERATOR {name} ({})", parts.join(", ")))
}

/// ` OPTIONS (a 'x')`, from `a=x`.
fn foreign_options(options: &Value) -> Result<String, Cannot> {
    let options = texts(options);
    if options.is_empty() {
        return Ok(String::new());
    }
    let options = options.into_iter().map(|option| match option.split_once('=') {
        Some((_, "[secret]")) => Err(Cannot::because("its secrets are not read")),
        Some((name, value)) => Ok(format!("{} {}", quote_ident(name), quote_literal(value))),
        None => Ok(format!("{} ''", quote_ident(option))),
    });
    Ok(format!(" OPTIONS ({})", options.collect::<Result<Vec<_>, _>>()?.join(", ")))
}

fn server(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let mut sql = format!("CREATE SERVER {}", key.name);
    if let Some(kind) = object.text("type") {
        sql.push_str(&format!(" TYPE {}", quote_literal(kind)));
    }
    if let Some(version) = object.text("version") {
        sql.push_str(&format!(" VERSION {}", quote_literal(version)));
    }
    sql.push_str(&format!(" FOREIGN DATA WRAPPER {}", object.text("wrapper").unwrap_or_default()));
    sql.push_str(&foreign_options(object.get("options"))?);
    Ok(sql)
}

fn text_search(key: &ObjectKey, object: &Object) -> Vec<String> {
    let name = &key.name;
    let parser = object.text("parser").unwrap_or_default();
    let mut made = vec![format!("CREATE TEXT SEARCH CONFIGURATION {name} (PARSER = {parser})")];
    if let Value::Object(mappings) = object.get("mappings") {
        made.extend(mappings.iter().map(|(token, dictionaries)| {
            let with = texts(dictionaries).join(", ");
            format!("ALTER TEXT SEARCH CONFIGURATION {name} ADD MAPPING FOR {token} WITH {with}")
        }));
    }
    made
}

/// What stands behind the object in the key of a privilege: who, and which.
fn grant<'a>(key: &'a ObjectKey, parent: &ObjectKey) -> Option<(&'a str, &'a str)> {
    key.name.strip_prefix(&format!("{parent}:"))?.rsplit_once(':')
}

/// GRANT for a privilege and REVOKE for one that was taken away; the other way round with [`revoke`].
fn privilege(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let (who, what, on) = granted(key, object)?;
    if key.kind == Kind::PrivilegeRevoked {
        return Ok(format!("REVOKE {what} ON {on} FROM {who}"));
    }
    let option = if object.is("grantable") { " WITH GRANT OPTION" } else { "" };
    Ok(format!("GRANT {what} ON {on} TO {who}{option}"))
}

/// Undoes what [`create`] does for a privilege.
pub(super) fn revoke(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let (who, what, on) = granted(key, object)?;
    Ok(match key.kind {
        Kind::PrivilegeRevoked => format!("GRANT {what} ON {on} TO {who}"),
        _ => format!("REVOKE {what} ON {on} FROM {who}"),
    })
}

/// Who is granted what, on what, as SQL wants it.
fn granted<'a>(key: &'a ObjectKey, object: &Object) -> Result<(&'a str, String, String), Cannot> {
    let odd = || Cannot::because("the privilege cannot be told");
    let parent = object.parent.as_ref().ok_or_else(odd)?;
    let (who, what) = grant(key, parent).ok_or_else(odd)?;
    Ok(match parent.kind {
        Kind::Column | Kind::ViewColumn => {
            (who, format!("{what} ({})", parent.last_part()), above(&parent.name).to_owned())
        }
        Kind::Table | Kind::View | Kind::MaterializedView | Kind::ForeignTable => {
            (who, what.to_owned(), format!("TABLE {}", parent.name))
        }
        Kind::Aggregate => (who, what.to_owned(), format!("FUNCTION {}", parent.name)),
        Kind::ForeignServer => (who, what.to_owned(), format!("FOREIGN SERVER {}", parent.name)),
        _ => (who, what.to_owned(), reference(parent).ok_or_else(odd)?),
    })
}

/// `role:schema:types:grantee:privilege`.
fn default_privilege(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    let option = if object.is("grantable") { " WITH GRANT OPTION" } else { "" };
    default_privileges(key, object.is("granted"), option)
}

/// Undoes what [`create`] does for a default privilege.
pub(super) fn revoke_default(key: &ObjectKey, object: &Object) -> Result<String, Cannot> {
    default_privileges(key, !object.is("granted"), "")
}

fn default_privileges(key: &ObjectKey, grants: bool, option: &str) -> Result<String, Cannot> {
    let parts: Vec<&str> = key.name.split(':').collect();
    let [role, schema, types, who, what] = parts.as_slice() else {
        return Err(Cannot::because("a name in it holds a colon"));
    };
    let within = if schema.is_empty() { String::new() } else { format!(" IN SCHEMA {schema}") };
    let types = types.to_uppercase();
    Ok(if grants {
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {role}{within} GRANT {what} ON {types} TO {who}{option}")
    } else {
        format!("ALTER DEFAULT PRIVILEGES FOR ROLE {role}{within} REVOKE {what} ON {types} FROM {who}")
    })
}

/// COMMENT ON what `object` hangs on; with no text, none.
pub(super) fn comment(key: &ObjectKey, text: Option<&str>) -> Result<String, Cannot> {
    let on = ObjectKey::parse(&key.name).as_ref().and_then(reference);
    let on = on.ok_or_else(|| Cannot::because("what the comment is on cannot be told"))?;
    Ok(format!("COMMENT ON {on} IS {}", text.map_or_else(|| "NULL".to_owned(), quote_literal)))
}
