//! Where the tests keep their servers and projects: in memory where there is enough of it, else in `/tmp`.
//!
//! Most of what a test waits for on a disk is files being made and removed: hundreds for each new database. None of the tests asks a
//! file to survive the machine, only processes that are killed, and for that memory is as true as a disk. `DBD_TEST_ROOM` names another
//! folder; everybody has to be let through to it.

use rustix::process::Pid;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What has to be free in the file system, and in the machine's memory, before memory is used.
const ENOUGH: u64 = 6 << 30;

/// The folder. Its path is short, as sockets need it.
#[allow(clippy::disallowed_methods, reason = "tests read the environment themselves")]
pub fn room() -> &'static Path {
    static ROOM: OnceLock<PathBuf> = OnceLock::new();
    ROOM.get_or_init(|| {
        let room = match std::env::var_os("DBD_TEST_ROOM") {
            Some(named) => PathBuf::from(named),
            None if has_memory(Path::new("/dev/shm")) => PathBuf::from("/dev/shm"),
            None => PathBuf::from("/tmp"),
        };
        remove_stale(&room);
        room
    })
}

/// A new folder in the [`room`] that others may pass through, gone when it is dropped. `label` tells what it is for.
pub fn folder(label: &str) -> tempfile::TempDir {
    let prefix = format!("dbd-{label}-{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(room()).expect("the room can be written");
    fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("it is ours");
    folder
}

fn has_memory(folder: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    let available = fs_err::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let is_memory = rustix::fs::statfs(folder).is_ok_and(|stat| u32::try_from(stat.f_type) == Ok(TMPFS));
    let free = rustix::fs::statvfs(folder).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    is_memory && free >= ENOUGH && available.is_some_and(|kib| kib >= ENOUGH >> 10)
}

/// Removes what test processes left that were killed, and whose server is gone as well. The names are `dbd-<what>-<pid>` and
/// `dbd-<what>-<pid>-<random>`.
fn remove_stale(room: &Path) {
    let alive = |pid: Pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH);
    let pid_of = |text: &str| text.trim().parse().ok().and_then(Pid::from_raw);
    for entry in fs_err::read_dir(room).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = ["dbd-test-", "dbd-run-", "dbd-demo-", "dbd-tools-"]
            .iter()
            .find_map(|prefix| name.to_str()?.strip_prefix(prefix));
        let Some(pid) = rest.and_then(|rest| rest.split('-').find_map(pid_of)) else { continue };
        let postmaster = fs_err::read_to_string(entry.path().join("data/postmaster.pid")).unwrap_or_default();
        if !alive(pid) && !postmaster.lines().next().and_then(pid_of).is_some_and(alive) {
            let _ = fs_err::remove_dir_all(entry.path());
        }
    }
}
