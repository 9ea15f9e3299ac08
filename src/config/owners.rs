//! What the configuration of the tools that own migration folders says, as far as dbd has to know it: where they keep track, and the values of
//! Flyway's placeholders.

use super::discover::read_if_there;
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use std::collections::BTreeMap;
use std::path::Path;

/// Flyway's files, the later ones counting more.
const FLYWAY: &[&str] = &["conf/flyway.conf", "flyway.conf", "conf/flyway.toml", "flyway.toml", "flyway.user.toml"];

/// What the tools' files below the project's root say, by tool and key: `flyway.placeholders.schema`.
///
/// # Errors
/// [`Code::FileUnreadable`]; [`Code::BadValue`] for a file that is not what it should be.
pub fn said(root: &Path) -> Result<BTreeMap<String, String>, Failure> {
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
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        said(root.path()).unwrap().into_iter().collect()
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
    fn a_file_that_is_broken_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join("flyway.toml"), "[flyway\n").unwrap();
        let failure = said(root.path()).unwrap_err();
        assert_eq!(failure.code, Code::BadValue);
        assert!(failure.message.contains("flyway.toml"));
    }
}
