//! `dbd.toml`, read by hand along the table of keys, so that an error can name the key, the line and what would have been right.

use super::keys::{self, Key, Kind, Misfit, Value};
use super::{list, nearest};
use crate::domain::code::Code;
use crate::domain::copying::{Mask, RULES};
use crate::domain::failure::{Failure, Place};
use crate::domain::ids::EnvironmentName;
use std::collections::BTreeMap;
use std::ops::Range;
use toml_edit::{Document, Item, TableLike};

/// What the file says, by full path.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// The keys that are there.
    pub(super) found: BTreeMap<String, Found>,
    /// The environments that have a section, with the place of the first one each.
    pub(super) environments: BTreeMap<EnvironmentName, Place>,
    /// `[sandbox.mask]`: columns, and what stands instead of their values.
    pub(super) masks: BTreeMap<String, String>,
    /// What is odd but does not stop anything.
    pub(super) warnings: Vec<Failure>,
}

/// One key that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) source: Source,
    pub(super) place: Place,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A value, written into the file.
    Value(Value),
    /// `{ env = "NAME" }`.
    Variable(String),
}

/// Reads the text of the file that is shown as `file`.
///
/// # Errors
/// [`Code::BadConfig`] if it is not TOML, [`Code::UnknownKey`], [`Code::BadValue`]; each with its place.
pub(super) fn read(file: &str, text: &str) -> Result<Settings, Failure> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let document = Document::parse(text).map_err(|error| {
        // Not the error's `Display`: it quotes the line, which may hold a secret.
        let place = place(file, text, error.span());
        let mut failure = Failure::new(Code::BadConfig, format!("`{file}` is not valid TOML"));
        failure.causes = error.message().lines().map(str::to_owned).collect();
        failure.place = Some(place);
        failure.hint("the syntax is described at https://toml.io")
    })?;
    let mut walk = Walk { file, text, settings: Settings::default() };
    walk.section("", document.as_table())?;
    Ok(walk.settings)
}

/// The failure of a value that does not fit; `shown` is its text, unless it may be a secret.
pub(super) fn misfit(path: &str, key: &Key, why: Misfit, shown: Option<&str>) -> Failure {
    let must = format!("it must be {}", key.kind.allowed());
    let shown = shown.map(shorten).filter(|_| !key.kind.is_secret());
    let message = match (why, shown) {
        (Misfit::NotYet, Some(shown)) => format!("`{path}` cannot be {shown} yet; {must}"),
        (Misfit::NotYet, None) => format!("`{path}` is not available yet; leave it out"),
        (Misfit::Wrong, Some(shown)) => format!("`{path}` is {shown}; {must}"),
        (Misfit::Wrong, None) => format!("`{path}` cannot be read; {must}"),
    };
    let failure = Failure::new(Code::BadValue, message);
    if why == Misfit::NotYet {
        failure
    } else {
        failure.hint(format!("write it like `{} = {}`", key.name(), key.example))
    }
}

struct Walk<'a> {
    file: &'a str,
    text: &'a str,
    settings: Settings,
}

impl Walk<'_> {
    fn place(&self, span: Option<Range<usize>>) -> Place {
        place(self.file, self.text, span)
    }

    fn section(&mut self, path: &str, table: &dyn TableLike) -> Result<(), Failure> {
        for (name, item) in table.iter() {
            let place = self.place(table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span()));
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if path == "environments" {
                let environment = EnvironmentName::parse(name)
                    .filter(|name| name.as_str() != "sandbox")
                    .ok_or_else(|| bad_name(name).placed(place.clone()))?;
                self.settings.environments.entry(environment).or_insert_with(|| place.clone());
            }
            if full == "sandbox.mask" {
                self.masks(item, &place)?;
                continue;
            }
            // A quoted name with a dot in it would look like a path of several names.
            let key = keys::find(&full).filter(|_| !name.contains('.'));
            if let Some(key) = key {
                self.key(&full, key, item, place)?;
            } else if keys::is_section(&full) && !name.contains('.') {
                let table = item.as_table_like().ok_or_else(|| {
                    Failure::new(Code::BadValue, format!("`{full}` is a {}; it must be a section", item.type_name()))
                        .hint(format!("write it as `[{full}]`, with its keys on the lines below"))
                        .placed(place.clone())
                })?;
                self.section(&full, table)?;
            } else {
                return Err(unknown(path, name, &full).placed(place));
            }
        }
        Ok(())
    }

    /// The one section whose keys are the user's own: names of columns.
    fn masks(&mut self, item: &Item, place: &Place) -> Result<(), Failure> {
        let bad = |why: String, place: Place| {
            Failure::new(Code::BadValue, why)
                .hint("write lines like `\"public.customers.email\" = \"email\"` below `[sandbox.mask]`")
                .placed(place)
        };
        let Some(table) = item.as_table_like() else {
            return Err(bad("`sandbox.mask` must be a section".to_owned(), place.clone()));
        };
        for (column, rule) in table.iter() {
            let place = self.place(table.key(column).and_then(toml_edit::Key::span));
            let Some(rule) = rule.as_str() else {
                let names: Vec<&str> = RULES.to_vec();
                return Err(bad(format!("`{column}` in [sandbox.mask] must be one of {}", names.join(", ")), place));
            };
            Mask::parse(column, rule)
                .map_err(|must| bad(format!("`{column}` in [sandbox.mask] must be {must}"), place))?;
            self.settings.masks.insert(column.to_owned(), rule.to_owned());
        }
        Ok(())
    }

    fn key(&mut self, path: &str, key: &'static Key, item: &Item, place: Place) -> Result<(), Failure> {
        let source = match item.as_table_like() {
            Some(table) => self.variable(path, key, table, item)?,
            None => self.value(path, key, item)?,
        };
        if let Source::Value(value) = &source {
            let text = match value {
                Value::Text(text) => Some(text.as_str()),
                Value::Secret(secret) => Some(secret.expose()),
                _ => None,
            };
            if text.is_some_and(|text| key.kind.betrays(text)) {
                self.settings.warnings.push(secret_in_file(path, key, self.file).placed(place.clone()));
            }
        }
        self.settings.found.insert(path.to_owned(), Found { source, place });
        Ok(())
    }

    fn value(&self, path: &str, key: &Key, item: &Item) -> Result<Source, Failure> {
        let read = match item.as_value() {
            Some(toml_edit::Value::String(text)) if !matches!(key.kind, Kind::Flag | Kind::Count { .. }) => {
                key.kind.read_text(text.value())
            }
            Some(toml_edit::Value::Boolean(flag)) => key.kind.read_flag(*flag.value()),
            Some(toml_edit::Value::Integer(number)) => key.kind.read_count(*number.value()),
            _ => Err(Misfit::Wrong),
        };
        read.map(Source::Value).map_err(|why| {
            let shown = item.span().and_then(|span| self.text.get(span)).map(str::trim);
            misfit(path, key, why, shown).placed(self.place(item.span()))
        })
    }

    fn variable(&self, path: &str, key: &Key, table: &dyn TableLike, item: &Item) -> Result<Source, Failure> {
        if let Some((other, _)) = table.iter().find(|(name, _)| *name != "env") {
            let place = self.place(table.key(other).and_then(toml_edit::Key::span));
            return Err(Failure::new(Code::UnknownKey, format!("`{path}.{other}` is not a key dbd knows"))
                .hint(format!("write `{} = {}` or `{0} = {{ env = \"NAME\" }}`", key.name(), key.example))
                .placed(place));
        }
        if matches!(key.kind, Kind::Later) {
            return Err(misfit(path, key, Misfit::NotYet, None).placed(self.place(item.span())));
        }
        let named = table.get("env").and_then(Item::as_str).filter(|name| is_variable_name(name));
        named.map(|name| Source::Variable(name.to_owned())).ok_or_else(|| {
            Failure::new(Code::BadValue, format!("`{path}.env` does not name a variable"))
                .hint(format!("write `{} = {{ env = \"NAME\" }}`; a name has letters, digits and `_`", key.name()))
                .placed(self.place(item.span()))
        })
    }
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn bad_name(name: &str) -> Failure {
    if name == "sandbox" {
        return Failure::new(Code::BadValue, "`sandbox` cannot be the name of an environment")
            .hint("`SANDBOX_POSTGRES_URL` and `sandbox:<id>` already mean something else; choose another name");
    }
    Failure::new(Code::BadValue, format!("`{name}` cannot be the name of an environment"))
        .hint("a name starts with a letter and has lower-case letters, digits, `-` and `_`")
}

fn secret_in_file(path: &str, key: &Key, file: &str) -> Failure {
    // `<NAME>_POSTGRES_URL` becomes `PROD_POSTGRES_URL`; a key without a variable of its own gets one made of its name.
    let environment = path.strip_prefix("environments.").and_then(|rest| rest.split('.').next()).unwrap_or_default();
    let variable = key
        .variable
        .map_or_else(|| key.path.replace("environments.*", environment).replace(['.', '-'], "_"), str::to_owned)
        .replace("<NAME>", environment)
        .replace('-', "_")
        .to_ascii_uppercase();
    Failure::new(Code::SecretInFile, format!("`{path}` is a secret, and it is written in `{file}`"))
        .hint(format!("put it into the variable `{variable}` and write `{} = {{ env = \"{variable}\" }}`", key.name()))
}

fn unknown(section: &str, name: &str, full: &str) -> Failure {
    let failure = Failure::new(Code::UnknownKey, format!("`{full}` is not a key dbd knows"));
    let names = keys::names_in(section);
    if let Some(near) = nearest(name, names.iter().copied()) {
        let near = if section.is_empty() { near.to_owned() } else { format!("{section}.{near}") };
        return failure.hint(format!("did you mean `{near}`?"));
    }
    // The right name in the wrong section: a key below its own section's name, or at the top.
    let elsewhere: Vec<_> = keys::KEYS
        .iter()
        .filter(|key| key.name() == name || key.path == name)
        .map(|key| key.path.replace('*', "<name>"))
        .collect();
    let failure = match elsewhere.as_slice() {
        [] => match nearest(full, keys::KEYS.iter().map(|key| key.path)) {
            Some(near) => failure.hint(format!("did you mean `{}`?", near.replace('*', "<name>"))),
            None => failure,
        },
        some => failure.hint(format!("did you mean {}?", list(some.iter(), "or"))),
    };
    let place = if section.is_empty() { "a file".to_owned() } else { format!("`[{section}]`") };
    failure.hint(format!("{place} may hold {}", list(names.iter(), "and")))
}

/// Line and column, both from 1, of the start of `span`.
fn place(file: &str, text: &str, span: Option<Range<usize>>) -> Place {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX - 1) + 1;
    Place {
        file: file.to_owned(),
        line: count(before.matches('\n').count()),
        column: count(before[line_start..].chars().count()),
    }
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

/// Sets the place of a failure that has none yet.
pub(super) trait Placed {
    fn placed(self, place: Place) -> Self;
}

impl Placed for Failure {
    fn placed(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let failure = read("dbd.toml", text).expect_err(text);
        let place = failure.place.expect("each error of a file has a place");
        let mut out = format!("{} {}:{} {}", failure.code, place.line, place.column, failure.message);
        for line in failure.causes.iter().chain(&failure.hints) {
            out += &format!("\n  {line}");
        }
        out
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        insta::assert_snapshot!(refused("[journal]\npaht = \"x\"\n"), @"
        DBD-0002 2:1 `journal.paht` is not a key dbd knows
          did you mean `journal.path`?
        ");
        insta::assert_snapshot!(refused("[migration]\ndir = \"x\"\n"), @"
        DBD-0002 1:2 `migration` is not a key dbd knows
          did you mean `migrations`?
        ");
        insta::assert_snapshot!(refused("[environments.prod]\nlock_timeot = \"1s\"\n"), @"
        DBD-0002 2:1 `environments.prod.lock_timeot` is not a key dbd knows
          did you mean `environments.prod.lock_timeout`?
        ");
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
        insta::assert_snapshot!(refused("lock_timeout = \"1s\"\n"), @"
        DBD-0002 1:1 `lock_timeout` is not a key dbd knows
          did you mean `environments.<name>.lock_timeout`?
          a file may hold `migrations`, `environments`, `tests`, `check`, `sandbox`, `rollback`, `journal`, `artifacts`, `tools`, `alerts`, `loki`, `neon`, `vercel` and `github`
        ");
        insta::assert_snapshot!(refused("[sandbox]\n\"journal.path\" = \"x\"\n"), @"
        DBD-0002 2:1 `sandbox.journal.path` is not a key dbd knows
          did you mean `journal.path`?
          `[sandbox]` may hold `server`, `data`, `dir`, `user` and `sample`
        ");
    }

    #[test]
    fn a_value_that_does_not_fit_says_what_would() {
        insta::assert_snapshot!(refused("[environments.prod]\n  lock_timeout = \"2h\"\n"), @r#"
        DBD-0003 2:18 `environments.prod.lock_timeout` is `"2h"`; it must be a duration from `1ms` to `10m`
          write it like `lock_timeout = "500ms"`
        "#);
        insta::assert_snapshot!(refused("[environments.prod]\nlock_timeout = 500\n"), @r#"
        DBD-0003 2:16 `environments.prod.lock_timeout` is `500`; it must be a duration from `1ms` to `10m`
          write it like `lock_timeout = "500ms"`
        "#);
        insta::assert_snapshot!(refused("environments.prod.approval = \"yes\"\n"), @r#"
        DBD-0003 1:30 `environments.prod.approval` is `"yes"`; it must be `true` or `false`
          write it like `approval = true`
        "#);
        insta::assert_snapshot!(refused("[environments.prod.health]\nretries = -1\n"), @"
        DBD-0003 2:11 `environments.prod.health.retries` is `-1`; it must be a whole number from 0 to 1000
          write it like `retries = 5`
        ");
        insta::assert_snapshot!(refused("[sandbox.mask]\n'people.email' = 'gone'\n"), @"
        DBD-0003 2:1 `people.email` in [sandbox.mask] must be one of email, name, text, null, hash, number, constant:VALUE
          write lines like `\"public.customers.email\" = \"email\"` below `[sandbox.mask]`
        ");
        insta::assert_snapshot!(refused("[journal]\nurl = { env = \"J\" }\n"), @"
        DBD-0003 2:7 `journal.url` is not available yet; leave it out
        ");
        insta::assert_snapshot!(refused("journal = \"x\"\n"), @"
        DBD-0003 1:1 `journal` is a string; it must be a section
          write it as `[journal]`, with its keys on the lines below
        ");
        insta::assert_snapshot!(refused("[environments.Prod]\n"), @"
        DBD-0003 1:15 `Prod` cannot be the name of an environment
          a name starts with a letter and has lower-case letters, digits, `-` and `_`
        ");
    }

    #[test]
    fn a_reference_names_a_variable_and_nothing_else() {
        insta::assert_snapshot!(refused("[tests]\ncommand = { env = \"A B\" }\n"), @r#"
        DBD-0003 2:11 `tests.command.env` does not name a variable
          write `command = { env = "NAME" }`; a name has letters, digits and `_`
        "#);
        insta::assert_snapshot!(refused("[tests]\ncommand = { env = \"A\", file = \"b\" }\n"), @r#"
        DBD-0002 2:24 `tests.command.file` is not a key dbd knows
          write `command = "npm test"` or `command = { env = "NAME" }`
        "#);
    }

    #[test]
    fn a_syntax_error_is_placed_and_its_line_not_repeated() {
        let text = refused("[alerts]\nsmtp_password = \"hunter2\n");
        assert!(text.starts_with("DBD-0001 2:") && !text.contains("hunter2"), "{text}");
        let text = refused("[alerts]\nsmtp_password = hunter2\n");
        assert!(text.starts_with("DBD-0001 2:") && !text.contains("hunter2"), "{text}");
        let text = refused("[journal]\npath = \"a\"\npath = \"b\"\n");
        assert!(text.starts_with("DBD-0001 3:"), "{text}");
    }

    #[test]
    fn a_secret_in_the_file_is_accepted_with_a_warning_that_does_not_repeat_it() {
        let text =
            "[environments.eu-west]\ndatabase_url = \"postgres://me:hunter2@h/db\"\n[neon]\napi_key = \"hunter2\"\n";
        let settings = read("dbd.toml", text).unwrap();
        let warnings: Vec<_> =
            settings.warnings.iter().map(|warning| (warning.code, warning.hints[0].as_str())).collect();
        assert_eq!(
            warnings,
            [
                (
                    Code::SecretInFile,
                    "put it into the variable `EU_WEST_POSTGRES_URL` and write `database_url = { env = \"EU_WEST_POSTGRES_URL\" }`"
                ),
                (
                    Code::SecretInFile,
                    "put it into the variable `NEON_API_KEY` and write `api_key = { env = \"NEON_API_KEY\" }`"
                ),
            ]
        );
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn a_url_without_a_password_is_no_secret() {
        let text = "[environments.dev]\ndatabase_url = \"postgres://localhost/db\"\n[sandbox]\nserver = \"auto\"\n";
        assert_eq!(read("dbd.toml", text).unwrap().warnings, []);
    }

    #[test]
    fn columns_count_characters() {
        let text = refused("[tests]\n\"ä\" = 1\n");
        assert!(text.starts_with("DBD-0002 2:1 "), "{text}");
        let text = refused("tests = { command = \"ä\", x = 1 }\n");
        assert!(text.starts_with("DBD-0002 1:26 "), "{text}");
    }
}
