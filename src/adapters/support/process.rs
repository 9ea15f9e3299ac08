//! Processes named so that they can be found again: a pid alone is reused, a pid with its start time is not.

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// One process, for ever: its pid and when it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// When it started, as the system says it: opaque, only compared. On Linux the boot's id and the clock ticks since.
    pub start_time: String,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        // A process can always read about itself; without /proc and ps nothing but the pid is known.
        Self::of(pid).unwrap_or(Self { pid, start_time: String::new() })
    }

    /// The process that has `pid` now; `None` if there is none, or if it has ended and only waits to be reaped.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_time(self.pid).is_some_and(|now| now == self.start_time)
    }

    /// Sends `signal` if this very process still runs; says whether it did.
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && pid(self.pid).is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
    }

    /// Sends `signal` to the group this process leads, if it still runs; says whether it did.
    pub fn signal_group(&self, signal: Signal) -> bool {
        self.is_alive() && signal_group(self.pid, signal)
    }

    /// Waits until the process is gone; `false` if it is still there after `limit`.
    pub async fn wait_gone(&self, limit: Duration) -> bool {
        wait_until(limit, || !self.is_alive()).await
    }
}

/// Asks `done` again and again, with growing pauses of 1 to 50 ms, until it says yes or `limit` has passed.
pub async fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if done() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Sends `signal` to the group `pgid`; says whether there was one.
pub fn signal_group(pgid: i32, signal: Signal) -> bool {
    // Group 1 is the system's own, and 0 would be ours.
    pgid > 1 && pid(pgid).is_some_and(|pid| rustix::process::kill_process_group(pid, signal).is_ok())
}

/// The processes whose environment holds exactly `variable=value`, as far as this user may see.
///
/// Finds what an ended child left behind, even if it moved to a session of its own. Empty where there is no `/proc`.
#[must_use]
pub fn with_variable(variable: &str, value: &str) -> Vec<Process> {
    let wanted = format!("{variable}={value}");
    pids()
        .filter(|pid: &i32| {
            fs_err::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
        })
        .filter_map(Process::of)
        .collect()
}

/// The processes that work in `folder`, as far as this user may see; each process of a PostgreSQL server works in its data folder.
///
/// Empty where there is no `/proc`.
#[must_use]
pub fn working_in(folder: &Path) -> Vec<Process> {
    let Ok(folder) = fs_err::canonicalize(folder) else { return Vec::new() };
    pids()
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder))
        .filter_map(Process::of)
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    fs_err::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn pid(raw: i32) -> Option<Pid> {
    (raw > 0).then(|| Pid::from_raw(raw)).flatten()
}

#[cfg(target_os = "linux")]
fn start_time(pid: i32) -> Option<String> {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = ticks_of_live(&stat)?;
    // Ticks count from the boot: after another one, another process may have the same pid and the same ticks.
    let boot = BOOT.get_or_init(|| {
        fs_err::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    });
    Some(format!("{boot}:{ticks}"))
}

/// Field 22 of `/proc/<pid>/stat`; `None` for a process that has ended.
#[cfg(target_os = "linux")]
fn ticks_of_live(stat: &str) -> Option<u64> {
    // Field 2 is the program's name in parentheses and may itself hold blanks and parentheses.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn start_time(pid: i32) -> Option<String> {
    let output =
        std::process::Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_start_time_is_read_behind_a_name_with_parentheses() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(ticks_of_live(stat), Some(987_654));
        assert_eq!(ticks_of_live(&stat.replace(") S", ") Z")), None);
        assert_eq!(ticks_of_live("7 (x"), None);
    }

    #[test]
    fn this_process_is_alive_and_one_with_another_start_time_is_not_it() {
        let this = Process::current();
        assert!(this.is_alive());
        let other = Process { start_time: "long ago".to_owned(), ..this };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::KILL), "a process that merely has the same pid is left alone");
    }

    #[test]
    fn groups_that_would_be_ours_or_the_systems_are_never_signalled() {
        for pgid in [-1, 0, 1] {
            assert!(!signal_group(pgid, Signal::KILL));
        }
    }

    #[tokio::test]
    async fn an_ended_child_that_nobody_reaped_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(wait_until(Duration::from_secs(10), || Process::of(pid).is_none()).await);
        child.wait().unwrap();
    }
}
