//! Files: a run's own folder, and the migrations folder.

use crate::domain::code::Code;
use crate::domain::digest::Digest;
use crate::domain::event::Artifact;
use crate::domain::failure::Failure;
use crate::domain::migration::{
    Folder, Format, FormatChoice, MigrationSet, NewFile, NewName, read_folder, reader_of, table_of,
};
use crate::ports::boundary::{Boundary, passed};
use crate::ports::files::Files;
use crate::ports::source::Migrations;
use fs_err as fs;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// How the name of a file begins that is not written whole yet.
const PARTIAL: &str = ".partial-";

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
    artifacts: PathBuf,
    folder: PathBuf,
}

impl RunFolder {
    /// The folder `run` below the artifacts folder. Nothing is made before something is written.
    #[must_use]
    pub fn new(root: &Path, artifacts: &Path, run: &str) -> Self {
        Self { root: root.to_owned(), artifacts: artifacts.to_owned(), folder: artifacts.join(run) }
    }

    /// Makes the folder, with a `.gitignore` above it: dumps hold data and belong in no repository.
    ///
    /// # Errors
    /// [`Code::FileUnwritable`] or [`Code::DiskFull`].
    pub fn make(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let private = std::fs::Permissions::from_mode(0o700);
            fs::set_permissions(&self.folder, private).map_err(|error| failed(&self.folder, &error))?;
        }
        ignore_folder(&self.artifacts)
    }
}

/// Keeps a folder out of Git by a `.gitignore` of its own, unless it has one.
///
/// # Errors
/// [`Code::FileUnwritable`] or [`Code::DiskFull`].
pub fn ignore_folder(folder: &Path) -> Result<(), Failure> {
    let ignore = folder.join(".gitignore");
    if ignore.exists() {
        return Ok(());
    }
    fs::write(&ignore, "*\n").map_err(|error| failed(&ignore, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::StorageFull {
        return Failure::new(Code::DiskFull, format!("{} cannot be written: the disk is full", path.display()))
            .hint("make room, or put the artifacts elsewhere with [artifacts] dir");
    }
    Failure::new(Code::FileUnwritable, format!("{} cannot be written", path.display()))
        .source(error)
        .hint("check the permissions of the folder, or name another with [artifacts] dir")
}

impl Files for RunFolder {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<Artifact, Failure> {
        self.make()?;
        let path = self.folder.join(name);
        let fail = |error: std::io::Error| failed(&path, &error);
        let mut file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        passed(Boundary::FileTemporary, name);
        file.persist(&path).map_err(|error| failed(&path, &error.error))?;
        // The new name is durable once its folder is.
        fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        passed(Boundary::FileNamed, name);
        Ok(Artifact { name: name.to_owned(), digest: Digest::of(bytes), bytes: bytes.len() as u64 })
    }

    fn remove_leftovers(&self) {
        // No folder, nothing left; and a leftover that stays does no harm.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_suffix(".partial").filter(|whole| whole.ends_with(".log")) {
                // What a command said until it was killed is all there is to know of it.
                Some(whole) => drop(fs::rename(entry.path(), self.folder.join(whole))),
                None if name.contains(".partial") => drop(fs::remove_file(entry.path())),
                None => {}
            }
        }
    }

    fn look(&self, name: &str) -> Option<Artifact> {
        let bytes = fs::read(self.folder.join(name)).ok()?;
        Some(Artifact { name: name.to_owned(), digest: Digest::of(&bytes), bytes: bytes.len() as u64 })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn shown(&self, name: &str) -> String {
        let path = if name.is_empty() { self.folder.clone() } else { self.folder.join(name) };
        path.strip_prefix(&self.root).unwrap_or(&path).display().to_string()
    }

    fn free_bytes(&self) -> Option<u64> {
        // The folder may not be there yet: ask the nearest that is.
        let there = self.folder.ancestors().find(|folder| folder.exists())?;
        let stat = rustix::fs::statvfs(there).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The migrations folder of a project.
#[derive(Clone, Debug)]
pub struct MigrationsFolder {
    /// The project's root, where other tools leave their traces.
    pub root: PathBuf,
    /// The folder, or why none was found.
    pub dir: Result<PathBuf, Failure>,
    /// How people see it: relative to the project's root.
    pub shown: String,
    /// The format it is to be read as.
    pub choice: FormatChoice,
    /// What the tools' own configuration says, by tool and key.
    pub said: BTreeMap<String, String>,
    /// The table that keeps track, if dbd's configuration names one.
    pub table: Option<String>,
}

impl MigrationsFolder {
    /// Every file below the folder that may matter to a format: no more than two folders deep, and none of more than 32 MiB.
    ///
    /// Drizzle's snapshots, which come to many megabytes, are read only to make the next one.
    fn folder(&self, dir: &Path, snapshots: bool) -> Result<Folder, Failure> {
        let mut folder = Folder {
            dir: self.shown.clone(),
            files: BTreeMap::new(),
            hints: hints(&self.root),
            said: self.said.clone(),
            table: self.table.clone(),
        };
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::new(Code::FileUnreadable, format!("{} cannot be read", path.display())).cause(error)
        };
        let mut open = vec![(dir.to_owned(), String::new(), 0)];
        while let Some((path, prefix, depth)) = open.pop() {
            for entry in fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
                let entry = entry.map_err(|error| unreadable(&path, &error))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') || depth == 0 && ["node_modules", "target"].contains(&name.as_str()) {
                    continue;
                }
                let (inner, shown) = (entry.path(), format!("{prefix}{name}"));
                let metadata = fs::metadata(&inner).map_err(|error| unreadable(&inner, &error))?;
                if metadata.is_dir() && depth < 2 {
                    open.push((inner, format!("{shown}/"), depth + 1));
                } else if metadata.is_file() && metadata.len() <= 32 * 1024 * 1024 {
                    // Of what no tool reads, the name is enough.
                    let read = [".sql", ".json", ".toml", ".plan", ".conf"]
                        .iter()
                        .any(|end| name.to_lowercase().ends_with(end))
                        && (snapshots || !name.ends_with("snapshot.json"));
                    let bytes = match read {
                        true => fs::read(&inner).map_err(|error| unreadable(&inner, &error))?,
                        false => Vec::new(),
                    };
                    folder.files.insert(shown, bytes);
                }
            }
        }
        Ok(folder)
    }
}

/// The user's own migration tool, in place of a folder.
#[derive(Clone, Debug)]
pub struct MigrationCommand(pub String);

impl Migrations for MigrationCommand {
    fn read(&self) -> Result<MigrationSet, Failure> {
        Ok(MigrationSet::of_command(&self.0))
    }

    fn table(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn make(&self, name: NewName<'_>) -> Result<Vec<PathBuf>, Failure> {
        Format::Command.reader().new_files(&Folder::default(), &[], name).map(|_| Vec::new())
    }
}

/// The tools whose traces lie in the project's root, by their names in the configuration.
fn hints(root: &Path) -> BTreeSet<String> {
    let mut hints = BTreeSet::new();
    for (file, tool) in
        [("sqlx.toml", "sqlx"), (".sqlx", "sqlx"), ("refinery.toml", "refinery"), ("flyway.toml", "flyway")]
    {
        if root.join(file).exists() {
            hints.insert(tool.to_owned());
        }
    }
    // The dependencies of a program that migrates its own database.
    for (file, word, tool) in [
        ("Cargo.toml", "sqlx", "sqlx"),
        ("Cargo.toml", "refinery", "refinery"),
        ("go.mod", "github.com/golang-migrate/migrate", "golang-migrate"),
    ] {
        let names = |line: &str| {
            let line = line.trim_start();
            line.starts_with(word) || line.contains(&format!(".{word}]")) || file == "go.mod" && line.contains(word)
        };
        if fs::read_to_string(root.join(file)).is_ok_and(|text| text.lines().any(names)) {
            hints.insert(tool.to_owned());
        }
    }
    hints
}

impl Migrations for MigrationsFolder {
    fn read(&self) -> Result<MigrationSet, Failure> {
        let dir = self.dir.clone()?;
        read_folder(&self.folder(&dir, false)?, self.choice)
    }

    fn table(&self) -> Result<Option<String>, Failure> {
        let dir = self.dir.clone()?;
        table_of(&self.folder(&dir, false)?, self.choice)
    }

    fn make(&self, name: NewName<'_>) -> Result<Vec<PathBuf>, Failure> {
        let dir = self.dir.clone()?;
        let unwritable = |path: &Path, error: &std::io::Error| {
            Failure::new(Code::FileUnwritable, format!("{} cannot be made", path.display())).source(error)
        };
        fs::create_dir_all(&dir).map_err(|error| unwritable(&dir, &error))?;
        let folder = self.folder(&dir, true)?;
        let reader = match reader_of(&folder, self.choice) {
            // The first migration of a folder makes it what it is.
            Err(failure) if failure.code == Code::NoMigrations => Format::Sql.reader(),
            reader => reader?,
        };
        let migrations = match reader.read(&folder) {
            Ok(set) => set.migrations,
            Err(_) if folder.files.is_empty() => Vec::new(),
            Err(failure) => return Err(failure),
        };
        let ids: Vec<&str> = migrations.iter().map(|one| one.id.as_str()).collect();
        let mut made = Vec::new();
        for NewFile { path, text, replaces } in reader.new_files(&folder, &ids, name)? {
            let path = dir.join(path);
            let parent = path.parent().unwrap_or(&dir).to_owned();
            fs::create_dir_all(&parent).map_err(|error| unwritable(&parent, &error))?;
            let written = if replaces {
                let mut file = tempfile::NamedTempFile::new_in(&parent).map_err(|error| unwritable(&path, &error))?;
                file.write_all(text.as_bytes())
                    .and_then(|()| file.persist(&path).map(|_| ()).map_err(|error| error.error))
            } else {
                let mut open = fs::OpenOptions::new();
                open.write(true).create_new(true).open(&path).and_then(|mut file| file.write_all(text.as_bytes()))
            };
            written.map_err(|error| unwritable(&path, &error))?;
            made.push(path);
        }
        Ok(made)
    }
}
