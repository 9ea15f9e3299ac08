//! `pg_dump`, `pg_restore` and `psql`: the dump that is at once backup, copy and base of a rollback, and the ways back from it.

mod port;

pub use port::PgTools;

use super::support::child::{self, Cancel, ChildSpec, Finished, Output, Stream};
use super::support::files;
use super::support::pg_bin::Programs;
use super::support::psql::{
    OUTPUT_LIMIT, complaints, connect, explain, psql_spec, query, quote_conninfo, quote_ident, run_sql,
};
use crate::domain::code::Code;
use crate::domain::connection::ConnectionUrl;
use crate::domain::digest::Digest;
use crate::domain::failure::{Certainty, Failure};
use crate::domain::ids::EffectId;
use crate::ports::backup::Section;
use crate::ports::boundary::{Boundary, passed};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the growing dump is measured for its progress.
const MEASURE: Duration = Duration::from_millis(200);
/// How long `pg_dump` waits for a table lock before it gives up: somebody else's DDL is not ours to wait for without end.
const DUMP_LOCK_WAIT: Duration = Duration::from_secs(30);

// ---------------------------------------------------------------------------------------------------------------- the dump

/// One dump to be taken.
///
/// Safe to repeat: a second attempt of the same effect starts anew under the same temporary name. In doubt: [`dumped`], after
/// [`child::kill_leftover`] on the record. Undo: remove the file, if anything.
#[derive(Debug)]
pub struct DumpOrder<'a> {
    /// Client programs, not older than the server.
    pub bin: &'a Programs,
    /// The database.
    pub url: &'a ConnectionUrl,
    /// A snapshot exported by a session that stays open meanwhile; without one `pg_dump` takes its own.
    pub snapshot: Option<String>,
    /// Schemas to leave out, by their exact names; dbd's own, to begin with.
    pub exclude_schemas: Vec<String>,
    /// Where the dump is to be.
    pub final_path: PathBuf,
    /// The effect this dump is; part of the temporary name and the name of its session.
    pub effect: EffectId,
    /// Where to record the child process.
    pub record: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// How a dump is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard, level 1: almost as fast as none, and smaller than gzip.
    Zstd,
    /// gzip, level 1: what `pg_dump` before 16, or built without Zstandard, can do.
    Gzip,
}

/// A dump that is complete, verified and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// The file, in PostgreSQL's custom format: any `pg_restore` not older than [`Dumped::pg_dump`] reads it.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How it is compressed.
    pub compression: Compression,
    /// The version of the `pg_dump` that made it.
    pub pg_dump: String,
}

/// What lies beside a dump, as `<dump>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Sidecar {
    digest: Digest,
    bytes: u64,
    effect: EffectId,
    pg_dump: String,
    compression: Compression,
}

/// Takes a dump in the custom format, verifies that it can be read to its end, and puts it in place durably.
///
/// Written as `<final>.partial-<effect>`, read back by `pg_restore` and digested, synced; then the sidecar, then the rename. So the
/// final name holds a whole dump or nothing new. Mode 0600. `progress` is given the bytes written so far.
///
/// # Errors
/// [`Code::DiskFull`] (the partial file is removed), [`Code::DumpDamaged`] if what was written cannot be read back, the causes of a
/// connection failing ([`Code::WrongPassword`], [`Code::CannotConnect`], ...), [`Code::LockTimeout`] if a table is locked,
/// [`Code::ToolsTooOld`], [`Code::MissingPrivilege`], else [`Code::DumpFailed`] with what `pg_dump` said.
pub async fn dump(order: &DumpOrder<'_>, cancel: &Cancel, progress: &mut dyn FnMut(u64)) -> Result<Dumped, Failure> {
    let partial = partial_path(&order.final_path, &order.effect);
    let result = dump_to(order, &partial, cancel, progress).await;
    if result.is_err() {
        let _ = files::remove_if_there(&partial);
    }
    result
}

/// Where the dump of `effect` is while it is being written.
#[must_use]
pub fn partial_path(final_path: &Path, effect: &EffectId) -> PathBuf {
    files::with_suffix(final_path, &format!(".partial-{effect}"))
}

fn sidecar_path(final_path: &Path) -> PathBuf {
    files::with_suffix(final_path, ".json")
}

async fn dump_to(
    order: &DumpOrder<'_>,
    partial: &Path,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64),
) -> Result<Dumped, Failure> {
    let mut compression = if order.bin.version.major >= 16 { Compression::Zstd } else { Compression::Gzip };
    loop {
        // pg_dump truncates a file that is there and leaves its mode alone.
        files::create_private(partial).map_err(|error| files::unwritable(partial, &error))?;
        let run = child::run(dump_spec(order, partial, compression), cancel);
        let measured = measure(run, partial, progress).await;
        let done = measured.map_err(|failure| timed_out(failure, Code::DumpFailed))?;
        if done.status.success() {
            break;
        }
        if compression == Compression::Zstd && done.stderr.contains("build does not support compression") {
            compression = Compression::Gzip;
            continue;
        }
        return Err(explain(&done, Code::DumpFailed, &format!("the dump of {} failed", order.url), partial));
    }

    let (digest, bytes) = read_back(order.bin, partial, cancel).await?;
    progress(bytes);
    let dumped =
        Dumped { path: order.final_path.clone(), bytes, digest, compression, pg_dump: order.bin.version.to_string() };
    passed(Boundary::DumpWritten, "");
    settle(&dumped, partial, &order.effect)?;
    passed(Boundary::DumpNamed, "");
    Ok(dumped)
}

fn dump_spec(order: &DumpOrder<'_>, partial: &Path, compression: Compression) -> ChildSpec {
    let compress = match compression {
        Compression::Zstd => "--compress=zstd:1",
        Compression::Gzip => "--compress=1",
    };
    let mut args: Vec<std::ffi::OsString> = ["--format=custom", "--no-password", compress].map(Into::into).to_vec();
    args.push(format!("--lock-wait-timeout={}", DUMP_LOCK_WAIT.as_millis()).into());
    args.push("--file".into());
    args.push(partial.into());
    args.extend(order.snapshot.iter().map(|snapshot| format!("--snapshot={snapshot}").into()));
    for schema in &order.exclude_schemas {
        // pg_dump takes patterns; within double quotes every character stands for itself.
        let (name, all) = schema.strip_suffix('*').map_or((schema.as_str(), ""), |begins| (begins, "*"));
        args.push(format!("--exclude-schema=\"{}\"{all}", name.replace('"', "\"\"")).into());
    }
    let mut spec = ChildSpec::new(order.bin.path("pg_dump"), "pg_dump").args(args);
    spec.timeout = order.timeout;
    connect(spec, order.url, &order.effect.application_name(), order.record.as_deref())
}

async fn measure<T>(work: impl Future<Output = T>, file: &Path, progress: &mut dyn FnMut(u64)) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(MEASURE);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            _ = ticks.tick() => if let Ok(metadata) = fs_err::metadata(file) { progress(metadata.len()) },
        }
    }
}

/// Syncs, describes and renames a verified dump, in an order in which a crash never shows half of it.
fn settle(dumped: &Dumped, partial: &Path, effect: &EffectId) -> Result<(), Failure> {
    let sidecar = Sidecar {
        digest: dumped.digest.clone(),
        bytes: dumped.bytes,
        effect: effect.clone(),
        pg_dump: dumped.pg_dump.clone(),
        compression: dumped.compression,
    };
    let text = serde_json::to_vec_pretty(&sidecar).map_err(|error| {
        Failure::new(Code::Bug, "the description of a dump cannot be written as JSON").source(&error)
    })?;
    let written = (|| {
        fs_err::File::open(partial)?.sync_all()?;
        // An older dump must not be described by the new sidecar, not even for a moment.
        files::remove_if_there(&dumped.path)
    })();
    written.map_err(|error| files::unwritable(&dumped.path, &error))?;
    files::write_durably(&sidecar_path(&dumped.path), &text)?;
    passed(Boundary::DumpDescribed, "");
    fs_err::rename(partial, &dumped.path)
        .and_then(|()| files::sync_folder_of(&dumped.path))
        .map_err(|error| files::unwritable(&dumped.path, &error))
}

/// The probe: the dump that `effect` put at `final_path`, if it did, its digest checked again.
///
/// `None` if there is none, or it is another effect's. Call it only after the child that may be writing has been ended.
///
/// # Errors
/// [`Code::DumpDamaged`] if it is this effect's and its bytes are not those it was made of; [`Code::FileUnreadable`].
pub async fn dumped(final_path: &Path, effect: &EffectId) -> Result<Option<Dumped>, Failure> {
    let Some((sidecar, described)) = describe(final_path)? else { return Ok(None) };
    if sidecar.effect != *effect {
        return Ok(None);
    }
    check_digest(final_path, &described.digest).await?;
    Ok(Some(described))
}

/// What is written beside the dump at `path`, without a look at its bytes; `None` if either file is missing.
///
/// # Errors
/// [`Code::FileUnreadable`], [`Code::DumpDamaged`] if the description cannot be understood.
pub fn described(path: &Path) -> Result<Option<Dumped>, Failure> {
    Ok(describe(path)?.map(|(_, dumped)| dumped))
}

fn describe(path: &Path) -> Result<Option<(Sidecar, Dumped)>, Failure> {
    let beside = sidecar_path(path);
    let text = match fs_err::read(&beside) {
        Ok(text) if path.is_file() => text,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files::unreadable(&beside, &error)),
    };
    let sidecar: Sidecar = serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Code::DumpDamaged, format!("the description of a dump cannot be read: {}", beside.display()))
            .source(&error)
    })?;
    let dumped = Dumped {
        path: path.to_owned(),
        bytes: sidecar.bytes,
        digest: sidecar.digest.clone(),
        compression: sidecar.compression,
        pg_dump: sidecar.pg_dump.clone(),
    };
    Ok(Some((sidecar, dumped)))
}

/// Checks a dump: its bytes against `expected`, and that `pg_restore` can read it from its first to its last one.
///
/// # Errors
/// [`Code::DumpDamaged`], saying which of the two it failed; [`Code::FileUnreadable`].
pub async fn verify(bin: &Programs, path: &Path, expected: &Digest, cancel: &Cancel) -> Result<(), Failure> {
    check_digest(path, expected).await?;
    read_back(bin, path, cancel).await.map(drop)
}

async fn check_digest(path: &Path, expected: &Digest) -> Result<(), Failure> {
    let (digest, _) = digest_of(path).await?;
    if digest == *expected {
        return Ok(());
    }
    Err(Failure::new(Code::DumpDamaged, format!("the dump is not the one that was made: {}", path.display()))
        .cause(format!("its digest is {digest}, not {expected}"))
        .hint("take another one with `dbd backup create`, and look for what changed this file"))
}

/// Whether an entry belongs to a capture of dbd's, which was installed in the target when the dump was taken: its functions are in no dump.
fn of_capture(entry: &TocEntry) -> bool {
    match entry.kind.as_str() {
        "TRIGGER" => entry.tag.rsplit(' ').next().is_some_and(|name| name.starts_with("!dbd_")),
        "PUBLICATION" | "PUBLICATION TABLE" => entry.tag.starts_with("dbd_"),
        "COMMENT" | "ACL" => entry.tag.starts_with("PUBLICATION dbd_"),
        _ => false,
    }
}

/// Whether an entry is a foreign key, or the comment of one.
fn of_foreign_key(entry: &TocEntry, all: &[TocEntry]) -> bool {
    let is_named = |tag: &str| {
        let (name, table) = tag.split_once(" ON ").unwrap_or_default();
        all.iter().any(|one| {
            one.kind == "FK CONSTRAINT" && one.schema == entry.schema && one.tag == format!("{table} {name}")
        })
    };
    entry.kind == "FK CONSTRAINT"
        || entry.kind == "COMMENT" && entry.tag.strip_prefix("CONSTRAINT ").is_some_and(is_named)
}

/// Reads a dump to its end, twice at once: by `pg_restore`, which checks what is in it, and for its digest.
async fn read_back(bin: &Programs, path: &Path, cancel: &Cancel) -> Result<(Digest, u64), Failure> {
    list(bin, path, cancel).await?;
    let spec = restore_spec(bin).args(["--file", "/dev/null"]).args([path]);
    let (done, digest) = tokio::join!(child::run(spec, cancel), digest_of(path));
    let done = done?;
    if !done.status.success() {
        return Err(damaged(path, &done));
    }
    digest
}

fn damaged(path: &Path, done: &Finished) -> Failure {
    let mut failure = Failure::new(Code::DumpDamaged, format!("the dump cannot be read: {}", path.display()));
    failure.causes.extend(complaints(&done.stderr));
    failure
}

/// The digest and length of a file, computed beside everything else.
async fn digest_of(path: &Path) -> Result<(Digest, u64), Failure> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut hasher = blake3::Hasher::new();
        let result = (|| {
            let mut file = fs_err::File::open(&path)?;
            let mut buffer = vec![0; 1 << 20];
            let mut length = 0;
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    return Ok(length);
                }
                length += count as u64;
                hasher.update(&buffer[..count]);
            }
        })();
        result
            .map(|length| (Digest::from_hash(hasher.finalize()), length))
            .map_err(|error| files::unreadable(&path, &error))
    });
    read.await.map_err(|error| Failure::new(Code::Bug, "reading a dump was interrupted").source(&error))?
}

// ------------------------------------------------------------------------------------------------------ what is in the dump

/// One line of a dump's table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocEntry {
    /// Its number within the dump.
    pub dump_id: u32,
    /// What it is: `TABLE`, `TABLE DATA`, `FK CONSTRAINT`, `ACL`, ...
    pub kind: String,
    /// The schema it is in, if it is in one.
    pub schema: Option<String>,
    /// Its name; with the table first for what belongs to one (`orders orders_pkey`). For the `ACL` and `COMMENT` of another
    /// object, that object's kind first (`TABLE orders`).
    pub tag: String,
    /// Its owner; may be empty.
    pub owner: String,
    /// The line as `pg_restore --list` printed it.
    pub line: String,
}

/// Kinds of more than one word, each before any that it starts with. `pg_restore` puts no mark between a kind and what follows.
const LONG_KINDS: &[&str] = &[
    "ACCESS METHOD",
    "CHECK CONSTRAINT",
    "DATABASE PROPERTIES",
    "DEFAULT ACL",
    "EVENT TRIGGER",
    "FK CONSTRAINT",
    "FOREIGN DATA WRAPPER",
    "FOREIGN SERVER",
    "FOREIGN TABLE",
    "INDEX ATTACH",
    "LARGE OBJECT",
    "MATERIALIZED VIEW DATA",
    "MATERIALIZED VIEW",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURAL LANGUAGE",
    "PUBLICATION TABLES IN SCHEMA",
    "PUBLICATION TABLE",
    "ROW SECURITY",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "SERVER",
    "SHELL TYPE",
    "STATISTICS DATA",
    "SUBSCRIPTION TABLE",
    "TABLE ATTACH",
    "TABLE DATA",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "USER MAPPING",
];

impl TocEntry {
    /// Reads a line like `215; 1259 16385 TABLE public orders shop_owner`; `None` for a comment or anything else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (dump_id, rest) = line.split_once("; ")?;
        let dump_id = dump_id.parse().ok()?;
        let (_table_oid, rest) = rest.split_once(' ')?;
        let (_oid, rest) = rest.split_once(' ')?;
        let kind = LONG_KINDS
            .iter()
            .copied()
            .find(|kind| rest.strip_prefix(kind).is_some_and(|after| after.starts_with(' ')))
            .or_else(|| rest.split(' ').next())?;
        let rest = rest[kind.len()..].strip_prefix(' ')?;
        let (schema, rest) = rest.split_once(' ')?;
        // The owner comes last and holds no blank, as good as always; a tag may.
        let (tag, owner) = rest.rsplit_once(' ').unwrap_or((rest, ""));
        Some(Self {
            dump_id,
            kind: kind.to_owned(),
            schema: (schema != "-").then(|| schema.to_owned()),
            tag: tag.to_owned(),
            owner: owner.to_owned(),
            line: line.to_owned(),
        })
    }
}

/// The table of contents of a dump, in the order it would be restored.
///
/// # Errors
/// [`Code::DumpDamaged`] if it cannot be read.
pub async fn list(bin: &Programs, path: &Path, cancel: &Cancel) -> Result<Vec<TocEntry>, Failure> {
    let mut spec = restore_spec(bin).args(["--list"]).args([path]);
    spec.output = Output::Capture(OUTPUT_LIMIT);
    let done = child::run(spec, cancel).await?;
    if !done.status.success() {
        return Err(damaged(path, &done));
    }
    Ok(done.stdout.lines().filter_map(TocEntry::parse).collect())
}

fn restore_spec(bin: &Programs) -> ChildSpec {
    let mut spec = ChildSpec::new(bin.path("pg_restore"), "pg_restore").env([("LC_ALL".to_owned(), "C".to_owned())]);
    spec.clear_pg_env = true;
    spec
}

// -------------------------------------------------------------------------------------------------------------- a copy of it

/// A dump to be restored into an empty database of a sandbox.
///
/// Safe to repeat only on another empty database: a copy that failed is dropped with its database. Runs in one transaction, so
/// that rows go in without being logged, and either all is there or nothing.
#[derive(Debug)]
pub struct RestoreCopyOrder<'a> {
    /// Client programs, not older than those the dump was made with.
    pub bin: &'a Programs,
    /// The dump.
    pub dump: &'a Path,
    /// The empty database.
    pub sandbox: &'a ConnectionUrl,
    /// The major version of the sandbox's server.
    pub server_major: u32,
    /// Every role of the target: the dump's owners, privileges and policies may name any of them.
    pub roles: Vec<String>,
    /// Whether roles that are missing may be made. On a server of the user's they may not: roles outlive a database.
    pub may_create_roles: bool,
    /// Whether the target has no schema `public`; every new database has one, and no dump says that it is to go.
    pub drop_public: bool,
    /// Whether the rows are left out.
    pub schema_only: bool,
    /// The part that is restored; everything without one.
    pub section: Option<Section>,
    /// Whether foreign keys are left out, with their comments.
    pub without_foreign_keys: bool,
    /// A folder for the list of what is restored.
    pub work_dir: &'a Path,
    /// Where to record the child process.
    pub record: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// How far a restore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Tables whose rows are being or have been put in.
    pub tables: usize,
    /// Tables there are in all.
    pub of: usize,
    /// The table at hand.
    pub table: String,
}

/// How a copy came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Whether owners and privileges are those of the target.
    pub owners_kept: bool,
    /// What is not as in the target, in sentences.
    pub notes: Vec<String>,
}

/// Restores a dump into an empty database, faithfully: owners, privileges and all; without subscriptions, which would connect
/// elsewhere, and tablespaces, which are places on another machine. Statistics are gathered afterwards.
///
/// # Errors
/// [`Code::SandboxFailed`] naming an extension the sandbox's server does not have; [`Code::DumpDamaged`]; [`Code::DiskFull`];
/// else [`Code::RestoreFailed`] with what PostgreSQL said.
pub async fn restore_copy(
    order: &RestoreCopyOrder<'_>,
    cancel: &Cancel,
    progress: &mut dyn FnMut(RestoreProgress),
) -> Result<Restored, Failure> {
    let entries = list(order.bin, order.dump, cancel).await?;
    check_extensions(order, &entries, cancel).await?;
    let mut notes = Vec::new();
    let missing = missing_roles(order, cancel).await?;
    let owners_kept = missing.is_empty() || order.may_create_roles;
    if !owners_kept {
        notes.push(format!(
            "owners and privileges were left out: the sandbox's server lacks {}, for instance `{}`",
            plural(missing.len(), "role"),
            missing[0]
        ));
    } else if !missing.is_empty() {
        let script: String =
            missing.iter().map(|role| format!("CREATE ROLE {} NOLOGIN;\n", quote_ident(role))).collect();
        run_sql(order.bin, order.sandbox, &script, cancel).await?;
    }
    if order.drop_public && order.section != Some(Section::PostData) {
        run_sql(order.bin, order.sandbox, "DROP SCHEMA IF EXISTS public;\n", cancel).await?;
    }

    let mut options = vec!["--no-subscriptions", "--no-tablespaces"];
    if !owners_kept {
        options.extend(["--no-owner", "--no-privileges"]);
    }
    if order.schema_only {
        options.push("--schema-only");
    }
    options.extend(order.section.map(|section| match section {
        Section::PreData => "--section=pre-data",
        Section::PostData => "--section=post-data",
    }));
    let left_out =
        |entry: &&TocEntry| of_capture(entry) || order.without_foreign_keys && of_foreign_key(entry, &entries);
    let wanted = if entries.iter().any(|entry| left_out(&entry)) {
        let lines: Vec<&str> =
            entries.iter().filter(|entry| !left_out(entry)).map(|entry| entry.line.as_str()).collect();
        let path = order.work_dir.join(format!("copy-{}-{}.list", order.sandbox.database(), std::process::id()));
        files::create_private(&path)
            .and_then(|mut file| file.write_all((lines.join("\n") + "\n").as_bytes()))
            .map_err(|error| files::unwritable(&path, &error))?;
        Some(path)
    } else {
        None
    };
    let _removed = Scratch(wanted.iter().cloned().collect());
    let of = entries.iter().filter(|entry| entry.kind == "TABLE DATA").count();
    let mut watch = TableWatch { line: Vec::new(), tables: 0, of, progress };
    let failed = format!("the dump could not be restored into the sandbox {}", order.sandbox.place());
    // An older server does not know every setting a newer pg_restore makes: then the script goes through our hands.
    let done = if order.bin.version.major >= 17 && order.server_major < 17 {
        let script = order.dump.with_extension(format!("copy-{}.sql", std::process::id()));
        let _removed = Scratch(vec![script.clone()]);
        let header = Header { lock_timeout: None, server_major: order.server_major };
        let script_order = Script {
            bin: order.bin,
            dump: order.dump,
            options: &options,
            path: &script,
            header,
            wanted: wanted.as_deref(),
        };
        write_script(script_order, cancel, &mut |stream, bytes| watch.see(stream, bytes)).await?;
        let mut spec = psql_spec(order.bin, order.sandbox, "dbd:copy", order.record.as_deref())
            .args(["--single-transaction", "--file"])
            .args([&script]);
        spec.timeout = order.timeout;
        child::run(spec, cancel).await
    } else {
        let mut spec = restore_spec(order.bin)
            .args(["--exit-on-error", "--single-transaction", "--no-password", "--verbose", "--dbname"])
            .args([format!("dbname={}", quote_conninfo(&order.sandbox.database()))])
            .args(&options);
        if let Some(wanted) = &wanted {
            spec = spec.args(["--use-list"]).args([wanted]);
        }
        let mut spec = spec.args([order.dump]);
        spec.timeout = order.timeout;
        let spec = connect(spec, order.sandbox, "dbd:copy", order.record.as_deref());
        child::run_watched(spec, cancel, &mut |stream, bytes| watch.see(stream, bytes)).await
    };
    let done = done.map_err(|failure| timed_out(failure, Code::RestoreFailed).certainty(Certainty::Definite))?;
    if !done.status.success() {
        return Err(explain(&done, Code::RestoreFailed, &failed, order.dump));
    }
    // A fresh copy has no statistics, and without them the rehearsal's plans would not be the target's.
    run_sql(order.bin, order.sandbox, "ANALYZE;\n", cancel).await?;
    Ok(Restored { owners_kept, notes })
}

async fn check_extensions(order: &RestoreCopyOrder<'_>, entries: &[TocEntry], cancel: &Cancel) -> Result<(), Failure> {
    // An extension's entry has no schema, so its tag is its name.
    let needed: Vec<&str> =
        entries.iter().filter(|entry| entry.kind == "EXTENSION").map(|entry| entry.tag.trim()).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let available =
        query(order.bin, order.sandbox, "SELECT name FROM pg_catalog.pg_available_extensions", cancel).await?;
    let missing: Vec<&str> = needed.into_iter().filter(|name| !available.iter().any(|have| have == name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        Code::SandboxFailed,
        format!(
            "the sandbox's server does not have {} of the target: {}",
            counted(missing.len(), "extension"),
            missing.join(", ")
        ),
    );
    for name in missing {
        failure =
            failure.hint(format!("Debian, Ubuntu: apt-get install {}", extension_package(name, order.server_major)));
    }
    Err(failure.hint("or name a server that has it: `[sandbox] server = { env = \"SANDBOX_POSTGRES_URL\" }`"))
}

/// The Debian package of an extension.
fn extension_package(name: &str, major: u32) -> String {
    let package = match name {
        "vector" => "pgvector",
        "postgis"
        | "postgis_raster"
        | "postgis_topology"
        | "postgis_sfcgal"
        | "postgis_tiger_geocoder"
        | "address_standardizer" => "postgis-3",
        "pg_cron" => "cron",
        "pg_partman" => "partman",
        "pg_repack" => "repack",
        "timescaledb" => "timescaledb",
        "plpython3u" => return format!("postgresql-plpython3-{major}"),
        "plperl" | "plperlu" => return format!("postgresql-plperl-{major}"),
        "pltcl" | "pltclu" => return format!("postgresql-pltcl-{major}"),
        "pg_trgm" | "hstore" | "citext" | "pgcrypto" | "uuid-ossp" | "unaccent" | "ltree" | "intarray"
        | "btree_gin" | "btree_gist" | "postgres_fdw" | "dblink" | "tablefunc" | "fuzzystrmatch" | "cube"
        | "earthdistance" | "pg_stat_statements" => {
            return "postgresql-contrib".to_owned();
        }
        other => &other.replace('_', "-"),
    };
    format!("postgresql-{major}-{package}")
}

async fn missing_roles(order: &RestoreCopyOrder<'_>, cancel: &Cancel) -> Result<Vec<String>, Failure> {
    if order.roles.is_empty() {
        return Ok(Vec::new());
    }
    let there = query(order.bin, order.sandbox, "SELECT rolname FROM pg_catalog.pg_roles", cancel).await?;
    // Names that start with `pg_` are the server's own and cannot be made.
    let missing = |role: &&String| !role.starts_with("pg_") && !there.contains(role);
    Ok(order.roles.iter().filter(missing).cloned().collect())
}

/// Watches `pg_restore --verbose` for the tables it comes to.
struct TableWatch<'a> {
    line: Vec<u8>,
    tables: usize,
    of: usize,
    progress: &'a mut dyn FnMut(RestoreProgress),
}

impl TableWatch<'_> {
    fn see(&mut self, stream: Stream, bytes: &[u8]) {
        if stream != Stream::Stderr {
            return;
        }
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            if let Some((_, table)) = line.split_once("processing data for table ") {
                self.tables += 1;
                let table = table.trim_matches('"').to_owned();
                (self.progress)(RestoreProgress { tables: self.tables, of: self.of, table });
            }
            self.line.clear();
        }
    }
}

// ------------------------------------------------------------------------------------------------------ back into the target

/// A dump to be restored into the target itself, in one transaction with what the caller puts around it.
///
/// Safe to repeat, as one transaction is there or not. In doubt: fence by [`child::kill_leftover`] and by ending the sessions
/// called [`EffectId::application_name`], then look for the marker `prologue` or `epilogue` wrote.
#[derive(Debug)]
pub struct RestoreInPlaceOrder<'a> {
    /// Client programs, not older than those the dump was made with.
    pub bin: &'a Programs,
    /// The dump.
    pub dump: &'a Path,
    /// The target.
    pub url: &'a ConnectionUrl,
    /// The major version of its server.
    pub server_major: u32,
    /// SQL, in UTF-8, run first in the same transaction: clears the way, writes the marker.
    pub prologue_sql: &'a str,
    /// SQL, in UTF-8, run last in the same transaction. `search_path` is empty by then, as in any restore: qualify every name.
    pub epilogue_sql: &'a str,
    /// The effect this is; names the session and the temporary files.
    pub effect: EffectId,
    /// A folder for the scripts, which hold all rows of the target while it runs; they are 0600 and removed at the end.
    pub work_dir: &'a Path,
    /// Where to record the child process.
    pub record: Option<PathBuf>,
    /// How long any statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long it all may take.
    pub timeout: Option<Duration>,
}

/// Restores a dump into the target: prologue, the entries `skip` does not refuse, epilogue, all in one transaction.
///
/// # Errors
/// - [`Code::LockTimeout`], [`Certainty::Transient`]: a lock was not to be had, or a deadlock; nothing happened.
/// - [`Code::ConnectionLost`], [`Code::CommandTimeout`], [`Code::Cancelled`], [`Certainty::InDoubt`]: the commit may have arrived.
/// - [`Code::DumpDamaged`], [`Code::MissingPrivilege`], [`Code::DiskFull`], else [`Code::RestoreFailed`]: nothing happened.
pub async fn restore_in_place(
    order: &RestoreInPlaceOrder<'_>,
    skip: &(dyn Fn(&TocEntry) -> bool + Send + Sync),
    cancel: &Cancel,
) -> Result<(), Failure> {
    let [wanted, prologue, script, epilogue] = restore_parts(order.work_dir, &order.effect);
    let _removed = Scratch(vec![wanted.clone(), prologue.clone(), script.clone(), epilogue.clone()]);
    let write = |path: &Path, text: String| {
        files::create_private(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| files::unwritable(path, &error))
    };

    let entries = list(order.bin, order.dump, cancel).await?;
    let lines: Vec<&str> = entries.iter().filter(|entry| !skip(entry)).map(|entry| entry.line.as_str()).collect();
    write(&wanted, lines.join("\n") + "\n")?;
    let header = Header { lock_timeout: Some(order.lock_timeout), server_major: order.server_major };
    let script_order =
        Script { bin: order.bin, dump: order.dump, options: &[], path: &script, header, wanted: Some(&wanted) };
    write_script(script_order, cancel, &mut |_, _| {}).await?;
    let lock_timeout = format!("SET LOCAL lock_timeout = {};\n", order.lock_timeout.as_millis());
    let encoding = "SET LOCAL client_encoding = 'UTF8';\n";
    write(&prologue, format!("{encoding}{lock_timeout}{}\n", order.prologue_sql))?;
    write(&epilogue, format!("{encoding}{lock_timeout}{}\n", order.epilogue_sql))?;

    let application_name = order.effect.application_name();
    let mut spec =
        psql_spec(order.bin, order.url, &application_name, order.record.as_deref()).args(["--single-transaction"]);
    for path in [&prologue, &script, &epilogue] {
        spec = spec.args(["--file"]).args([path]);
    }
    spec.timeout = order.timeout;
    let done = child::run(spec, cancel).await?;
    if done.status.success() {
        return Ok(());
    }
    let mut failure =
        explain(&done, Code::RestoreFailed, &format!("the dump could not be restored into {}", order.url), &script);
    if failure.code == Code::ConnectionLost || done.status.code().is_none() {
        // The commit may have been on its way.
        failure.certainty = Certainty::InDoubt;
    }
    Err(failure)
}

/// The temporary files of a restore: the list of entries, and the three parts of its script.
fn restore_parts(work_dir: &Path, effect: &EffectId) -> [PathBuf; 4] {
    ["list", "prologue.sql", "sql", "epilogue.sql"].map(|name| work_dir.join(format!("restore-{effect}.{name}")))
}

/// Removes what a killed restore left behind: its script holds every row of the target.
///
/// # Errors
/// [`Code::FileUnwritable`].
pub fn remove_leftovers(work_dir: &Path, effect: &EffectId) -> Result<(), Failure> {
    for path in restore_parts(work_dir, effect) {
        files::remove_if_there(&path).map_err(|error| files::unwritable(&path, &error))?;
    }
    Ok(())
}

/// Removes files when it goes.
struct Scratch(Vec<PathBuf>);

impl Drop for Scratch {
    fn drop(&mut self) {
        for path in &self.0 {
            // At worst a private file stays, which the next attempt of the same effect replaces.
            let _ = files::remove_if_there(path);
        }
    }
}

/// What the settings at the head of `pg_restore`'s script are to be instead.
#[derive(Clone, Copy, Debug)]
struct Header {
    lock_timeout: Option<Duration>,
    server_major: u32,
}

impl Header {
    /// The line to write in place of `line`; `None` to leave it out.
    fn edit(self, line: &str) -> Option<std::borrow::Cow<'_, str>> {
        match line {
            // The script would wait for ever, whatever was set before.
            "SET lock_timeout = 0;" => match self.lock_timeout {
                Some(limit) => Some(format!("SET LOCAL lock_timeout = {};", limit.as_millis()).into()),
                None => Some(line.into()),
            },
            // Written by pg_restore 17 and later for any server; servers before 17 do not know it.
            "SET transaction_timeout = 0;" if self.server_major < 17 => None,
            _ => Some(line.into()),
        }
    }
}

/// Edits the head of a script as it passes: all lines up to the first that is neither blank, comment, setting nor psql command.
#[derive(Debug)]
struct HeaderEditor {
    header: Header,
    line: Vec<u8>,
    in_header: bool,
}

impl HeaderEditor {
    fn new(header: Header) -> Self {
        Self { header, line: Vec::new(), in_header: true }
    }

    /// What is to be written for the next piece of the script.
    fn pass(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        while self.in_header && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| newline + 1);
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if self.line.ends_with(b"\n") {
                self.end_of_line(&mut out);
            }
        }
        out.extend_from_slice(bytes);
        out
    }

    fn end_of_line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line[..line.len() - 1]).into_owned();
        let setting = text.starts_with("SET ") || text.starts_with("SELECT pg_catalog.set_config(");
        // Every entry starts with its name in a comment; past the first one nothing is ours to change.
        self.in_header = (text.is_empty() || text.starts_with("--") || text.starts_with('\\') || setting)
            && !text.starts_with("-- Name: ");
        if !self.in_header {
            out.extend_from_slice(&line);
        } else if let Some(edited) = self.header.edit(&text) {
            out.extend_from_slice(edited.as_bytes());
            out.push(b'\n');
        }
    }

    fn finish(self) -> Vec<u8> {
        self.line
    }
}

/// A script to be made of a dump.
struct Script<'a> {
    bin: &'a Programs,
    dump: &'a Path,
    options: &'a [&'a str],
    path: &'a Path,
    header: Header,
    wanted: Option<&'a Path>,
}

/// Turns a dump into a script of SQL at its path, with mode 0600.
async fn write_script(
    Script { bin, dump, options, path, header, wanted }: Script<'_>,
    cancel: &Cancel,
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<(), Failure> {
    let mut file = files::create_private(path).map_err(|error| files::unwritable(path, &error))?;
    let mut editor = HeaderEditor::new(header);
    let mut written = Ok(());
    let mut spec = restore_spec(bin).args(["--verbose", "--file", "-"]).args(options);
    if let Some(wanted) = wanted {
        spec = spec.args(["--use-list"]).args([wanted]);
    }
    spec = spec.args([dump]);
    spec.output = Output::Capture(0);
    let done = child::run_watched(spec, cancel, &mut |stream, bytes| {
        if stream == Stream::Stdout && written.is_ok() {
            written = file.write_all(&editor.pass(bytes));
        }
        on_output(stream, bytes);
    })
    .await;
    // Nothing has been sent anywhere yet.
    let done = done.map_err(|failure| failure.certainty(Certainty::Definite))?;
    written.and_then(|()| file.write_all(&editor.finish())).map_err(|error| files::unwritable(path, &error))?;
    if done.status.success() { Ok(()) } else { Err(damaged(dump, &done)) }
}

/// A time limit or an end by our own hand is worth the same code everywhere; anything else keeps its own.
fn timed_out(failure: Failure, fallback: Code) -> Failure {
    match failure.code {
        Code::CommandTimeout | Code::Cancelled => failure.certainty(Certainty::Definite),
        Code::CommandFailed => Failure { code: fallback, ..failure },
        _ => failure,
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("an {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_table_of_contents_come_apart() {
        for (line, kind, schema, tag, owner) in [
            ("215; 1259 16385 TABLE public orders shop owner", "TABLE", Some("public"), "orders shop", "owner"),
            ("3360; 0 16385 TABLE DATA public orders owner", "TABLE DATA", Some("public"), "orders", "owner"),
            ("2; 3079 16400 EXTENSION - pg_trgm ", "EXTENSION", None, "pg_trgm", ""),
            (
                "3210; 2606 16396 FK CONSTRAINT public orders orders_fk me",
                "FK CONSTRAINT",
                Some("public"),
                "orders orders_fk",
                "me",
            ),
            ("9; 0 0 MATERIALIZED VIEW DATA s mv me", "MATERIALIZED VIEW DATA", Some("s"), "mv", "me"),
            ("9; 1259 1 MATERIALIZED VIEW s mv me", "MATERIALIZED VIEW", Some("s"), "mv", "me"),
            ("8; 0 0 ACL public TABLE orders me", "ACL", Some("public"), "TABLE orders", "me"),
            ("7; 2615 5 SCHEMA - shop me", "SCHEMA", None, "shop", "me"),
            ("6; 1255 9 FUNCTION public f(integer, text) me", "FUNCTION", Some("public"), "f(integer, text)", "me"),
        ] {
            let entry = TocEntry::parse(line).unwrap();
            let got = (entry.kind.as_str(), entry.schema.as_deref(), entry.tag.as_str(), entry.owner.as_str());
            assert_eq!(got, (kind, schema, tag, owner), "{line}");
            assert_eq!(entry.line, line);
        }
        for line in ["", ";", "; Archive created at 2024", ";     TOC Entries: 12"] {
            assert_eq!(TocEntry::parse(line), None, "{line}");
        }
    }

    const SCRIPT: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET statement_timeout = 0;\nSET lock_timeout = 0;\n\
        SET transaction_timeout = 0;\nSET client_encoding = 'UTF8';\nSELECT pg_catalog.set_config('search_path', '', false);\n\n--\n\
        -- Name: t; Type: TABLE\n--\n\nSET lock_timeout = 0;\nCOPY t FROM stdin;\nSET lock_timeout = 0;\n\\.\n";

    fn edited(header: Header, piece: usize) -> String {
        let mut editor = HeaderEditor::new(header);
        let mut out: Vec<u8> = SCRIPT.as_bytes().chunks(piece).flat_map(|bytes| editor.pass(bytes)).collect();
        out.extend(editor.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_head_of_a_script_is_edited_however_it_is_cut() {
        let header = Header { lock_timeout: Some(Duration::from_millis(500)), server_major: 15 };
        let expected = SCRIPT
            .replacen("SET lock_timeout = 0;", "SET LOCAL lock_timeout = 500;", 1)
            .replace("SET transaction_timeout = 0;\n", "");
        for piece in 1..SCRIPT.len() {
            assert_eq!(edited(header, piece), expected, "in pieces of {piece}");
        }
        let newer = Header { lock_timeout: None, server_major: 17 };
        assert_eq!(edited(newer, 7), SCRIPT);
    }

    #[test]
    fn an_extension_names_its_package() {
        for (name, package) in [
            ("vector", "postgresql-16-pgvector"),
            ("postgis", "postgresql-16-postgis-3"),
            ("pg_trgm", "postgresql-contrib"),
            ("plperl", "postgresql-plperl-16"),
            ("pg_hint_plan", "postgresql-16-pg-hint-plan"),
        ] {
            assert_eq!(extension_package(name, 16), package);
        }
    }
}
