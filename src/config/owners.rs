//! What the configuration of the tools that own migration folders says, as far as dbd has to know it: where they keep track, and the values of
//! Flyway's placeholders. It is said in files, in variables, and in the query part of a URL.

use super::discover::read_if_there;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::ids::EnvironmentName;
use crate::domain::migration::URLS_DISAGREE;
use std::collections::BTreeMap;
use std::path::Path;

/// Flyway's files, the later ones counting more.
const FLYWAY: &[&str] = &["conf/flyway.conf", "flyway.conf", "conf/flyway.toml", "flyway.toml", "flyway.user.toml"];

/// The variables that say where a tool keeps track, which count more than its files, and what they are called among what is said.
const VARIABLES: &[(&str, &str)] = &[
    ("DBMATE_MIGRATIONS_TABLE", "dbmate.table"),
    ("GOOSE_TABLE", "goose.table"),
    ("FLYWAY_TABLE", "flyway.table"),
    ("FLYWAY_DEFAULT_SCHEMA", "flyway.defaultSchema"),
    ("FLYWAY_SCHEMAS", "flyway.schemas"),
];

/// What golang-migrate takes from the URL of a database.
const URL_OPTIONS: &[&str] = &["x-migrations-table", "x-migrations-table-quoted"];

/// What the tools' files below the project's root say, by tool and key: `flyway.placeholders.schema`; what variables say in their stead; and
/// what the URLs of the environments say to golang-migrate.
///
/// # Errors
/// [`Code::FileUnreadable`]; [`Code::BadValue`] for a file that is not what it should be.
pub fn said<'a>(
    root: &Path,
    variable: impl Fn(&str) -> Option<&'a str>,
    urls: &[(EnvironmentName, ConnectionUrl)],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut said = files(root)?;
    for (name, key) in VARIABLES {
        if let Some(value) = variable(name) {
            said.insert((*key).to_owned(), value.to_owned());
        }
    }
    for option in URL_OPTIONS {
        let named: Vec<(&EnvironmentName, Option<String>)> =
            urls.iter().map(|(name, url)| (name, url.option(option))).collect();
        let Some((first, value)) = named.first() else { continue };
        if let Some((other, _)) = named.iter().find(|(_, one)| one != value) {
            let message = format!("the database URLs of {first} and {other} say `{option}` differently");
            said.entry(URLS_DISAGREE.to_owned()).or_insert(message);
        } else if let Some(value) = value {
            said.insert(format!("golang-migrate.{option}"), value.clone());
        }
    }
    Ok(said)
}

fn files(root: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let mut said = BTreeMap::new();
    for file in FLYWAY {
        let Some(text) = read_if_there(&root.join(file))? else { continue };
        match file.ends_with(".toml") {
            true => flatten("", &toml(file, &text)?, &mut said),
            false => said.extend(properties(&text).into_iter().filter(|(key, _)| key.starts_with("flyway."))),
        }
    }
    if let Some(text) = read_if_there(&root.join("sqlx.toml"))? {
        flatten("sqlx", &toml("sqlx.toml", &text)?, &mut said);
    }
    if let Some(text) = read_if_there(&root.join("sqitch.conf"))? {
        said.insert("sqitch.conf".to_owned(), text);
    }
    for extension in super::discover::DRIZZLE_CONFIGS {
        if let Some(text) = read_if_there(&root.join(format!("drizzle.config.{extension}")))? {
            for key in ["table", "schema"] {
                if let Some(value) = in_object(&text, "migrations", key) {
                    said.insert(format!("drizzle.migrations.{key}"), value);
                }
            }
        }
    }
    Ok(said)
}

fn toml(file: &str, text: &str) -> Result<toml::Value, Failure> {
    let table = text.parse::<toml::Table>().map_err(|error| {
        Failure::new(Code::BadValue, format!("{file} is no TOML"))
            .cause(error.message())
            .hint("correct it, or remove it")
    })?;
    Ok(toml::Value::Table(table))
}

/// Every value by its path; lists as Flyway's older files write them, parted by commas.
fn flatten(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&inner, value, into);
            }
        }
        toml::Value::Array(values) => {
            into.insert(path.to_owned(), values.iter().map(text).collect::<Vec<_>>().join(","));
        }
        value => {
            into.insert(path.to_owned(), text(value));
        }
    }
}

/// The keys and values of a file of Java properties.
fn properties(text: &str) -> Vec<(String, String)> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim_start();
        let part = line.strip_suffix('\\').unwrap_or(line);
        match lines.last_mut().filter(|_| open) {
            Some(last) => last.push_str(part),
            None => lines.push(part.to_owned()),
        }
        open = line.ends_with('\\') && !line.ends_with("\\\\");
    }
    let told = |line: &&String| !line.starts_with('#') && !line.starts_with('!');
    let pair =
        |line: &String| line.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    lines.iter().filter(told).filter_map(pair).collect()
}

/// The text of `key: "..."` within `object: { ... }`. A light scan: the file is a program and is not run.
fn in_object(text: &str, object: &str, key: &str) -> Option<String> {
    let told: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let text = told.join("\n");
    let after_name = |text: &str, name: &str| {
        text.match_indices(name).find_map(|(at, _)| {
            let before = text[..at].trim_end_matches(['"', '\'']).chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.') {
                return None;
            }
            let rest = text[at + name.len()..].trim_start_matches(['"', '\'']).trim_start();
            rest.strip_prefix(':').map(|rest| rest.trim_start().to_owned())
        })
    };
    let inner = after_name(&text, object)?;
    let inner = inner.strip_prefix('{')?;
    let (inner, _) = inner.split_once('}')?;
    let value = after_name(inner, key)?;
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let (value, _) = value[1..].split_once(quote)?;
    // A template with an expression in it cannot be known without running the file.
    (!value.is_empty() && !value.contains("${")).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::files as files_of;
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        files_of(root.path()).unwrap().into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn flyways_files_are_read_the_later_ones_over_the_earlier() {
        let conf = "# a comment\nflyway.placeholders.schema = app\nflyway.placeholders.long=one \\\n   two\nflyway.table=h\nother=1\n";
        let toml = "[flyway]\ntable = \"history\"\nschemas = [\"app\", \"b\"]\nplaceholderReplacement = true\n[flyway.placeholders]\nmore = \"x=y\"\n";
        assert_eq!(
            told(&[("conf/flyway.conf", conf), ("flyway.toml", toml)]),
            pairs(&[
                ("flyway.placeholderReplacement", "true"),
                ("flyway.placeholders.long", "one two"),
                ("flyway.placeholders.more", "x=y"),
                ("flyway.placeholders.schema", "app"),
                ("flyway.schemas", "app,b"),
                ("flyway.table", "history"),
            ])
        );
    }

    #[test]
    fn drizzle_and_sqlx_say_where_they_keep_track() {
        let config = "export default defineConfig({ schema: './schema.ts', out: './drizzle', // table: 'no'\n  migrations: {\n    table: 'track', // here\n    schema: \"public\",\n  },\n});";
        assert_eq!(
            told(&[("drizzle.config.ts", config), ("sqlx.toml", "[migrate]\ntable-name = \"app.track\"\n")]),
            pairs(&[
                ("drizzle.migrations.schema", "public"),
                ("drizzle.migrations.table", "track"),
                ("sqlx.migrate.table-name", "app.track"),
            ])
        );
        assert_eq!(told(&[("drizzle.config.json", r#"{"migrations": {"prefix": "index"}, "table": "no"}"#)]), []);
    }

    #[test]
    fn variables_count_more_than_files_and_urls_have_to_agree() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join("flyway.conf"), "flyway.table=one\nflyway.defaultSchema=app\n").unwrap();
        let variables = [("FLYWAY_TABLE", "two"), ("DBMATE_MIGRATIONS_TABLE", "x.track"), ("GOOSE_TABLE", "g")];
        let variable = |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| *value);
        let url = |environment: &str, query: &str| {
            let url = ConnectionUrl::parse(&format!("postgres://u@h/d?{query}")).unwrap();
            (EnvironmentName::parse(environment).unwrap(), url)
        };
        let urls = [url("dev", "x-migrations-table=app"), url("prod", "sslmode=require&x-migrations-table=app")];
        let found: Vec<(String, String)> = said(root.path(), variable, &urls).unwrap().into_iter().collect();
        assert_eq!(
            found,
            pairs(&[
                ("dbmate.table", "x.track"),
                ("flyway.defaultSchema", "app"),
                ("flyway.table", "two"),
                ("golang-migrate.x-migrations-table", "app"),
                ("goose.table", "g"),
            ])
        );
        let found = said(root.path(), |_| None, &[url("dev", "x-migrations-table=app"), url("prod", "")]).unwrap();
        assert!(found[URLS_DISAGREE].contains("dev and prod"), "{found:?}");
        assert!(!found.contains_key("golang-migrate.x-migrations-table"));
    }

    #[test]
    fn a_file_that_is_broken_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join("flyway.toml"), "[flyway\n").unwrap();
        let failure = files_of(root.path()).unwrap_err();
        assert_eq!(failure.code, Code::BadValue);
        assert!(failure.message.contains("flyway.toml"));
    }
}
