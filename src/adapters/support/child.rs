//! Child processes that are always accounted for: they end with dbd, at their time limit, when cancelled, or are found by their
//! record afterwards.
//!
//! Three nets, as none alone is enough. Each child leads a process group of its own, and a group is ended as a whole. On Linux the
//! kernel ends the child when dbd's main thread ends, even by SIGKILL; this is tied to the *thread* that started the child, which
//! is why dbd runs on a current-thread runtime and why nothing here may be called from a worker thread. Last, a record on
//! disk names the child by pid and start time, for what the child itself left running ([`kill_leftover`]).

use super::files;
use super::os_user::RunAs;
use super::process::{self, Process, signal_group, wait_until};
use crate::domain::code::Code;
use crate::domain::failure::{Certainty, Failure};
use crate::ports::boundary::{Boundary, passed};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long a child that was asked to end (SIGTERM) may take before it is made to (SIGKILL).
pub const GRACE: Duration = Duration::from_secs(5);
/// How long output is still read after a child and its group have ended; only a process that left the group holds it open.
const DRAIN: Duration = Duration::from_secs(2);
/// How long ending a left-over may take before that is a failure. A process in an uninterruptible wait can take its time.
const LEFTOVER: Duration = Duration::from_secs(30);
/// Set in the environment of each recorded child and so inherited by all it starts.
const TOKEN: &str = "DBD_CHILD";
/// Bytes kept of each output stream, unless asked for more.
const TAIL: usize = 64 * 1024;

/// What libpq and PostgreSQL's programs would take from the environment behind our back.
pub const LIBPQ_VARIABLES: &[&str] = &[
    "PGAPPNAME",
    "PGCHANNELBINDING",
    "PGCLIENTENCODING",
    "PGCONNECT_TIMEOUT",
    "PGDATA",
    "PGDATABASE",
    "PGDATESTYLE",
    "PGGEQO",
    "PGGSSDELEGATION",
    "PGGSSENCMODE",
    "PGGSSLIB",
    "PGHOST",
    "PGHOSTADDR",
    "PGKRBSRVNAME",
    "PGLOADBALANCEHOSTS",
    "PGLOCALEDIR",
    "PGMAXPROTOCOLVERSION",
    "PGMINPROTOCOLVERSION",
    "PGOPTIONS",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGPORT",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLCERT",
    "PGSSLCERTMODE",
    "PGSSLCOMPRESSION",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLKEY",
    "PGSSLKEYLOGFILE",
    "PGSSLMAXPROTOCOLVERSION",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLROOTCERT",
    "PGSSLSNI",
    "PGSYSCONFDIR",
    "PGTARGETSESSIONATTRS",
    "PGTZ",
    "PGUSER",
    "PSQLRC",
];

/// Asks whatever runs with the other half, [`Cancel`], to stop.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

/// Says when to stop. Clones share the same answer; once given, it stays.
#[derive(Clone, Debug)]
pub struct Cancel(Option<watch::Receiver<bool>>);

impl Canceller {
    /// Asks to stop, now and for good.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// Two halves: one asks, the other is asked.
    #[must_use]
    pub fn pair() -> (Canceller, Self) {
        let (sender, receiver) = watch::channel(false);
        (Canceller(sender), Self(Some(receiver)))
    }

    /// Follows a channel that turns `true` when it is time to stop.
    #[must_use]
    pub fn following(receiver: watch::Receiver<bool>) -> Self {
        Self(Some(receiver))
    }

    /// Never stops.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Waits until it is time to stop; for ever if nobody can ask any more.
    pub async fn cancelled(&self) {
        if let Some(mut receiver) = self.0.clone()
            && receiver.wait_for(|cancelled| *cancelled).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// What a child reads.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing: end of file at once.
    #[default]
    Null,
    /// A file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Where a child's stdout goes.
#[derive(Debug)]
pub enum Output {
    /// The last so many bytes are kept in [`Finished::stdout`].
    Capture(usize),
    /// Into this file, made anew with mode 0600; not through dbd.
    ToFile(PathBuf),
}

/// Which of a child's outputs something was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; both, if merged.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One child to be run.
#[derive(Debug)]
pub struct ChildSpec {
    /// The program: a path, or a name looked up in PATH.
    pub program: PathBuf,
    /// Its arguments. Visible to every user of the machine: never a secret.
    pub args: Vec<OsString>,
    /// Added to the environment inherited from dbd; the place for secrets.
    pub env: Vec<(String, String)>,
    /// Variables taken out of the inherited environment.
    pub env_remove: Vec<String>,
    /// Whether libpq's variables ([`LIBPQ_VARIABLES`]) are taken out of it, before `env` is added.
    pub clear_pg_env: bool,
    /// The working folder; dbd's if none is given.
    pub cwd: Option<PathBuf>,
    /// What it reads.
    pub stdin: Input,
    /// Where its stdout goes.
    pub output: Output,
    /// Whether stderr goes the same way as stdout, in the order written. Only with [`Output::Capture`].
    pub merge_stderr: bool,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// Where to record it, for [`kill_leftover`].
    pub record: Option<PathBuf>,
    /// What it is for, in messages: `pg_dump`, `the tests`.
    pub label: String,
    /// Another user to run as; needs root. Its other groups are given up as well.
    pub run_as: Option<RunAs>,
}

impl ChildSpec {
    /// A child without arguments, input, time limit or record, whose output's tail is kept.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, label: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_remove: Vec::new(),
            clear_pg_env: false,
            cwd: None,
            stdin: Input::Null,
            output: Output::Capture(TAIL),
            merge_stderr: false,
            timeout: None,
            record: None,
            label: label.into(),
            run_as: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds variables.
    #[must_use]
    pub fn env(mut self, env: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(env);
        self
    }
}

/// How a child ended by itself.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// The end of its stdout; empty if that went to a file.
    pub stdout: String,
    /// The end of its stderr; empty if merged.
    pub stderr: String,
    /// How long it ran.
    pub duration: Duration,
}

/// What is on disk about a running child.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    program: String,
    pgid: i32,
    token: String,
    #[serde(flatten)]
    process: Process,
}

/// Runs a child to its end; any exit code is an `Ok`.
///
/// When this returns, the child and its process group are gone and so is its record. If the future is dropped, they are killed.
///
/// # Errors
/// - [`Code::CommandFailed`]: it could not be started, or recorded.
/// - [`Code::CommandTimeout`], [`Code::Cancelled`]: it was ended; [`Certainty::InDoubt`], as what it had done until then is unknown.
pub async fn run(spec: ChildSpec, cancel: &Cancel) -> Result<Finished, Failure> {
    run_watched(spec, cancel, &mut |_, _| {}).await
}

/// The same as [`run`]; `on_output` is given each piece of output as it comes, cut anywhere.
///
/// # Errors
/// Those of [`run`].
pub async fn run_watched(
    spec: ChildSpec,
    cancel: &Cancel,
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Finished, Failure> {
    if cancel.is_cancelled() {
        return Err(Failure::new(Code::Cancelled, format!("{} was not started: the run was cancelled", spec.label)));
    }
    let started = Instant::now();
    let keep = match spec.output {
        Output::Capture(keep) => keep,
        Output::ToFile(_) => 0,
    };
    let (mut child, mut guard, merged) = start(&spec)?;

    let out_tail = Mutex::new(Tail::new(keep));
    let err_tail = Mutex::new(Tail::new(TAIL));
    let on_output = Mutex::new(on_output);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = match &spec.stdin {
        Input::Bytes(bytes) => bytes.as_slice(),
        _ => &[],
    };
    let io = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A child need not read all it is offered; that it did not shows in how it ends.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        tokio::join!(
            write,
            pump(stdout, Stream::Stdout, &out_tail, &on_output),
            pump(merged, Stream::Stdout, &out_tail, &on_output),
            pump(stderr, Stream::Stderr, &err_tail, &on_output),
        );
    };

    let end = {
        let mut io = pin!(io);
        let mut io_done = false;
        let limit = async {
            match spec.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let mut limit = pin!(limit);
        let mut end = loop {
            tokio::select! {
                biased;
                status = child.wait() => break End::Exited(status),
                () = &mut io, if !io_done => io_done = true,
                () = cancel.cancelled() => break End::Cancelled,
                () = &mut limit => break End::TimedOut,
            }
        };
        if !matches!(end, End::Exited(_)) {
            signal_group(guard.process.pid, Signal::TERM);
            let grace = tokio::time::sleep(GRACE);
            let mut grace = pin!(grace);
            let mut killed = false;
            loop {
                tokio::select! {
                    biased;
                    status = child.wait() => {
                        if let Err(error) = status { end = End::Exited(Err(error)); }
                        break;
                    }
                    () = &mut io, if !io_done => io_done = true,
                    () = &mut grace, if !killed => {
                        killed = true;
                        signal_group(guard.process.pid, Signal::KILL);
                    }
                }
            }
        }
        // What the child left running in its group must not outlive it, nor hold its output open.
        signal_group(guard.process.pid, Signal::KILL);
        guard.finish();
        if spec.record.is_some() {
            passed(Boundary::ChildEnded, &spec.label);
        }
        if !io_done {
            let _ = tokio::time::timeout(DRAIN, io).await;
        }
        end
    };

    let (stdout, stderr) = (text_of(out_tail), text_of(err_tail));
    let ended = |code, why: String| {
        let mut failure = Failure::new(code, why).certainty(Certainty::InDoubt);
        let said = if stderr.trim().is_empty() { &stdout } else { &stderr };
        failure.causes.extend(last_lines(said, 5));
        failure
    };
    match end {
        End::Exited(Ok(status)) => Ok(Finished { status, stdout, stderr, duration: started.elapsed() }),
        End::Exited(Err(error)) => {
            Err(ended(Code::CommandFailed, format!("{} could not be waited for", spec.label)).source(&error))
        }
        End::Cancelled => Err(ended(Code::Cancelled, format!("{} was ended: the run was cancelled", spec.label))),
        End::TimedOut => {
            let limit = spec.timeout.unwrap_or_default();
            Err(ended(Code::CommandTimeout, format!("{} ran longer than the {} allowed", spec.label, spoken(limit))))
        }
    }
}

/// Ends whatever is left of the child recorded at `record`, and waits until it is gone. Without a record there is nothing to do.
///
/// Ends the process with the recorded pid *and* start time with its group, and each process that inherited the child's mark
/// (Linux). A process that merely has the same pid is left alone. The record is removed at the end, so this may be repeated.
///
/// # Errors
/// [`Code::CommandFailed`] if something is still there after half a minute, or the record cannot be read.
pub async fn kill_leftover(record: &Path) -> Result<(), Failure> {
    // A record that was being written when dbd was killed; the one before it still holds the mark.
    let half_written = files::with_suffix(record, ".partial");
    files::remove_if_there(&half_written).map_err(|error| files::unwritable(&half_written, &error))?;
    let text = match fs_err::read(record) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(files::unreadable(record, &error)),
    };
    let left: Record = serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Code::CommandFailed, format!("the record of a child process cannot be read: {}", record.display()))
            .source(&error)
            .hint("end what is left of the child by hand, then remove that file")
    })?;
    let gone = wait_until(LEFTOVER, || {
        // Again on each round: a process may have started another one between being seen and being killed.
        let leader = left.process.signal_group(Signal::KILL);
        let heirs = process::with_variable(TOKEN, &left.token);
        for heir in &heirs {
            heir.signal(Signal::KILL);
        }
        !leader && heirs.is_empty()
    })
    .await;
    if !gone {
        return Err(Failure::new(
            Code::CommandFailed,
            format!("what is left of `{}` (process {}) could not be ended", left.program, left.process.pid),
        )
        .hint(format!("end it with `kill -9 -- -{}`, then go on with `dbd resume`", left.pgid)));
    }
    files::remove_if_there(record).map_err(|error| files::unwritable(record, &error))
}

/// Makes the kernel send `signal` to the child when the thread that starts it ends. Linux only; elsewhere nothing is done.
///
/// Must be the last thing set on `command`: the kernel forgets it when the user changes, and that is done before.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "nothing safe can act between fork and exec")]
pub fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // The parent may have ended before the line above took hold.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec the hook makes two system calls; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(hook) };
}

/// Makes the kernel send `signal` to the child when the thread that starts it ends. Linux only; elsewhere nothing is done.
#[cfg(not(target_os = "linux"))]
pub fn end_with_parent(_command: &mut Command, _signal: Signal) {}

/// The last `count` lines of `text` that are not blank, in order.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

/// A duration in words: `90 s`, `250 ms`.
#[must_use]
pub fn spoken(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

enum End {
    Exited(std::io::Result<ExitStatus>),
    Cancelled,
    TimedOut,
}

/// Kills the group and removes the record unless told that both are done with.
struct Guard {
    process: Process,
    record: Option<PathBuf>,
    armed: bool,
}

impl Guard {
    fn finish(&mut self) {
        self.armed = false;
        if let Some(record) = self.record.take() {
            // A record that stays names a process that is gone, which `kill_leftover` sees.
            let _ = files::remove_if_there(&record);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.process.signal_group(Signal::KILL);
            self.finish();
        }
    }
}

type Merged = tokio::net::unix::pipe::Receiver;

fn start(spec: &ChildSpec) -> Result<(Child, Guard, Option<Merged>), Failure> {
    let failed = |what: &str, error: &std::io::Error| {
        let failure = Failure::new(Code::CommandFailed, format!("{} could not be {what}", spec.label)).source(error);
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint(format!("is `{}` installed?", spec.program.display())),
            _ => failure,
        }
    };
    let token = spec.record.as_deref().map(token_for);
    let mut command = Command::new(&spec.program);
    command.args(&spec.args);
    set_environment(&mut command, spec);
    if let Some(token) = &token {
        command.env(TOKEN, token);
    }
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    command.stdin(match &spec.stdin {
        Input::Null => Stdio::null(),
        Input::File(path) => {
            fs_err::File::open(path).map_err(|error| files::unreadable(path, &error))?.into_file().into()
        }
        Input::Bytes(_) => Stdio::piped(),
    });
    let mut merged = None;
    match &spec.output {
        Output::ToFile(path) => {
            let file = files::create_private(path).map_err(|error| files::unwritable(path, &error))?.into_file();
            command.stdout(file).stderr(Stdio::piped());
        }
        Output::Capture(_) if spec.merge_stderr => {
            // One pipe for both: the order in which things were written is the order in which they are read.
            let pipe = (|| {
                let (reader, writer) = std::io::pipe()?;
                command.stdout(writer.try_clone()?).stderr(writer);
                Merged::from_owned_fd(reader.into())
            })();
            merged = Some(pipe.map_err(|error| failed("started", &error))?);
        }
        Output::Capture(_) => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
    if let Some(user) = &spec.run_as {
        // With a user id given by root, the standard library gives up the supplementary groups too.
        command.uid(user.uid).gid(user.gid);
    }
    command.process_group(0).kill_on_drop(true);
    end_with_parent(&mut command, Signal::KILL);
    // Recorded before it is there: whatever it starts at once is found by its mark, even if dbd is killed before the pid is known.
    let record = |process: &Process| -> Result<(), Failure> {
        let (Some(path), Some(token)) = (&spec.record, &token) else { return Ok(()) };
        let record = Record {
            program: spec.program.display().to_string(),
            pgid: process.pid,
            token: token.clone(),
            process: process.clone(),
        };
        let text = serde_json::to_vec(&record).map_err(|error| failed("recorded", &error.into()))?;
        files::write_durably(path, &text)
    };
    record(&Process { pid: 0, start_time: String::new() })?;
    if spec.record.is_some() {
        passed(Boundary::ChildRecorded, &spec.label);
    }
    let child = command.spawn().map_err(|error| {
        if let Some(path) = &spec.record {
            let _ = files::remove_if_there(path);
        }
        failed("started", &error)
    })?;
    // Our own ends of the merged pipe must go, or it never reports its end.
    drop(command);

    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    // A child that has already ended has no start time any more, and nothing to be found by later.
    let process = Process::of(pid).unwrap_or(Process { pid, start_time: String::new() });
    let guard = Guard { process: process.clone(), record: spec.record.clone(), armed: true };
    record(&process)?;
    if spec.record.is_some() {
        passed(Boundary::ChildStarted, &spec.label);
    }
    Ok((child, guard, merged))
}

fn set_environment(command: &mut Command, spec: &ChildSpec) {
    for name in &spec.env_remove {
        command.env_remove(name);
    }
    if spec.clear_pg_env {
        for name in LIBPQ_VARIABLES {
            command.env_remove(name);
        }
    }
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
}

/// A mark no other child has: made of where it is recorded, who starts it and how many were started before.
fn token_for(record: &Path) -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let this = Process::current();
    let text = format!("{}\0{}\0{}\0{count}", record.display(), this.pid, this.start_time);
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

type OnOutput<'a> = Mutex<&'a mut dyn FnMut(Stream, &[u8])>;

async fn pump<R: AsyncRead + Unpin>(from: Option<R>, stream: Stream, tail: &Mutex<Tail>, on_output: &OnOutput<'_>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                lock(tail).push(&buffer[..count]);
                (lock(on_output))(stream, &buffer[..count]);
            }
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn text_of(tail: Mutex<Tail>) -> String {
    tail.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_text()
}

/// The last so many bytes of what went by.
#[derive(Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    keep: usize,
    cut: bool,
}

impl Tail {
    /// Keeps the last `keep` bytes.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { bytes: Vec::new(), keep, cut: false }
    }

    /// Adds what came next.
    pub fn push(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
        // Let it grow to twice its size first, so that each byte is moved at most once on average.
        if self.bytes.len() > self.keep.saturating_mul(2) {
            self.trim();
        }
    }

    /// What was kept, as text. If something went before, it starts at the first whole line.
    #[must_use]
    pub fn into_text(mut self) -> String {
        self.trim();
        let start = match self.bytes.iter().position(|byte| *byte == b'\n') {
            Some(newline) if self.cut => newline + 1,
            _ => 0,
        };
        String::from_utf8_lossy(&self.bytes[start..]).into_owned()
    }

    fn trim(&mut self) {
        if self.bytes.len() > self.keep {
            self.bytes.drain(..self.bytes.len() - self.keep);
            self.cut = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> ChildSpec {
        ChildSpec::new("sh", "the script").args(["-c", script])
    }

    fn pid_in(path: &Path) -> Option<i32> {
        fs_err::read_to_string(path).ok()?.trim().parse().ok()
    }

    #[tokio::test]
    async fn output_and_exit_code_come_back() {
        let done = run(sh("cat; echo bad >&2; exit 3"), &Cancel::never()).await.unwrap();
        assert_eq!((done.status.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(3), "", "bad\n"));
        let spec = ChildSpec { stdin: Input::Bytes(b"hello".to_vec()), ..sh("cat") };
        assert_eq!(run(spec, &Cancel::never()).await.unwrap().stdout, "hello");
    }

    #[tokio::test]
    async fn a_megabyte_each_way_does_not_block() {
        let spec = ChildSpec {
            stdin: Input::Bytes(vec![b'x'; 1 << 20]),
            output: Output::Capture(1 << 21),
            ..sh("head -c 1048576 /dev/zero | tr '\\0' e >&2; cat")
        };
        assert_eq!(run(spec, &Cancel::never()).await.unwrap().stdout.len(), 1 << 20);
    }

    #[tokio::test]
    async fn merged_output_keeps_the_order_of_writing() {
        let spec = ChildSpec { merge_stderr: true, ..sh("echo 1; echo 2 >&2; echo 3; echo 4 >&2") };
        assert_eq!(run(spec, &Cancel::never()).await.unwrap().stdout, "1\n2\n3\n4\n");
    }

    #[tokio::test]
    async fn a_time_limit_ends_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        // The grandchild ignores the polite request; the limit is long enough for it to have been started, by far.
        let script = format!(
            "(trap '' TERM; sh -c 'echo $PPID' > {0}.new; mv {0}.new {0}; sleep 600) & wait",
            pid_file.display()
        );
        let spec = ChildSpec { timeout: Some(Duration::from_secs(2)), ..sh(&script) };
        let failure = run(spec, &Cancel::never()).await.unwrap_err();
        assert_eq!((failure.code, failure.certainty), (Code::CommandTimeout, Certainty::InDoubt));
        assert!(failure.message.contains("2 s"), "{failure}");
        let pid = pid_in(&pid_file).unwrap();
        assert!(wait_until(Duration::from_secs(10), || Process::of(pid).is_none()).await);
    }

    #[tokio::test]
    async fn cancelling_ends_the_child() {
        let (canceller, cancel) = Cancel::pair();
        let mut on_output = |_: Stream, _: &[u8]| canceller.cancel();
        let failure = run_watched(sh("echo ready; sleep 600"), &cancel, &mut on_output).await.unwrap_err();
        assert_eq!(failure.code, Code::Cancelled);
        assert_eq!(failure.causes, ["ready"]);
        let failure = run(sh("echo never"), &cancel).await.unwrap_err();
        assert_eq!(failure.certainty, Certainty::Definite, "what was not started did not happen");
    }

    #[tokio::test]
    async fn what_a_child_leaves_in_the_background_neither_outlives_it_nor_holds_us_up() {
        let done = run(sh("sleep 600 & echo $!"), &Cancel::never()).await.unwrap();
        let pid = done.stdout.trim().parse().unwrap();
        assert!(wait_until(Duration::from_secs(10), || Process::of(pid).is_none()).await);
        assert!(done.duration < Duration::from_secs(600));
    }

    #[tokio::test]
    async fn a_dropped_run_kills_its_child() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("child.json");
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let spec = ChildSpec { record: Some(record.clone()), ..sh("echo $$; exec sleep 600") };
        let mut on_output = |_: Stream, bytes: &[u8]| sender.send(bytes.to_vec()).unwrap();
        let never = Cancel::never();
        let running = run_watched(spec, &never, &mut on_output);
        let pid: i32 = tokio::select! {
            finished = running => panic!("it ended by itself: {finished:?}"),
            bytes = receiver.recv() => String::from_utf8(bytes.unwrap()).unwrap().trim().parse().unwrap(),
        };
        // The other branch of the select was dropped with it.
        assert!(wait_until(Duration::from_secs(10), || Process::of(pid).is_none()).await);
        assert!(!record.exists());
    }

    #[tokio::test]
    async fn the_record_is_there_while_the_child_runs_and_gone_after() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("child.json");
        let seen = Mutex::new(None);
        let (canceller, cancel) = Cancel::pair();
        let mut on_output = |_: Stream, _: &[u8]| {
            *seen.lock().unwrap() = fs_err::read(&record).ok();
            canceller.cancel();
        };
        let spec = ChildSpec { record: Some(record.clone()), ..sh("echo ready; exec sleep 600") };
        run_watched(spec, &cancel, &mut on_output).await.unwrap_err();
        let seen: Record = serde_json::from_slice(&seen.into_inner().unwrap().unwrap()).unwrap();
        assert_eq!((seen.program.as_str(), seen.pgid), ("sh", seen.process.pid));
        assert!(!record.exists());
    }

    /// A leader that ended long ago, or never was; its heir is known by its mark alone.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_left_over_grandchild_in_another_session_is_found_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("child.json");
        let token = token_for(&path);
        let mut heir = Command::new("sleep").arg("600").env(TOKEN, &token).process_group(0).spawn().unwrap();
        let mut bystander = Command::new("sleep").arg("600").env(TOKEN, "another").spawn().unwrap();
        let record = Record {
            program: "sh".to_owned(),
            // The bystander has the recorded pid, but started at another time.
            pgid: bystander.id().unwrap().cast_signed(),
            token,
            process: Process { pid: bystander.id().unwrap().cast_signed(), start_time: "earlier".to_owned() },
        };
        fs_err::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        kill_leftover(&path).await.unwrap();
        assert!(!heir.wait().await.unwrap().success());
        assert!(bystander.try_wait().unwrap().is_none(), "a process that merely has the same pid is left alone");
        assert!(!path.exists());
        kill_leftover(&path).await.unwrap();
        bystander.kill().await.unwrap();
    }

    #[tokio::test]
    async fn a_left_over_child_is_ended_with_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("child.json");
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let process = Process::of(child.id().unwrap().cast_signed()).unwrap();
        let record = Record { program: "sleep".to_owned(), pgid: process.pid, token: token_for(&path), process };
        fs_err::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        kill_leftover(&path).await.unwrap();
        assert!(!record.process.is_alive());
        child.wait().await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let failure = run(ChildSpec::new("/nowhere/pg_dump", "pg_dump"), &Cancel::never()).await.unwrap_err();
        assert_eq!(failure.code, Code::CommandFailed);
        assert!(failure.hints[0].contains("/nowhere/pg_dump"));
    }

    #[test]
    fn libpq_variables_of_dbds_own_environment_do_not_reach_the_child_but_given_ones_do() {
        let mut spec = ChildSpec::new("psql", "psql").env([("PGPORT".to_owned(), "1".to_owned())]);
        spec.clear_pg_env = true;
        let mut command = Command::new("psql");
        set_environment(&mut command, &spec);
        let set: std::collections::BTreeMap<_, _> = command.as_std().get_envs().collect();
        assert_eq!(set["PGHOST".as_ref() as &std::ffi::OsStr], None, "taken out");
        assert_eq!(set["PGPORT".as_ref() as &std::ffi::OsStr], Some("1".as_ref()));
    }

    #[test]
    fn a_tail_keeps_the_end_from_a_whole_line_on() {
        let mut tail = Tail::new(8);
        for piece in ["aaaa\n", "bb\n", "ccc\n", "d"] {
            tail.push(piece.as_bytes());
        }
        assert_eq!(tail.into_text(), "ccc\nd");
        let mut short = Tail::new(8);
        short.push(b"a\nb");
        assert_eq!(short.into_text(), "a\nb");
    }
}
