//! Finds PostgreSQL's own programs on this machine.

use super::child::{self, Cancel, ChildSpec};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The version of a program or server, as `15.18`; a development version has 0 for its minor part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 15 of `15.18`.
    pub major: u32,
    /// 18 of `15.18`.
    pub minor: u32,
}

/// A folder that holds a set of PostgreSQL's programs, all of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The folder.
    pub dir: PathBuf,
    /// The version the programs say they have.
    pub version: Version,
}

/// Where to look. The values come from the configuration and the environment; nothing is read from there here.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// `tools.pg_bin`: if given, only this folder counts.
    pub explicit: Option<PathBuf>,
    /// The value of `PG_BIN`: if given, only this folder counts.
    pub pg_bin: Option<PathBuf>,
    /// The value of `PATH`.
    pub path: Option<OsString>,
    /// Folders looked at after `path`; [`known_places`] in earnest.
    pub places: Vec<PathBuf>,
}

/// What a set of programs is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `pg_dump`, `pg_restore`, `psql`.
    Client,
    /// `postgres`, `initdb`.
    Server,
}

impl Version {
    /// Reads the version out of what `pg_dump --version` prints, `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("(PostgreSQL)")?;
        let word = rest.split_whitespace().next()?;
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let major_end = digits(word);
        let major = word[..major_end].parse().ok()?;
        let after = word[major_end..].strip_prefix('.').unwrap_or_default();
        Some(Self { major, minor: after[..digits(after)].parse().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Programs {
    /// The path of one program.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

impl Need {
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Client => &["pg_dump", "pg_restore", "psql"],
            Self::Server => &["postgres", "initdb"],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Client => "client programs (pg_dump, pg_restore, psql)",
            Self::Server => "server programs (postgres, initdb)",
        }
    }
}

/// The folders where packages put PostgreSQL's programs, without those in PATH. Reads the file system; those that exist only.
#[must_use]
pub fn known_places() -> Vec<PathBuf> {
    let versioned = [
        ("/usr/lib/postgresql", "bin"),                          // Debian, Ubuntu
        ("/usr", "bin"),              // Fedora, RHEL: /usr/pgsql-17/bin, see the filter below
        ("/opt/homebrew/opt", "bin"), // Homebrew on Apple silicon
        ("/usr/local/opt", "bin"),    // Homebrew on Intel
        ("/home/linuxbrew/.linuxbrew/opt", "bin"), // Homebrew on Linux
        ("/Applications/Postgres.app/Contents/Versions", "bin"), // Postgres.app
    ];
    let mut places = Vec::new();
    for (parent, bin) in versioned {
        let Ok(entries) = fs_err::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let versioned = name.starts_with(|first: char| first.is_ascii_digit());
            if versioned || ["pgsql-", "postgresql", "libpq"].iter().any(|prefix| name.starts_with(prefix)) {
                places.push(entry.path().join(bin));
            }
        }
    }
    places.extend(["/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    places.retain(|place| place.is_dir());
    places.sort();
    places
}

/// Finds programs for a target of `target_major`; without one, any version does.
///
/// The folder of `explicit`, else of `pg_bin`, is taken as it is. Otherwise, of all folders in `path` and `places`, in this order:
/// the newest of the target's own major version, as only such a dump is certain to load there again (a newer `pg_dump` writes
/// settings an older server does not know); else the nearest newer one. Among equals the first found wins.
///
/// # Errors
/// [`Code::ToolsMissing`] with how to install them; [`Code::ToolsTooOld`] if all found are older than the target.
pub async fn find(search: &Search, need: Need, target_major: Option<u32>) -> Result<Programs, Failure> {
    for (given, origin) in [(&search.explicit, "the configured folder"), (&search.pg_bin, "the folder in PG_BIN")] {
        let Some(dir) = given else { continue };
        return match look_at(dir, need).await {
            Some(programs) if target_major.is_none_or(|major| programs.version.major >= major) => Ok(programs),
            Some(programs) => Err(too_old(need, &[programs], target_major.unwrap_or_default())),
            None => Err(missing(need, target_major, &format!("{origin}, {}, does not hold them all", dir.display()))),
        };
    }
    let mut found: Vec<Programs> = Vec::new();
    for dir in candidates(search) {
        found.extend(look_at(&dir, need).await);
    }
    match best(&found, target_major) {
        Some(programs) => Ok(programs.clone()),
        None if found.is_empty() => {
            Err(missing(need, target_major, "neither PATH nor the usual folders hold them all"))
        }
        None => Err(too_old(need, &found, target_major.unwrap_or_default())),
    }
}

fn best(found: &[Programs], target_major: Option<u32>) -> Option<&Programs> {
    let key = |programs: &Programs| {
        let Version { major, minor } = programs.version;
        match target_major {
            // Nearest major first, then the newest of that.
            Some(target) => Some((std::cmp::Reverse(major.checked_sub(target)?), minor)),
            None => Some((std::cmp::Reverse(u32::MAX - major), minor)),
        }
    };
    // `max_by_key` would take the last of equals.
    found.iter().rev().filter(|programs| key(programs).is_some()).max_by_key(|programs| key(programs))
}

fn candidates(search: &Search) -> Vec<PathBuf> {
    let in_path = search.path.iter().flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>());
    let mut seen = BTreeSet::new();
    in_path
        .chain(search.places.iter().cloned())
        .filter(|dir| dir.is_absolute())
        .filter(|dir| seen.insert(fs_err::canonicalize(dir).unwrap_or_else(|_| dir.clone())))
        .collect()
}

async fn look_at(dir: &Path, need: Need) -> Option<Programs> {
    let programs = need.programs();
    let mut first = None;
    for program in programs {
        let target = fs_err::canonicalize(dir.join(program)).ok()?;
        // Debian's wrapper guesses a version from the clusters of this machine; the programs behind it are found anyway.
        if target.file_name().is_some_and(|name| name == "pg_wrapper") {
            return None;
        }
        first = first.or(Some(target));
    }
    let version = version_of(dir, programs[0], first?).await?;
    Some(Programs { dir: dir.to_owned(), version })
}

/// The version `program` says it has. It is asked once for as long as the file, `target`, stays the same.
async fn version_of(dir: &Path, program: &'static str, target: PathBuf) -> Option<Version> {
    static KNOWN: Mutex<BTreeMap<(PathBuf, SystemTime), Version>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let written = fs_err::metadata(&target).and_then(|metadata| metadata.modified()).ok()?;
    let key = (target, written);
    let version = known().get(&key).copied();
    if version.is_some() {
        return version;
    }
    let mut spec = ChildSpec::new(dir.join(program), program).args(["--version"]);
    spec.timeout = Some(Duration::from_secs(20));
    spec.clear_pg_env = true;
    let done = child::run(spec, &Cancel::never()).await.ok()?;
    let version = Version::parse(&done.stdout).filter(|_| done.status.success())?;
    known().insert(key, version);
    Some(version)
}

fn missing(need: Need, major: Option<u32>, why: &str) -> Failure {
    let failure = Failure::new(Code::ToolsMissing, format!("PostgreSQL's {} were not found: {why}", need.words()));
    install_hints(failure, need, major)
        .hint("or say where they are: `pg_bin` under `[tools]` in dbd.toml, or PG_BIN in the environment")
}

fn too_old(need: Need, found: &[Programs], major: u32) -> Failure {
    let newest = found.iter().max_by_key(|programs| programs.version);
    let what = newest.map_or_else(String::new, |programs| {
        format!("; the newest are {} in {}", programs.version, programs.dir.display())
    });
    let failure = Failure::new(
        Code::ToolsTooOld,
        format!("PostgreSQL's {} are older than the server, which is version {major}{what}", need.words()),
    );
    install_hints(failure, need, Some(major))
}

fn install_hints(failure: Failure, need: Need, major: Option<u32>) -> Failure {
    let (debian, fedora) = match need {
        Need::Client => ("postgresql-client", "postgresql"),
        Need::Server => ("postgresql", "postgresql-server"),
    };
    let dash = major.map_or_else(String::new, |major| format!("-{major}"));
    let at = major.map_or_else(String::new, |major| format!("@{major}"));
    let failure = failure
        .hint(format!("Debian, Ubuntu: apt-get install {debian}{dash}"))
        .hint(format!("Fedora: dnf install {fedora}"))
        .hint(format!("macOS: brew install postgresql{at}"));
    match major {
        Some(_) => failure.hint("a version your system does not package is at https://www.postgresql.org/download/"),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(root: &Path, name: &str, version: &str, programs: &[&str]) -> PathBuf {
        let dir = root.join(name);
        fs_err::create_dir_all(&dir).unwrap();
        for program in programs {
            let path = dir.join(program);
            let body = format!("echo '{program} (PostgreSQL) {version}'");
            crate::adapters::support::write_script(&path, &body);
        }
        dir
    }

    const CLIENT: &[&str] = &["pg_dump", "pg_restore", "psql"];

    #[test]
    fn a_version_is_read_from_what_the_program_prints() {
        for (text, expected) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some((15, 18))),
            ("postgres (PostgreSQL) 18beta1", Some((18, 0))),
            ("psql (PostgreSQL) 19devel", Some((19, 0))),
            ("pg_dump (PostgreSQL) 9.6.24", Some((9, 6))),
            ("pg_dump (EnterpriseDB) x", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), expected.map(|(major, minor)| Version { major, minor }), "{text}");
        }
    }

    #[test]
    fn the_targets_own_major_wins_then_the_nearest_newer() {
        let all: Vec<_> = [(14, 9), (15, 2), (15, 18), (16, 1), (17, 0)]
            .iter()
            .map(|&(major, minor)| Programs {
                dir: format!("/{major}.{minor}").into(),
                version: Version { major, minor },
            })
            .collect();
        let best = |target| best(&all, target).map(|programs| programs.version.to_string());
        assert_eq!(best(Some(15)).as_deref(), Some("15.18"));
        assert_eq!(best(Some(13)).as_deref(), Some("14.9"));
        assert_eq!(best(Some(17)).as_deref(), Some("17.0"));
        assert_eq!(best(Some(18)), None);
        assert_eq!(best(None).as_deref(), Some("17.0"));
    }

    #[tokio::test]
    async fn the_given_folder_is_taken_alone_and_in_order() {
        let root = tempfile::tempdir().unwrap();
        let old = fake(root.path(), "old", "14.1", CLIENT);
        let new = fake(root.path(), "new", "17.1", CLIENT);
        let mut search = Search { explicit: Some(new.clone()), pg_bin: Some(old.clone()), ..Search::default() };
        assert_eq!(find(&search, Need::Client, Some(15)).await.unwrap().dir, new);
        search.explicit = None;
        search.places = vec![new];
        let failure = find(&search, Need::Client, Some(15)).await.unwrap_err();
        assert_eq!(failure.code, Code::ToolsTooOld);
        assert!(failure.message.contains("14.1") && failure.message.contains("15"), "{failure}");
    }

    #[tokio::test]
    async fn incomplete_folders_and_debians_wrapper_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let incomplete = fake(root.path(), "incomplete", "15.9", &["pg_dump"]);
        let wrapper = fake(root.path(), "share", "15.9", &["pg_wrapper"]).join("pg_wrapper");
        let wrapped = root.path().join("wrapped");
        fs_err::create_dir_all(&wrapped).unwrap();
        for program in CLIENT {
            fs_err::os::unix::fs::symlink(&wrapper, wrapped.join(program)).unwrap();
        }
        let whole = fake(root.path(), "whole", "15.1", CLIENT);
        let mut search = Search {
            path: Some(std::env::join_paths([&incomplete, &wrapped]).unwrap()),
            places: vec![whole.clone()],
            ..Search::default()
        };
        let found = find(&search, Need::Client, Some(15)).await.unwrap();
        assert_eq!(found, Programs { dir: whole, version: Version { major: 15, minor: 1 } });
        search.places.clear();
        let failure = find(&search, Need::Client, Some(15)).await.unwrap_err();
        assert_eq!(failure.code, Code::ToolsMissing);
        assert!(failure.hints.iter().any(|hint| hint.contains("apt-get install postgresql-client-15")), "{failure:?}");
        let failure = find(&search, Need::Server, None).await.unwrap_err();
        assert!(failure.hints.iter().any(|hint| hint.ends_with("apt-get install postgresql")), "{failure:?}");
    }
}
