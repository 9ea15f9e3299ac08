//! Files that are either whole or not there, and failures that name them.

use crate::domain::code::Code;
use crate::domain::failure::Failure;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The failure of an operation on `path`: [`Code::DiskFull`] with the free room if that is why, else `code`.
#[must_use]
pub fn failure(code: Code, what: &str, path: &Path, error: &io::Error) -> Failure {
    if is_disk_full(error) {
        return disk_full(path).source(error);
    }
    Failure::new(code, format!("{what}: {}", path.display())).source(error)
}

/// The failure of writing `path`; see [`failure`].
#[must_use]
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let failure = failure(Code::FileUnwritable, "a file or folder cannot be written", path, error);
    match failure.code {
        Code::FileUnwritable => {
            failure.hint("check the permissions of the folder, or name another with [artifacts] dir")
        }
        _ => failure,
    }
}

/// The failure of reading `path`; see [`failure`].
#[must_use]
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    failure(Code::FileUnreadable, "a file or folder cannot be read", path, error)
}

/// Says that the disk under `path` is full, and how much room is left there.
#[must_use]
pub fn disk_full(path: &Path) -> Failure {
    let free = free_bytes(path).map_or_else(|| "an unknown amount".to_owned(), |bytes| mebibytes(bytes).to_string());
    Failure::new(Code::DiskFull, format!("the disk is full while writing {}; {free} free", path.display()))
        .hint("make room on that disk, or choose another folder with `[artifacts] dir`, then go on with `dbd resume`")
}

fn mebibytes(bytes: u64) -> bytesize::ByteSize {
    bytesize::ByteSize::b(bytes)
}

/// Whether `error` means that there is no room left, by the disk or by a quota.
#[must_use]
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes an ordinary user may still write on the file system that holds `path` (or its nearest folder that exists).
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|place| rustix::fs::statvfs(place).ok()).map(|stat| stat.f_bavail * stat.f_frsize)
}

/// `path` with `suffix` appended to its last part.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text: OsString = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

/// Makes `path` empty and readable by its owner only, whatever was there and whatever the umask.
///
/// # Errors
/// Those of creating the file, naming it.
pub fn create_private(path: &Path) -> io::Result<fs_err::File> {
    // A file left over by somebody else's umask keeps its mode when it is truncated: start from nothing.
    remove_if_there(path)?;
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create_new(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Removes a file; one that is not there is as good as removed.
///
/// # Errors
/// Those of removing the file, naming it.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes `bytes` so that after a crash `path` holds either its old content or all of the new, with mode 0600.
///
/// # Errors
/// [`Code::FileUnwritable`], or [`Code::DiskFull`] with nothing left behind.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let partial = with_suffix(path, ".partial");
    let written = (|| {
        let mut file = create_private(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&partial, path)?;
        sync_folder_of(path)
    })();
    written.map_err(|error| {
        let _ = fs_err::remove_file(&partial);
        unwritable(path, &error)
    })
}

/// Makes the names in the folder of `path` durable.
///
/// # Errors
/// Those of opening or syncing the folder.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs_err::File::open(folder)?.sync_all()
}

/// Opens `path` for reading without following a symbolic link in its last part.
///
/// # Errors
/// Those of opening the file.
pub fn open_no_follow(path: &Path) -> io::Result<std::fs::File> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_written_file_is_whole_and_private_and_leaves_no_partial() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"two");
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_does_not_inherit_the_mode_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, "old").unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(create_private(&path).unwrap());
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs_err::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_full_disk_is_named_with_its_path_and_free_room() {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        let failure = unwritable(Path::new("/tmp/backup.dump"), &error);
        assert_eq!(failure.code, Code::DiskFull);
        assert!(failure.message.contains("/tmp/backup.dump") && failure.message.ends_with("free"), "{failure}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let failure = write_durably(Path::new("/nowhere/at/all"), b"x").unwrap_err();
        assert_eq!(failure.code, Code::FileUnwritable);
        assert!(failure.message.contains("/nowhere/at/all"));
    }
}
