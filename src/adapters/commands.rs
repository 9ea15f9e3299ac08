//! The user's own commands: tests in the sandbox, smoke tests of the target, probes.

mod port;

pub use port::Shell;

use super::support::child::{self, Cancel, ChildSpec, Output, Tail};
use super::support::files;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::Failure;
use crate::domain::ids::{EffectId, RunId};
use crate::domain::secret::Secret;
use regex::Regex;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

/// Bytes of the end of the output that are kept for messages and reports.
const TAIL: usize = 16 * 1024;
/// Bytes of the end of the output that are searched for the runner's counts.
const SEARCHED: usize = 4 << 20;
/// What a secret is replaced by.
const REDACTED: &[u8] = b"[secret]";

/// One command to be run by `sh -c`.
///
/// Not safe to repeat unless the user says so: it does whatever it does. It gets its effect's id, so that it can tell itself.
#[derive(Debug)]
pub struct CommandOrder<'a> {
    /// The command line.
    pub command: &'a str,
    /// The project's root, where it runs.
    pub root: &'a Path,
    /// The database it is to work on: `DATABASE_URL`, and libpq's own variables, so that nothing finds another one by accident.
    pub database_url: Option<&'a ConnectionUrl>,
    /// The application: `APP_URL`.
    pub app_url: Option<&'a str>,
    /// `DBD_RUN_ID`.
    pub run: &'a RunId,
    /// `DBD_EFFECT_ID`.
    pub effect: &'a EffectId,
    /// More variables.
    pub env: Vec<(String, String)>,
    /// Where its output goes, stdout and stderr as they come, without secrets.
    pub output: &'a Path,
    /// What must not be seen in it, besides the database's URL and password.
    pub secrets: Vec<Secret>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Where to record the child process.
    pub record: Option<PathBuf>,
    /// What it is, in messages: `the tests`.
    pub label: &'a str,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandDone {
    /// Its exit code; `None` if a signal ended it.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it took.
    pub duration: Duration,
    /// The end of its output.
    pub tail: String,
    /// How many tests ran, if it says so in a way that is known.
    pub counts: Option<Counts>,
}

impl CommandDone {
    /// Whether it ended with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.exit == Some(0)
    }
}

/// How many tests there were, and how they came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that passed.
    pub passed: u64,
    /// Those that failed, or could not be run.
    pub failed: u64,
    /// Those that were left out.
    pub skipped: u64,
}

/// Runs a command to its end; any exit code is an `Ok`. The output file is in place afterwards in either case.
///
/// # Errors
/// Those of [`child::run`], without secrets; [`crate::domain::code::Code::FileUnwritable`] and `DiskFull` for the output file.
pub async fn run(order: CommandOrder<'_>, cancel: &Cancel) -> Result<CommandDone, Failure> {
    let mut spec = ChildSpec::new("sh", order.label).args(["-c", order.command]);
    spec.cwd = Some(order.root.to_owned());
    spec.clear_pg_env = true;
    spec.merge_stderr = true;
    spec.output = Output::Capture(0);
    spec.timeout = order.timeout;
    spec.record = order.record;
    let mut secrets = order.secrets;
    if let Some(url) = order.database_url {
        secrets.extend(secrets_of(url));
        spec.env.extend(url.libpq_environment());
        spec.env.push(("DATABASE_URL".to_owned(), url.expose().to_owned()));
    } else {
        // One inherited would be of some other database.
        spec.env_remove.push("DATABASE_URL".to_owned());
    }
    spec.env.extend(order.app_url.map(|url| ("APP_URL".to_owned(), url.to_owned())));
    spec.env.push(("DBD_RUN_ID".to_owned(), order.run.to_string()));
    spec.env.push(("DBD_EFFECT_ID".to_owned(), order.effect.to_string()));
    spec.env.extend(order.env);

    let partial = files::with_suffix(order.output, ".partial");
    let mut file = files::create_private(&partial).map_err(|error| files::unwritable(&partial, &error))?;
    let mut redactor = Redactor::new(&secrets);
    let mut tail = Tail::new(SEARCHED);
    let mut written = Ok(());
    let mut take = |bytes: Vec<u8>| {
        tail.push(&bytes);
        if written.is_ok() {
            written = file.write_all(&bytes);
        }
    };
    let result = child::run_watched(spec, cancel, &mut |_, bytes| take(redactor.push(bytes))).await;
    take(redactor.finish());
    written
        .and_then(|()| file.sync_all())
        .and_then(|()| fs_err::rename(&partial, order.output))
        .and_then(|()| files::sync_folder_of(order.output))
        .map_err(|error| files::unwritable(order.output, &error))?;

    let text = tail.into_text();
    let done = result.map_err(|mut failure| {
        failure.causes.extend(child::last_lines(&text, 5));
        failure.hint(format!("its output is in {}", order.output.display()))
    })?;
    let mut end = Tail::new(TAIL);
    end.push(text.as_bytes());
    Ok(CommandDone {
        exit: done.status.code(),
        signal: done.status.signal(),
        duration: done.duration,
        tail: end.into_text(),
        counts: test_counts(&text),
    })
}

/// The texts that give a URL's password away.
fn secrets_of(url: &ConnectionUrl) -> Vec<Secret> {
    let Some(password) = url.password() else { return Vec::new() };
    // As it stands in the URL it may be percent-encoded.
    let encoded = url::Url::parse(url.expose()).ok().and_then(|url| url.password().map(Secret::new));
    [Some(Secret::new(url.expose())), Some(password.clone()), encoded].into_iter().flatten().collect()
}

/// Replaces secrets in a stream, wherever it is cut.
#[derive(Debug)]
struct Redactor {
    /// Longest first: of two that start alike, the longer one must be seen whole.
    secrets: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Redactor {
    fn new(secrets: &[Secret]) -> Self {
        let mut secrets: Vec<Vec<u8>> = secrets.iter().map(|secret| secret.expose().as_bytes().to_vec()).collect();
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets, held: Vec::new() }
    }

    /// What may be shown now; the rest is held back until it is known whether a secret starts there.
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let longest = self.secrets.first().map_or(0, Vec::len);
        self.release(longest.saturating_sub(1))
    }

    fn finish(&mut self) -> Vec<u8> {
        self.release(0)
    }

    /// Releases everything but the last `keep` bytes, in which a longer secret might still begin.
    fn release(&mut self, keep: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at + keep < self.held.len() {
            match self.secrets.iter().find(|secret| self.held[at..].starts_with(secret)) {
                Some(secret) => {
                    out.extend_from_slice(REDACTED);
                    at += secret.len();
                }
                None => {
                    out.push(self.held[at]);
                    at += 1;
                }
            }
        }
        self.held.drain(..at);
        out
    }
}

// ------------------------------------------------------------------------------------------------------------ counting tests

/// How many tests a runner says it ran, read from its output; `None` if no runner is recognised.
///
/// Knows cargo test, nextest, pytest, jest, vitest, mocha, go test (-v, and -json's lines count as nothing), TAP (node:test among them),
/// PHPUnit, Pest and RSpec. A runner that sums up several times (cargo test, once for each binary) is added up. When several
/// runners speak, all of them count.
#[must_use]
pub fn test_counts(output: &str) -> Option<Counts> {
    let text = ANSI.replace_all(output, "");
    let runners = [cargo, nextest, pytest, jest, mocha, go, tap, phpunit, rspec];
    runners.iter().filter_map(|runner| runner(&text)).fold(None, add)
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a constant, and tested"));
    };
}

pattern!(ANSI, r"\x1b\[[0-9;:?]*[ -/]*[@-~]");
pattern!(CARGO, r"(?m)^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored");
pattern!(NEXTEST, r"(?m)^\s*Summary \[[^\]]*\]\s+[\d/]+ tests? run: (.*)$");
pattern!(
    PYTEST,
    r"(?m)^(?:=+ )?((?:\d+ (?:passed|failed|errors?|skipped|deselected|xfailed|xpassed|warnings?|rerun)(?:, )?)+) in [\d.]+s"
);
pattern!(JEST, r"(?m)^\s*Tests:?\s+(.*\d.*)$");
pattern!(MOCHA_PASSING, r"(?m)^\s+(\d+) passing\b");
pattern!(MOCHA_FAILING, r"(?m)^\s+(\d+) failing\b");
pattern!(MOCHA_PENDING, r"(?m)^\s+(\d+) pending\b");
pattern!(GO, r"(?m)^\s*--- (PASS|FAIL|SKIP): ");
pattern!(GO_PACKAGE, r"(?m)^(ok|FAIL)\s+\S+\s+(?:[\d.]+s|\(cached\)|\[build failed\])");
pattern!(TAP_SUM, r"(?m)^(?:#|ℹ) (pass|fail|skipped|todo|cancelled) +(\d+)\s*$");
pattern!(TAP_PLAN, r"(?m)^1\.\.\d+\s*$");
pattern!(TAP_LINE, r"(?mi)^(not )?ok\b(?: \d+)?([^\n]*)$");
pattern!(PHPUNIT_OK, r"(?m)^OK \((\d+) tests?, ");
pattern!(PHPUNIT, r"(?m)^Tests: (\d+), Assertions: (\d+)(.*)$");
pattern!(RSPEC, r"(?m)^(\d+) examples?, (\d+) failures?(.*)$");
pattern!(
    NUMBER_WORD,
    r"(\d+)\s+(?:\w+ )?(passed|failed|errors?|skipped|pending|todo|timed out|xfailed|xpassed|flaky)\b"
);

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// `3 passed, 1 failed, 2 skipped` in any order, with any separator.
fn words(text: &str) -> Counts {
    let mut counts = Counts::default();
    for found in NUMBER_WORD.captures_iter(text) {
        let n = number(&found[1]);
        match &found[2] {
            "passed" | "xpassed" => counts.passed += n,
            "failed" | "error" | "errors" | "timed out" => counts.failed += n,
            "flaky" => {} // passed at last, and counted there
            _ => counts.skipped += n,
        }
    }
    counts
}

fn add(sum: Option<Counts>, more: Counts) -> Option<Counts> {
    let sum = sum.unwrap_or_default();
    Some(Counts {
        passed: sum.passed + more.passed,
        failed: sum.failed + more.failed,
        skipped: sum.skipped + more.skipped,
    })
}

fn cargo(text: &str) -> Option<Counts> {
    CARGO.captures_iter(text).fold(None, |sum, found| {
        add(sum, Counts { passed: number(&found[1]), failed: number(&found[2]), skipped: number(&found[3]) })
    })
}

fn nextest(text: &str) -> Option<Counts> {
    NEXTEST.captures_iter(text).fold(None, |sum, found| {
        // `5 passed (1 slow, 2 leaky), 1 failed, 3 skipped`: what is in parentheses passed already.
        let plain: String = found[1].split('(').flat_map(|part| part.rsplit(')').next()).collect();
        add(sum, words(&plain))
    })
}

fn pytest(text: &str) -> Option<Counts> {
    PYTEST.captures_iter(text).fold(None, |sum, found| add(sum, words(&found[1])))
}

fn jest(text: &str) -> Option<Counts> {
    // jest: `Tests:       1 failed, 2 skipped, 5 passed, 8 total`; vitest: `Tests  1 failed | 5 passed (6)`; Pest: `Tests:    2 passed (4 assertions)`.
    JEST.captures_iter(text).fold(None, |sum, found| {
        let counts = words(&found[1]);
        if counts == Counts::default() { sum } else { add(sum, counts) }
    })
}

fn mocha(text: &str) -> Option<Counts> {
    let sum = |pattern: &Regex| pattern.captures_iter(text).map(|found| number(&found[1])).sum();
    // mocha always says how many passed, even 0.
    MOCHA_PASSING.is_match(text).then(|| Counts {
        passed: sum(&MOCHA_PASSING),
        failed: sum(&MOCHA_FAILING),
        skipped: sum(&MOCHA_PENDING),
    })
}

fn go(text: &str) -> Option<Counts> {
    let tests = GO.captures_iter(text).fold(None, |sum, found| {
        let mut one = Counts::default();
        match &found[1] {
            "PASS" => one.passed = 1,
            "FAIL" => one.failed = 1,
            _ => one.skipped = 1,
        }
        add(sum, one)
    });
    // Without -v only failures are named, and a package that passed is one line: then packages are all there is to count.
    match tests {
        Some(counts) if counts.passed > 0 || !text.contains("\nok ") => Some(counts),
        _ => {
            let packages = GO_PACKAGE.captures_iter(text).fold(None, |sum, found| {
                let ok = &found[1] == "ok";
                add(sum, Counts { passed: u64::from(ok), failed: u64::from(!ok), skipped: 0 })
            });
            match (tests, packages) {
                // The failed tests are known by name; only the packages that passed add to them.
                (Some(tests), Some(packages)) => Some(Counts { passed: packages.passed, ..tests }),
                (tests, packages) => tests.or(packages),
            }
        }
    }
}

fn tap(text: &str) -> Option<Counts> {
    let sums = TAP_SUM.captures_iter(text).fold(None, |sum, found| {
        let n = number(&found[2]);
        let mut more = Counts::default();
        match &found[1] {
            "pass" => more.passed = n,
            "fail" | "cancelled" => more.failed = n,
            _ => more.skipped = n,
        }
        add(sum, more)
    });
    if sums.is_some() || !TAP_PLAN.is_match(text) {
        return sums;
    }
    TAP_LINE.captures_iter(text).fold(None, |sum, found| {
        let directive = found[2].to_ascii_lowercase();
        let mut one = Counts::default();
        if directive.contains("# skip") || directive.contains("# todo") {
            one.skipped = 1;
        } else if found.get(1).is_some() {
            one.failed = 1;
        } else {
            one.passed = 1;
        }
        add(sum, one)
    })
}

fn phpunit(text: &str) -> Option<Counts> {
    let ok = PHPUNIT_OK
        .captures_iter(text)
        .fold(None, |sum, found| add(sum, Counts { passed: number(&found[1]), ..Counts::default() }));
    PHPUNIT.captures_iter(text).fold(ok, |sum, found| {
        let mut counts = Counts::default();
        // `, Errors: 1, Failures: 2, Warnings: 1, Skipped: 3, Incomplete: 1.`
        for part in found[3].trim_end_matches('.').split(", ") {
            match part.split_once(": ") {
                Some(("Errors" | "Failures", n)) => counts.failed += number(n),
                Some(("Skipped" | "Incomplete", n)) => counts.skipped += number(n),
                _ => {}
            }
        }
        counts.passed = number(&found[1]).saturating_sub(counts.failed + counts.skipped);
        add(sum, counts)
    })
}

fn rspec(text: &str) -> Option<Counts> {
    RSPEC.captures_iter(text).fold(None, |sum, found| {
        let (all, failed, skipped) = (number(&found[1]), number(&found[2]), words(&found[3]).skipped);
        add(sum, Counts { passed: all.saturating_sub(failed + skipped), failed, skipped })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_counts_of_each_runner_are_read() {
        for (what, output, expected) in [
            (
                "cargo test",
                "test result: ok. 5 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n\ntest result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured",
                Some((8, 1, 2)),
            ),
            (
                "nextest",
                "     Summary [   0.5s] 6 tests run: 5 passed (1 slow, 1 leaky), 1 failed, 3 skipped",
                Some((5, 1, 3)),
            ),
            ("nextest, one", "     Summary [   0.005s] 1 test run: 1 passed, 0 skipped", Some((1, 0, 0))),
            (
                "nextest, cancelled",
                "     Summary [   0.5s] 2/9 tests run: 1 passed, 1 failed, 0 skipped",
                Some((1, 1, 0)),
            ),
            ("pytest", "===== 1 failed, 5 passed, 2 skipped, 1 xfailed, 3 warnings in 0.12s =====", Some((5, 1, 3))),
            ("pytest -q", "5 passed in 0.01s", Some((5, 0, 0))),
            ("pytest, errors", "=== 2 passed, 1 error in 1.00s (0:00:01) ===", Some((2, 1, 0))),
            (
                "jest",
                "Test Suites: 1 failed, 2 passed, 3 total\nTests:       1 failed, 2 skipped, 5 passed, 8 total\nSnapshots:   0 total",
                Some((5, 1, 2)),
            ),
            (
                "vitest",
                " Test Files  1 failed | 1 passed (2)\n      Tests  1 failed | 5 passed | 1 todo (7)\n",
                Some((5, 1, 1)),
            ),
            (
                "vitest in colour",
                "\u{1b}[2m      Tests \u{1b}[22m \u{1b}[1m\u{1b}[32m5 passed\u{1b}[39m\u{1b}[22m\u{1b}[90m (5)\u{1b}[39m",
                Some((5, 0, 0)),
            ),
            ("mocha", "\n  5 passing (12ms)\n  2 pending\n  1 failing\n\n  1) a test", Some((5, 1, 2))),
            (
                "go test -v",
                "=== RUN   TestA\n--- PASS: TestA (0.00s)\n    --- PASS: TestA/sub (0.00s)\n--- FAIL: TestB (0.00s)\n--- SKIP: TestC (0.00s)\nFAIL\nFAIL\texample.com/x\t0.003s",
                Some((2, 1, 1)),
            ),
            (
                "go test",
                "ok  \texample.com/a\t0.003s\nok  \texample.com/b\t(cached)\n?   \texample.com/c\t[no test files]",
                Some((2, 0, 0)),
            ),
            (
                "go test, failed",
                "--- FAIL: TestB (0.00s)\nFAIL\nFAIL\texample.com/b\t0.003s\nok  \texample.com/a\t0.003s",
                Some((1, 1, 0)),
            ),
            (
                "node:test",
                "ok 1 - a\n1..6\n# tests 6\n# suites 0\n# pass 4\n# fail 1\n# cancelled 0\n# skipped 1\n# todo 0\n# duration_ms 5",
                Some((4, 1, 1)),
            ),
            ("node:test, spec", "ℹ tests 6\nℹ pass 5\nℹ fail 1\n", Some((5, 1, 0))),
            (
                "TAP",
                "TAP version 13\n1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no database\nok 4\n",
                Some((2, 1, 1)),
            ),
            ("PHPUnit", "OK (5 tests, 9 assertions)", Some((5, 0, 0))),
            (
                "PHPUnit, failed",
                "FAILURES!\nTests: 7, Assertions: 9, Errors: 1, Failures: 2, Skipped: 1.",
                Some((3, 3, 1)),
            ),
            ("Pest", "  Tests:    1 failed, 2 passed (4 assertions)\n  Duration: 0.1s", Some((2, 1, 0))),
            ("RSpec", "5 examples, 1 failure, 1 pending", Some((3, 1, 1))),
            ("RSpec, one", "1 example, 0 failures", Some((1, 0, 0))),
            ("two runners", "5 passed in 0.01s\nTests:       5 passed, 5 total", Some((10, 0, 0))),
            ("none", "everything is fine\nok then\nTests: see above\n1 file passed", None),
            ("nothing", "", None),
        ] {
            let expected = expected.map(|(passed, failed, skipped)| Counts { passed, failed, skipped });
            assert_eq!(test_counts(output), expected, "{what}");
        }
    }

    fn order<'a>(command: &'a str, folder: &'a Path, output: &'a Path, ids: &'a (RunId, EffectId)) -> CommandOrder<'a> {
        CommandOrder {
            command,
            root: folder,
            database_url: None,
            app_url: None,
            run: &ids.0,
            effect: &ids.1,
            env: Vec::new(),
            output,
            secrets: Vec::new(),
            timeout: None,
            record: None,
            label: "the tests",
        }
    }

    fn ids() -> (RunId, EffectId) {
        let run = RunId::parse("deploy-dev-1").unwrap();
        let effect = EffectId::derive("o", &run, "tests", b"");
        (run, effect)
    }

    #[tokio::test]
    async fn a_command_gets_its_variables_and_its_output_is_kept_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let (output, ids) = (folder.path().join("tests.log"), ids());
        let url = ConnectionUrl::parse("postgres://me:hunt%2Fer2@db:6543/shop").unwrap();
        let command = "echo $DBD_RUN_ID $DBD_EFFECT_ID $APP_URL $PGHOST $PGPORT $PGDATABASE; echo $DATABASE_URL >&2; \
            echo pw $PGPASSWORD tok-123; pwd; echo '5 passed in 0.01s'; exit 7";
        let mut order = order(command, folder.path(), &output, &ids);
        order.database_url = Some(&url);
        order.app_url = Some("https://app");
        order.secrets = vec![Secret::new("tok-123")];
        let done = run(order, &Cancel::never()).await.unwrap();
        assert_eq!((done.exit, done.signal, done.success()), (Some(7), None, false));
        assert_eq!(done.counts, Some(Counts { passed: 5, ..Counts::default() }));
        let text = fs_err::read_to_string(&output).unwrap();
        let root = fs_err::canonicalize(folder.path()).unwrap();
        let expected = format!(
            "deploy-dev-1 {} https://app db 6543 shop\n[secret]\npw [secret] [secret]\n{}\n5 passed in 0.01s\n",
            ids.1,
            root.display()
        );
        assert_eq!(text, expected);
        assert_eq!(done.tail, expected);
        assert!(!files::with_suffix(&output, ".partial").exists());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_leaves_its_output_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (output, ids) = (folder.path().join("tests.log"), ids());
        let mut order = order("echo started with tok-123; exec sleep 600", folder.path(), &output, &ids);
        order.timeout = Some(Duration::from_secs(2));
        order.secrets = vec![Secret::new("tok-123")];
        let failure = run(order, &Cancel::never()).await.unwrap_err();
        assert_eq!(failure.code, crate::domain::code::Code::CommandTimeout);
        assert_eq!(failure.causes, ["started with [secret]"]);
        assert!(failure.hints[0].contains("tests.log"));
        assert_eq!(fs_err::read_to_string(&output).unwrap(), "started with [secret]\n");
    }

    #[tokio::test]
    async fn a_signal_is_told_apart_from_an_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let (output, ids) = (folder.path().join("x.log"), ids());
        let done = run(order("kill -9 $$", folder.path(), &output, &ids), &Cancel::never()).await.unwrap();
        assert_eq!((done.exit, done.signal), (None, Some(9)));
    }

    fn redacted(secrets: &[&str], pieces: &[&[u8]]) -> Vec<u8> {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        let mut redactor = Redactor::new(&secrets);
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| redactor.push(piece)).collect();
        out.extend(redactor.finish());
        out
    }

    #[test]
    fn the_longer_of_two_secrets_that_start_alike_goes_whole() {
        assert_eq!(redacted(&["abc", "abcdef"], &[b"x abcd", b"ef abc y"]), b"x [secret] [secret] y");
        assert_eq!(redacted(&[""], &[b"nothing to hide"]), b"nothing to hide");
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_is_hidden(
            text in "[ab]{0,40}",
            secrets in prop::collection::vec("[ab]{1,5}", 1..4),
            size in 1_usize..8,
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let whole = redacted(&secrets, &[text.as_bytes()]);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(redacted(&secrets, &pieces), whole.clone());
            let whole = String::from_utf8(whole).unwrap();
            for between in whole.split("[secret]") {
                for secret in &secrets {
                    prop_assert!(!between.contains(secret));
                }
            }
        }
    }
}
