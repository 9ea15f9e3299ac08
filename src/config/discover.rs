//! What a project folder tells by itself: where its migrations are, how its tests are run.

use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::ids::EnvironmentName;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Where migrations usually are, in the order they are looked for.
pub const USUAL_PLACES: &[&str] =
    &["drizzle", "migrations", "prisma/migrations", "db/migrations", "supabase/migrations"];

pub(super) const DRIZZLE_CONFIGS: &[&str] = &["ts", "mts", "cts", "js", "mjs", "cjs", "json"];

/// A folder that exists and may hold the migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The folder, relative to the root.
    pub dir: PathBuf,
    /// What led to it: a configuration file's name, or nothing if it is one of the usual places.
    pub named_by: Option<String>,
}

/// What a project folder tells by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The folders that may hold the migrations, the likeliest first.
    pub migrations: Vec<Candidate>,
    /// The environments that are known without a file: their `<NAME>_POSTGRES_URL` is set.
    pub environments: Vec<EnvironmentName>,
    /// How the project's tests seem to be run.
    pub tests: Option<String>,
}

/// Looks at everything `dbd init` wants to know; the `environments` are those already known. Reads files; starts nothing.
///
/// # Errors
/// [`Code::FileUnreadable`].
pub fn project(root: &Path, environments: Vec<EnvironmentName>) -> Result<Discovered, Failure> {
    Ok(Discovered { migrations: migrations(root)?, environments, tests: tests(root)? })
}

/// The folders that exist and may hold migrations: `out` of `drizzle.config.*`, then the usual places.
///
/// # Errors
/// [`Code::FileUnreadable`].
pub fn migrations(root: &Path) -> Result<Vec<Candidate>, Failure> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |dir: PathBuf, named_by: Option<String>| {
        if root.join(&dir).is_dir() && !found.iter().any(|candidate| candidate.dir == dir) {
            found.push(Candidate { dir, named_by });
        }
    };
    for extension in DRIZZLE_CONFIGS {
        let name = format!("drizzle.config.{extension}");
        if let Some(out) = read_if_there(&root.join(&name))?.as_deref().and_then(drizzle_out) {
            add(tidy(Path::new(&out)), Some(name));
        }
    }
    for place in USUAL_PLACES {
        add(PathBuf::from(place), None);
    }
    Ok(found)
}

/// How the tests seem to be run: only what a file says in so many words.
fn tests(root: &Path) -> Result<Option<String>, Failure> {
    let Some(package) = read_if_there(&root.join("package.json"))? else { return Ok(None) };
    let script = serde_json::from_str::<serde_json::Value>(&package)
        .ok()
        .and_then(|package| package.pointer("/scripts/test").and_then(|script| script.as_str().map(str::to_owned)))
        // What `npm init` puts there fails on purpose.
        .filter(|script| !script.contains("no test specified"));
    let runner = [("pnpm-lock.yaml", "pnpm test"), ("yarn.lock", "yarn test"), ("bun.lock", "bun run test")]
        .into_iter()
        .find(|(lock, _)| root.join(lock).is_file())
        .map_or("npm test", |(_, command)| command);
    Ok(script.map(|_| runner.to_owned()))
}

/// The text of `out: "..."` in a Drizzle configuration. A light scan: the file is a program and is not run.
fn drizzle_out(text: &str) -> Option<String> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).find_map(|line| {
        line.match_indices("out").find_map(|(at, word)| {
            let before = line[..at].trim_end_matches(['"', '\'']).chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.') {
                return None;
            }
            let rest = line[at + word.len()..].trim_start_matches(['"', '\'']).trim_start();
            let rest = rest.strip_prefix(':')?.trim_start();
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
            let (out, _) = rest[1..].split_once(quote)?;
            // A template with an expression in it cannot be known without running the file.
            (!out.is_empty() && !out.contains("${")).then(|| out.to_owned())
        })
    })
}

/// `./a/b/` as `a/b`, so that the same folder named twice is seen to be the same.
fn tidy(path: &Path) -> PathBuf {
    path.components().filter(|component| !matches!(component, Component::CurDir)).collect()
}

pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, Failure> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => {
            Err(Failure::new(Code::FileUnreadable, format!("`{}` cannot be read", path.display())).source(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(dirs: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in dirs {
            fs_err::create_dir_all(root.path().join(dir)).unwrap();
        }
        root
    }

    fn dirs(root: &Path) -> Vec<String> {
        migrations(root).unwrap().into_iter().map(|found| found.dir.display().to_string()).collect()
    }

    #[test]
    fn the_usual_places_come_in_their_order() {
        let root =
            folders(&["supabase/migrations", "db/migrations", "prisma/migrations", "migrations", "drizzle", "other"]);
        assert_eq!(dirs(root.path()), USUAL_PLACES);
        assert_eq!(dirs(folders(&["src"]).path()), [""; 0]);
    }

    #[test]
    fn what_the_drizzle_configuration_names_comes_first_and_once() {
        let root = folders(&["db/migrations", "drizzle", "sql/out"]);
        let config = "export default defineConfig({\n  // out: './old',\n  schema: './layout.ts',\n  out: \"./sql/out/\",\n});\n";
        fs_err::write(root.path().join("drizzle.config.ts"), config).unwrap();
        assert_eq!(dirs(root.path()), ["sql/out", "drizzle", "db/migrations"]);
        assert_eq!(migrations(root.path()).unwrap()[0].named_by.as_deref(), Some("drizzle.config.ts"));
        fs_err::write(root.path().join("drizzle.config.ts"), "export default { out: './drizzle' }").unwrap();
        assert_eq!(dirs(root.path()), ["drizzle", "db/migrations"]);
        fs_err::write(root.path().join("drizzle.config.ts"), "export default { out: './nowhere' }").unwrap();
        assert_eq!(dirs(root.path()), ["drizzle", "db/migrations"], "a folder that does not exist is no candidate");
    }

    #[test]
    fn out_is_found_however_it_is_written_and_never_guessed() {
        for (text, out) in [
            ("out: 'a'", Some("a")),
            ("\"out\": \"a/b\",", Some("a/b")),
            ("{ dialect: 'postgresql', out:`x` }", Some("x")),
            ("layout: 'a'", None),
            ("'timeout': 'a'", None),
            ("out: process.env.OUT", None),
            ("out: `${base}/x`", None),
            ("// out: 'a'", None),
            ("out", None),
        ] {
            assert_eq!(drizzle_out(text).as_deref(), out, "{text}");
        }
    }

    #[test]
    fn a_test_script_is_run_by_the_projects_own_package_manager() {
        let root = folders(&[]);
        let package = root.path().join("package.json");
        assert_eq!(tests(root.path()), Ok(None));
        fs_err::write(&package, r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#).unwrap();
        assert_eq!(tests(root.path()), Ok(None));
        fs_err::write(&package, r#"{"scripts": {"test": "vitest"}}"#).unwrap();
        assert_eq!(tests(root.path()), Ok(Some("npm test".to_owned())));
        fs_err::write(root.path().join("pnpm-lock.yaml"), "").unwrap();
        assert_eq!(tests(root.path()), Ok(Some("pnpm test".to_owned())));
        fs_err::write(&package, "not json").unwrap();
        assert_eq!(tests(root.path()), Ok(None));
    }
}
