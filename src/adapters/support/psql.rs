//! `psql` and what all of libpq's programs share: how they are told where to connect, and what their words mean.

use super::child::{self, Cancel, ChildSpec, Finished, Input, Output, last_lines};
use super::files;
use super::pg_bin::Programs;
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::failure::{Certainty, Failure};
use std::path::Path;

/// How long a connection may take to be made when the URL does not say.
const CONNECT_TIMEOUT_S: &str = "15";
/// The most output kept of a query; a hundred times a catalog of 36,000 objects.
pub const OUTPUT_LIMIT: usize = 512 << 20;

/// Runs SQL, in UTF-8, by `psql` in the database of `url`; the script stops at its first error.
///
/// For work on servers for which dbd has no connection of its own. Not in one transaction, unless the script says so.
///
/// # Errors
/// As PostgreSQL's error says: see [`explain`]; else [`Code::QueryFailed`].
pub async fn run_sql(bin: &Programs, url: &ConnectionUrl, sql: &str, cancel: &Cancel) -> Result<(), Failure> {
    query(bin, url, sql, cancel).await.map(drop)
}

/// Runs SQL like [`run_sql`] and returns the rows it prints, each as one text with `|` between columns, without blanks or headings.
///
/// # Errors
/// Those of [`run_sql`].
pub async fn query(bin: &Programs, url: &ConnectionUrl, sql: &str, cancel: &Cancel) -> Result<Vec<String>, Failure> {
    query_as(bin, url, "dbd", sql, cancel).await
}

/// [`query`] in a session called `application_name`, by which it can be found after its client is gone.
///
/// # Errors
/// Those of [`run_sql`].
pub async fn query_as(
    bin: &Programs,
    url: &ConnectionUrl,
    application_name: &str,
    sql: &str,
    cancel: &Cancel,
) -> Result<Vec<String>, Failure> {
    let mut spec = psql_spec(bin, url, application_name, None).args(["--tuples-only", "--no-align", "--file", "-"]);
    spec.stdin = Input::Bytes(sql.as_bytes().to_vec());
    spec.output = Output::Capture(OUTPUT_LIMIT);
    let done = child::run(spec, cancel).await?;
    if !done.status.success() {
        return Err(explain(
            &done,
            Code::QueryFailed,
            &format!("a statement failed on {}", url.place()),
            Path::new("psql"),
        ));
    }
    Ok(done.stdout.lines().map(str::to_owned).collect())
}

/// A `psql` that stops at the first error, prints SQLSTATEs, reads no start-up file, never asks, and takes SQL in UTF-8.
#[must_use]
pub fn psql_spec(bin: &Programs, url: &ConnectionUrl, application_name: &str, record: Option<&Path>) -> ChildSpec {
    let spec = ChildSpec::new(bin.path("psql"), "psql")
        .args(["--no-psqlrc", "--no-password", "--quiet"])
        .args(["--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose"])
        .env([("PGCLIENTENCODING".to_owned(), "UTF8".to_owned())]);
    connect(spec, url, application_name, record)
}

/// Gives a libpq program what it needs to connect, by environment only, and takes away what would mislead it.
#[must_use]
pub fn connect(spec: ChildSpec, url: &ConnectionUrl, application_name: &str, record: Option<&Path>) -> ChildSpec {
    let mut spec = spec.env([
        // Before the URL's own, which may say otherwise.
        ("PGCONNECT_TIMEOUT".to_owned(), CONNECT_TIMEOUT_S.to_owned()),
        ("PGAPPNAME".to_owned(), application_name.to_owned()),
        // Messages are read, so they must be in the one language we know.
        ("LC_ALL".to_owned(), "C".to_owned()),
    ]);
    spec = spec.env(url.libpq_environment());
    spec.clear_pg_env = true;
    spec.record = record.map(Path::to_owned);
    spec
}

/// `name` as an identifier of SQL.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string constant of SQL, whatever `standard_conforming_strings` says.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// `value` as a value within a libpq connection string.
#[must_use]
pub fn quote_conninfo(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What PostgreSQL or its programs said, as a failure: [`Code::WrongPassword`], [`Code::NoSuchDatabase`], [`Code::CannotConnect`],
/// [`Code::TlsFailed`], [`Code::ToolsTooOld`], [`Code::DiskFull`], [`Code::MissingPrivilege`], [`Code::ReadOnlyTarget`],
/// [`Code::LockTimeout`], [`Code::ConnectionLost`], else `fallback`. `path` is the file it wrote to, whose disk may be full.
#[must_use]
pub fn explain(done: &Finished, fallback: Code, message: &str, path: &Path) -> Failure {
    let (code, certainty) = classify(&done.stderr).unwrap_or((fallback, Certainty::Definite));
    let mut failure = match code {
        Code::DiskFull if done.stderr.contains("53100") || done.stderr.contains("could not extend file") => {
            Failure::new(code, format!("{message}: the server's disk is full")).hint("make room on the server's disk")
        }
        Code::DiskFull => files::disk_full(path),
        _ => Failure::new(code, message),
    }
    .certainty(certainty);
    failure.causes.extend(complaints(&done.stderr));
    if failure.causes.is_empty() {
        failure.causes.push(format!("it ended with {}", done.status));
    }
    match code {
        Code::WrongPassword => failure.hint("check the user and the password in the database URL"),
        Code::ToolsTooOld => {
            failure.hint("install PostgreSQL's client programs of the server's version, or name their folder in PG_BIN")
        }
        Code::MissingPrivilege => {
            failure.hint("the role must own, or be allowed to read, every object it is to dump or restore")
        }
        Code::LockTimeout => failure.hint("another session holds a lock on a table; it is tried again"),
        _ => failure,
    }
}

/// The kind of an error, by its SQLSTATE if it is printed, else by its words.
fn classify(stderr: &str) -> Option<(Code, Certainty)> {
    use Certainty::{Definite, Transient};
    let state = stderr.lines().rev().find_map(sqlstate);
    if let Some(state) = state {
        match state {
            "55P03" | "40P01" | "40001" => return Some((Code::LockTimeout, Transient)),
            "57P01" | "57P02" | "57P03" => return Some((Code::ConnectionLost, Transient)),
            "53100" => return Some((Code::DiskFull, Definite)),
            "42501" => return Some((Code::MissingPrivilege, Definite)),
            "25006" => return Some((Code::ReadOnlyTarget, Definite)),
            state if state.starts_with("08") => return Some((Code::ConnectionLost, Transient)),
            _ => {}
        }
    }
    let rules: &[(&[&str], Code, Certainty)] = &[
        (&["server version mismatch"], Code::ToolsTooOld, Definite),
        (&["No space left on device", "Disk quota exceeded"], Code::DiskFull, Definite),
        (
            &[
                "password authentication failed",
                "no password supplied",
                "no pg_hba.conf entry",
                "Peer authentication failed",
            ],
            Code::WrongPassword,
            Definite,
        ),
        (
            &["server closed the connection unexpectedly", "terminating connection", "SSL SYSCALL error"],
            Code::ConnectionLost,
            Transient,
        ),
        (&["server does not support SSL", "certificate verify failed", "SSL error"], Code::TlsFailed, Definite),
        (
            &["could not obtain lock", "lock timeout", "could not be obtained", "deadlock detected"],
            Code::LockTimeout,
            Transient,
        ),
        (
            &[
                "Connection refused",
                "could not translate host name",
                "timeout expired",
                "Is the server running",
                "could not connect",
            ],
            Code::CannotConnect,
            Transient,
        ),
        (&["permission denied", "must be owner of", "must be superuser"], Code::MissingPrivilege, Definite),
    ];
    if let Some((_, code, certainty)) = rules.iter().find(|(words, ..)| words.iter().any(|word| stderr.contains(word)))
    {
        return Some((*code, *certainty));
    }
    // Only of the one database or role we connect with; a statement may miss others.
    let fatal = stderr.lines().find(|line| line.contains("FATAL:"))?;
    match fatal {
        line if line.contains("database \"") && line.ends_with("does not exist") => {
            Some((Code::NoSuchDatabase, Definite))
        }
        line if line.contains("role \"") => Some((Code::WrongPassword, Definite)),
        _ => Some((Code::CannotConnect, Transient)),
    }
}

/// The SQLSTATE in a line like `psql:x.sql:3: ERROR:  55P03: canceling statement due to lock timeout`.
fn sqlstate(line: &str) -> Option<&str> {
    let (_, rest) = ["ERROR:  ", "FATAL:  ", "PANIC:  "].iter().find_map(|mark| line.split_once(mark))?;
    let (state, _) = rest.split_once(": ")?;
    (state.len() == 5 && state.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())).then_some(state)
}

/// The lines worth reading of what a program said: its errors with their details, else its last lines.
#[must_use]
pub fn complaints(stderr: &str) -> Vec<String> {
    let telling = ["error:", "ERROR:", "FATAL:", "PANIC:", "DETAIL:", "HINT:", "Command was:", "hint:", "detail:"];
    let lines: Vec<String> = stderr
        .lines()
        .filter(|line| telling.iter().any(|word| line.contains(word)))
        // pg_restore repeats the statement that failed: of a user mapping or a subscription, that holds a password.
        .filter(|line| !(line.contains("Command was:") && line.to_ascii_lowercase().contains("password")))
        // A statement may be a whole function.
        .map(|line| line.chars().take(500).collect())
        .collect();
    if lines.is_empty() {
        return last_lines(stderr, 5);
    }
    lines.into_iter().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_say_gets_a_code() {
        use Certainty::{Definite, Transient};
        let connection = "psql: error: connection to server at \"db\" (10.0.0.1), port 5432 failed: ";
        for (stderr, expected) in [
            (
                format!("{connection}FATAL:  password authentication failed for user \"me\""),
                Some((Code::WrongPassword, Definite)),
            ),
            (format!("{connection}fe_sendauth: no password supplied"), Some((Code::WrongPassword, Definite))),
            (format!("{connection}FATAL:  role \"me\" does not exist"), Some((Code::WrongPassword, Definite))),
            (format!("{connection}FATAL:  database \"shop\" does not exist"), Some((Code::NoSuchDatabase, Definite))),
            (format!("{connection}Connection refused"), Some((Code::CannotConnect, Transient))),
            (format!("{connection}FATAL:  the database system is starting up"), Some((Code::CannotConnect, Transient))),
            (format!("{connection}SSL error: certificate verify failed"), Some((Code::TlsFailed, Definite))),
            (
                "pg_dump: error: aborting because of server version mismatch".to_owned(),
                Some((Code::ToolsTooOld, Definite)),
            ),
            (
                "pg_dump: error: could not write to output file: No space left on device".to_owned(),
                Some((Code::DiskFull, Definite)),
            ),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table secrets".to_owned(),
                Some((Code::MissingPrivilege, Definite)),
            ),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout".to_owned(),
                Some((Code::LockTimeout, Transient)),
            ),
            ("psql:a.sql:3: ERROR:  55P03: annuler".to_owned(), Some((Code::LockTimeout, Transient))),
            ("psql:a.sql:3: ERROR:  40P01: deadlock".to_owned(), Some((Code::LockTimeout, Transient))),
            ("psql:a.sql:3: FATAL:  57P01: terminating".to_owned(), Some((Code::ConnectionLost, Transient))),
            ("psql:a.sql:3: ERROR:  53100: could not extend file".to_owned(), Some((Code::DiskFull, Definite))),
            ("psql:a.sql:3: ERROR:  42P01: relation \"x\" does not exist".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(classify(&stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn a_statement_that_holds_a_password_is_not_repeated() {
        let stderr = "pg_restore: error: could not execute query: ERROR:  role \"x\" does not exist\n\
                      Command was: CREATE USER MAPPING FOR x SERVER s OPTIONS (password 'hunter2');";
        let said = complaints(stderr);
        assert_eq!(said.len(), 1);
        assert!(!said.concat().contains("hunter2"));
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("o'clock"), "'o''clock'");
        assert_eq!(quote_literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(quote_conninfo("a'b\\"), "'a\\'b\\\\'");
    }

    #[test]
    fn the_password_goes_by_environment_only() {
        let url = ConnectionUrl::parse("postgres://me:hunter2@db/shop?sslmode=require&connect_timeout=3").unwrap();
        let bin = Programs { dir: "/bin".into(), version: super::super::pg_bin::Version { major: 15, minor: 0 } };
        let spec = psql_spec(&bin, &url, "dbd:x", None);
        assert!(!format!("{:?}", spec.args).contains("hunter2"));
        let last = |name: &str| spec.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(last("PGPASSWORD"), Some("hunter2"));
        assert_eq!(
            (last("PGSSLMODE"), last("PGCONNECT_TIMEOUT"), last("PGAPPNAME")),
            (Some("require"), Some("3"), Some("dbd:x"))
        );
        assert!(spec.clear_pg_env);
    }
}
