//! Which commit is being deployed, asked of the `git` program.

mod port;

pub use port::GitTree;

use super::support::child::{self, Cancel, ChildSpec, Output};
use std::path::Path;
use std::time::Duration;

/// Names of changed files that are kept; their number is kept in full.
const DIRTY_FILES: usize = 20;
/// Enough for the status of a tree with a hundred thousand changes.
const STATUS_LIMIT: usize = 16 << 20;

/// The state of a working tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitState {
    /// The commit checked out; `None` before the first one.
    pub commit: Option<String>,
    /// The branch; `None` if HEAD is detached.
    pub branch: Option<String>,
    /// Whether anything differs from the commit, files git does not know included.
    pub dirty: bool,
    /// How many files differ.
    pub dirty_count: usize,
    /// The first 20 of them, relative to the tree's root.
    pub dirty_files: Vec<String>,
    /// Who wrote the commit: `name <address>`.
    pub author: Option<String>,
    /// Where the branch's remote, else `origin`, is; without user, password and query.
    pub remote: Option<String>,
}

/// The state of the working tree `dir` is in; `None` outside of one, without git, or if git refuses to look.
///
/// Changes nothing, not even git's index; asks for no password; ignores a repository that the environment points at.
pub async fn state(dir: &Path) -> Option<GitState> {
    let status = git(dir, &["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal"]).await?;
    let mut state = parse_status(&status);
    if state.commit.is_some() {
        state.author = line(git(dir, &["log", "-1", "--format=%an <%ae>"]).await);
    }
    let mut remote = "origin".to_owned();
    if let Some(branch) = &state.branch
        && let Some(name) = line(git(dir, &["config", "--get", &format!("branch.{branch}.remote")]).await)
    {
        remote = name;
    }
    state.remote =
        line(git(dir, &["config", "--get", &format!("remote.{remote}.url")]).await).map(|url| strip_credentials(&url));
    Some(state)
}

async fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let mut spec = ChildSpec::new("git", "git").args(["--no-optional-locks"]).args(args.iter().copied());
    spec.cwd = Some(dir.to_owned());
    spec.env_remove =
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"].map(str::to_owned).to_vec();
    spec.env = [("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    spec.output = Output::Capture(STATUS_LIMIT);
    spec.timeout = Some(Duration::from_secs(60));
    let done = child::run(spec, &Cancel::never()).await.ok()?;
    if done.status.success() {
        return Some(done.stdout);
    }
    tracing::debug!(args = ?args, stderr = done.stderr.trim(), "git did not answer");
    None
}

fn line(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Reads `git status --porcelain=v2 --branch -z`.
fn parse_status(text: &str) -> GitState {
    let mut state = GitState {
        commit: None,
        branch: None,
        dirty: false,
        dirty_count: 0,
        dirty_files: Vec::new(),
        author: None,
        remote: None,
    };
    let mut entries = text.split('\0');
    while let Some(entry) = entries.next() {
        let path = match entry.as_bytes().first() {
            Some(b'#') => {
                if let Some(commit) = entry.strip_prefix("# branch.oid ").filter(|commit| *commit != "(initial)") {
                    state.commit = Some(commit.to_owned());
                } else if let Some(branch) =
                    entry.strip_prefix("# branch.head ").filter(|branch| *branch != "(detached)")
                {
                    state.branch = Some(branch.to_owned());
                }
                continue;
            }
            // `1 XY sub mH mI mW hH hI path`, `2 XY sub mH mI mW hH hI Xscore path` NUL `old path`, `u XY sub m1 m2 m3 mW h1 h2 h3 path`
            Some(b'1') => entry.splitn(9, ' ').nth(8),
            Some(b'2') => {
                entries.next();
                entry.splitn(10, ' ').nth(9)
            }
            Some(b'u') => entry.splitn(11, ' ').nth(10),
            Some(b'?') => entry.get(2..),
            _ => None,
        };
        if let Some(path) = path {
            state.dirty_count += 1;
            if state.dirty_files.len() < DIRTY_FILES {
                state.dirty_files.push(path.to_owned());
            }
        }
    }
    state.dirty = state.dirty_count > 0;
    state
}

/// A remote's address without what may be a secret: user and password of a URL, and its query.
fn strip_credentials(remote: &str) -> String {
    // `git@host:path` is no URL, and its user is part of the address.
    let Some((scheme, rest)) = remote.split_once("://") else { return remote.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    // The last one: a password may hold an `@` that was not encoded.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A password with a bare `/` moves its `@` into what looks like the path; a port is only digits.
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let password = port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) && !authority.contains('@');
    match path {
        Some(path) if password => format!("{scheme}://{}", path.rsplit_once('@').map_or("", |(_, rest)| rest)),
        Some(path) => format!("{scheme}://{host}/{path}"),
        None => format!("{scheme}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_apart() {
        let text = "# branch.oid 0123abcd\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +1 -0\0\
            1 .M N... 100644 100644 100644 aaa bbb a file.sql\0\
            2 R. N... 100644 100644 100644 aaa bbb R100 new name\0old name\0\
            u UU N... 100644 100644 100644 100644 aaa bbb ccc both.sql\0? untracked.sql\0! ignored\0";
        let state = parse_status(text);
        assert_eq!((state.commit.as_deref(), state.branch.as_deref()), (Some("0123abcd"), Some("main")));
        assert_eq!(state.dirty_files, ["a file.sql", "new name", "both.sql", "untracked.sql"]);
        assert!(state.dirty);
    }

    #[test]
    fn a_tree_without_commits_and_a_detached_head_have_no_commit_and_no_branch() {
        let state = parse_status("# branch.oid (initial)\0# branch.head main\0");
        assert_eq!((state.commit, state.dirty), (None, false));
        assert_eq!(parse_status("# branch.oid 0123\0# branch.head (detached)\0").branch, None);
    }

    #[test]
    fn only_the_first_changed_files_are_named_and_all_are_counted() {
        let text: String = (0..30).map(|n| format!("? {n}.sql\0")).collect();
        let state = parse_status(&text);
        assert_eq!((state.dirty_count, state.dirty_files.len()), (30, DIRTY_FILES));
    }

    #[test]
    fn a_remote_loses_its_credentials_and_nothing_else() {
        for (remote, expected) in [
            ("https://me:hunter2@example.com/a/b.git", "https://example.com/a/b.git"),
            ("https://hunter2@example.com/a", "https://example.com/a"),
            ("https://me:hun@ter2@example.com/a", "https://example.com/a"),
            ("https://me:hun/ter2@example.com/a", "https://example.com/a"),
            ("https://example.com/a?token=hunter2", "https://example.com/a"),
            ("https://example.com:8443/@scope/a", "https://example.com:8443/@scope/a"),
            ("ssh://git@example.com:22/a", "ssh://example.com:22/a"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
            ("/srv/git/a.git", "/srv/git/a.git"),
            ("file:///srv/a.git", "file:///srv/a.git"),
        ] {
            assert_eq!(strip_credentials(remote), expected, "{remote}");
        }
    }

    /// A repository in a folder of its own, untouched by the settings of whoever runs the test.
    async fn run(dir: &Path, args: &[&str]) {
        let isolated = [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")];
        let mut spec = ChildSpec::new("git", "git")
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false"])
            .args(args.iter().copied())
            .env(isolated.map(|(name, value)| (name.to_owned(), value.to_owned())));
        spec.cwd = Some(dir.to_owned());
        let done = child::run(spec, &Cancel::never()).await.unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    #[tokio::test]
    async fn a_real_tree_is_described_from_any_folder_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(state(dir).await, None, "not a working tree yet");
        run(dir, &["init", "--quiet", "--initial-branch=trunk"]).await;
        fs_err::create_dir(dir.join("migrations")).unwrap();
        fs_err::write(dir.join("migrations/1.sql"), "select 1").unwrap();
        run(dir, &["add", "."]).await;
        run(dir, &["commit", "--quiet", "--message", "one"]).await;
        run(dir, &["remote", "add", "origin", "https://me:hunter2@example.com/shop.git"]).await;

        let clean = state(&dir.join("migrations")).await.unwrap();
        assert_eq!(clean.commit.as_deref().map(str::len), Some(40));
        assert_eq!((clean.branch.as_deref(), clean.dirty), (Some("trunk"), false));
        assert_eq!(clean.author.as_deref(), Some("Ann <ann@example.com>"));
        assert_eq!(clean.remote.as_deref(), Some("https://example.com/shop.git"));

        fs_err::write(dir.join("migrations/2.sql"), "select 2").unwrap();
        assert_eq!(state(dir).await.unwrap().dirty_files, ["migrations/2.sql"]);
    }
}
