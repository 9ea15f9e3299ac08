//! The file of the key that signs evidence: its owner's alone, and never half written.

use crate::adapters::support::files::{
    open_no_follow, sync_folder_of, unreadable, unwritable, with_suffix, write_durably,
};
use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::secret::Secret;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest file that is looked at, in bytes: a key is one line.
const MOST: u64 = 4096;

/// The key's file, and beside it the key that is about to take its place.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    next: PathBuf,
}

impl KeyFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), next: with_suffix(path, ".next") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key; `None` if there is no file.
    ///
    /// # Errors
    /// [`AuditKeyUnusable`](Code::AuditKeyUnusable) if others may read it, or it is a link.
    pub fn read(&self) -> Result<Option<Secret>, Failure> {
        read(&self.path)
    }

    /// The key that was about to take its place when a process ended.
    ///
    /// # Errors
    /// As [`KeyFile::read`].
    pub fn read_next(&self) -> Result<Option<Secret>, Failure> {
        read(&self.next)
    }

    /// Writes the first key.
    ///
    /// # Errors
    /// [`FileUnwritable`](Code::FileUnwritable).
    pub fn write(&self, key: &Secret) -> Result<(), Failure> {
        self.put(&self.path, key)
    }

    /// Writes the key that is about to take the place of the one there.
    ///
    /// # Errors
    /// [`FileUnwritable`](Code::FileUnwritable).
    pub fn write_next(&self, key: &Secret) -> Result<(), Failure> {
        self.put(&self.next, key)
    }

    /// Puts the next key in the place of the one there.
    ///
    /// # Errors
    /// [`FileUnwritable`](Code::FileUnwritable).
    pub fn promote(&self) -> Result<(), Failure> {
        fs_err::rename(&self.next, &self.path)
            .and_then(|()| sync_folder_of(&self.path))
            .map_err(|error| unwritable(&self.path, &error))
    }

    fn put(&self, path: &Path, key: &Secret) -> Result<(), Failure> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
            // A private key belongs in no repository.
            let ignore = folder.join(".gitignore");
            if folder.file_name().is_some_and(|name| name == ".dbd") && !ignore.exists() {
                fs_err::write(&ignore, "*\n").map_err(|error| unwritable(&ignore, &error))?;
            }
        }
        write_durably(path, format!("{}\n", key.expose()).as_bytes())
    }
}

fn read(path: &Path) -> Result<Option<Secret>, Failure> {
    let file = match open_no_follow(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mode = file.metadata().map_err(|error| unreadable(path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Code::AuditKeyUnusable,
            format!("{} can be read by others (mode {:o})", path.display(), mode & 0o777),
        )
        .hint(format!("if nobody did: chmod 600 {}", path.display()))
        .hint("if somebody may have: `dbd audit key rotate` makes another key, once its mode is right"));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    Ok(Some(Secret::new(text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_private_and_its_successor_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(&folder.path().join(".dbd/audit.key"));
        assert_eq!(file.read().unwrap(), None);
        file.write(&Secret::new("one")).unwrap();
        file.write_next(&Secret::new("two")).unwrap();
        assert_eq!(
            (file.read().unwrap(), file.read_next().unwrap()),
            (Some(Secret::new("one")), Some(Secret::new("two")))
        );
        file.promote().unwrap();
        assert_eq!((file.read().unwrap(), file.read_next().unwrap()), (Some(Secret::new("two")), None));
        assert_eq!(fs_err::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(folder.path().join(".dbd/.gitignore").is_file());
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::new(&folder.path().join("audit.key"));
        file.write(&Secret::new("one")).unwrap();
        fs_err::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let failure = file.read().unwrap_err();
        assert_eq!(failure.code, Code::AuditKeyUnusable);
        assert!(failure.message.contains("640") && !failure.message.contains("one"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        assert!(KeyFile::new(&link).read().is_err());
    }
}
