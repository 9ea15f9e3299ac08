//! The commented `dbd.toml` that `dbd init` writes: the table of keys, with what was found here filled in.
//!
//! A line that begins with `# ` is prose; one that begins with `#` alone is a key at its default, ready to be uncommented, as in
//! `postgresql.conf`.

use super::FILE_NAME;
use super::discover::Discovered;
use super::keys::{Default, KEYS, Key, SECTIONS};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::EnvironmentName;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// The text of a `dbd.toml` for the project described by `found`. It holds no secret: URLs are named by their variables.
#[must_use]
pub fn init_template(found: &Discovered) -> String {
    let mut out = String::from(
        "# dbd.toml: how dbd deploys this project's migrations.\n\
         #\n\
         # Every key may be left out. A line like `#key = value` shows a key that is not set; remove the `#` to set it.\n\
         # A value may name an environment variable instead: key = { env = \"NAME\" }. Keep secrets there.\n",
    );
    let fallback = ["dev", "prod"].map(|name| EnvironmentName::parse(name).into_iter());
    let environments: Vec<_> = match found.environments.as_slice() {
        [] => fallback.into_iter().flatten().collect(),
        some => some.to_vec(),
    };
    for section in SECTIONS {
        if !section.in_use || section.path.starts_with("environments.*.") {
            continue;
        }
        let _ = write!(out, "\n# {}\n", section.doc);
        if section.path != "environments.*" {
            let _ = writeln!(out, "[{}]", section.path);
            keys_of(section.path, |key| key_lines(&mut out, key, value_found(found, key), true));
            continue;
        }
        for (place, name) in environments.iter().enumerate() {
            // The words are said once, above the first environment.
            let explain = place == 0;
            let known = !found.environments.is_empty();
            let mark = if known { "" } else { "#" };
            let _ = writeln!(out, "{}{mark}[environments.{name}]", if explain { "" } else { "\n" });
            keys_of(section.path, |key| {
                let url = (key.name() == "database_url")
                    .then(|| format!("{{ env = \"{}_POSTGRES_URL\" }}", name.variable_prefix()));
                key_lines(&mut out, key, url.filter(|_| known), explain);
            });
            for below in SECTIONS.iter().filter(|below| below.path.starts_with("environments.*.")) {
                let _ = writeln!(
                    out,
                    "\n{}#[{}]",
                    if explain { format!("# {}\n", below.doc) } else { String::new() },
                    below.path.replace('*', name.as_str())
                );
                keys_of(below.path, |key| key_lines(&mut out, key, None, explain));
            }
        }
    }
    out
}

/// Writes the template to `dbd.toml` in `root` and returns its path; never over a file that is there.
///
/// # Errors
/// [`Code::AlreadyThere`], [`Code::FileUnwritable`].
pub fn write(root: &Path, found: &Discovered) -> Result<PathBuf, Failure> {
    let path = root.join(FILE_NAME);
    let unwritable = |error: std::io::Error| {
        Failure::new(Code::FileUnwritable, format!("`{}` cannot be written", path.display())).source(&error)
    };
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            Failure::new(Code::AlreadyThere, format!("`{}` exists already and was left as it is", path.display()))
                .hint("`dbd explain DBD-0011` tells how to see the keys of this version")
        } else {
            unwritable(error)
        }
    })?;
    file.write_all(init_template(found).as_bytes()).map_err(unwritable)?;
    Ok(path)
}

fn keys_of(section: &str, mut each: impl FnMut(&'static Key)) {
    // A promised key is in the reference; in a fresh file it would only be in the way.
    let usable = |key: &&Key| key.section() == section && !matches!(key.kind, super::keys::Kind::Later);
    KEYS.iter().filter(usable).for_each(&mut each);
}

fn value_found(found: &Discovered, key: &Key) -> Option<String> {
    match key.path {
        "migrations.dir" => found.migrations.first().map(|candidate| quote(&candidate.dir.to_string_lossy())),
        "tests.command" => found.tests.as_deref().map(quote),
        _ => None,
    }
}

fn quote(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn key_lines(out: &mut String, key: &Key, value: Option<String>, explain: bool) {
    if explain {
        let _ = writeln!(out, "# {}", key.doc);
        if let Default::None(words) = key.default
            && value.is_none()
            && words != "none"
        {
            let _ = writeln!(out, "# Left out: {words}.");
        }
    }
    let _ = match value {
        Some(value) => writeln!(out, "{} = {value}", key.name()),
        None => writeln!(out, "#{} = {}", key.name(), key.shown_default()),
    };
}

impl Key {
    /// What a line that is commented out shows: the default, else the example.
    pub(super) fn shown_default(&self) -> String {
        use super::keys::Kind;
        match (self.default, self.kind) {
            (Default::Is(text), Kind::Count { .. } | Kind::Flag) => text.to_owned(),
            (Default::Is(text), _) => quote(text),
            (Default::None(_), _) => self.example.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::discover::Candidate;
    use super::super::file;
    use super::*;

    fn shop() -> Discovered {
        Discovered {
            migrations: vec![Candidate { dir: "db/migrations".into(), named_by: None }],
            environments: ["dev", "eu-west"].iter().filter_map(|name| EnvironmentName::parse(name)).collect(),
            tests: Some("npm test".to_owned()),
        }
    }

    /// Every line that is a key or a section, no longer commented out.
    fn uncommented(text: &str) -> String {
        text.lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line)
            })
            .fold(String::new(), |out, line| out + line + "\n")
    }

    #[test]
    fn what_was_found_is_set_and_the_rest_is_left_at_its_default() {
        let settings = file::read("dbd.toml", &init_template(&shop())).unwrap();
        let keys: Vec<_> = settings.found.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["environments.dev.database_url", "environments.eu-west.database_url", "migrations.dir", "tests.command"]
        );
        assert_eq!(settings.warnings, []);
        let settings = file::read("dbd.toml", &init_template(&Discovered::default())).unwrap();
        assert!(settings.found.is_empty() && settings.environments.is_empty());
    }

    #[test]
    fn every_line_that_is_commented_out_is_valid_and_every_key_is_there() {
        for found in [shop(), Discovered::default()] {
            let text = uncommented(&init_template(&found));
            let settings = file::read("dbd.toml", &text).unwrap_or_else(|failure| panic!("{failure:?}\n{text}"));
            assert_eq!(settings.warnings, []);
            let in_use = |key: &&Key| SECTIONS.iter().any(|section| section.path == key.section() && section.in_use);
            for key in KEYS.iter().filter(in_use).filter(|key| !matches!(key.kind, super::super::keys::Kind::Later)) {
                let path = key.path.replace('*', "dev");
                assert!(settings.found.contains_key(&path), "{path}");
            }
        }
    }

    #[test]
    fn a_path_with_quotes_stays_one_value() {
        let dir = r#"a "b" \c"#;
        let found =
            Discovered { migrations: vec![Candidate { dir: dir.into(), named_by: None }], ..Discovered::default() };
        assert!(file::read("dbd.toml", &init_template(&found)).unwrap().found.contains_key("migrations.dir"));
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let path = write(root.path(), &Discovered::default()).unwrap();
        fs_err::write(&path, "# mine\n").unwrap();
        assert_eq!(write(root.path(), &Discovered::default()).unwrap_err().code, Code::AlreadyThere);
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "# mine\n");
    }
}
