//! Opening a journal: everything its promises rest on is set and asked back before the first event is written.

use crate::entry::{Head, name_problem};
use crate::error::{OpenError, Unusable};
use crate::schema::{self, Found, Identity, SCHEMA_VERSION};
use crate::store::Journal;
use crate::witness::Witness;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How to open a journal for writing.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Who a journal is that has to be created, for example `dbd/<host name>/<random>`. An existing journal keeps its own.
    pub origin: String,
    /// The time of creation, if it is created, in unix milliseconds.
    pub now_ms: i64,
    /// How long to wait for another process that is writing.
    pub busy_timeout: Duration,
}

impl OpenOptions {
    /// Options with a busy timeout of five seconds.
    #[must_use]
    pub fn new(origin: impl Into<String>, now_ms: i64) -> Self {
        Self { origin: origin.into(), now_ms, busy_timeout: Duration::from_secs(5) }
    }
}

impl Journal {
    /// Opens the journal at `path` for writing, and creates it, and its folder, if there is none.
    ///
    /// A new file can be read and written by its owner alone. An older schema is brought up to date. A newer one is opened all the
    /// same, but every write is refused ([`Unusable::Newer`]).
    ///
    /// # Errors
    /// See [`OpenError`]. A file that is something else is left as it is.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, OpenError> {
        patiently(options.busy_timeout, || Self::open_once(path.as_ref(), options))
    }

    fn open_once(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        check_sqlite(rusqlite::version_number())?;
        if let Some(why) = name_problem(&options.origin) {
            return Err(OpenError::Origin { why });
        }
        let folder = make_folder(path)?;
        check_file_system(&folder)?;

        // No URI flag: a path is a path, also when it starts with `file:`.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags).map_err(said(path, "opening the file"))?;
        settings(&conn, options.busy_timeout).map_err(said(path, "configuring SQLite"))?;
        // Identified before the first setting that writes, so that a stranger's file stays as it was.
        // Before the journal is looked at: whoever writes meanwhile only adds.
        let known = Witness::read(path);
        let found = identify(&conn, path)?;
        if let (Found::Empty, Some(known)) = (&found, &known)
            && known.head.seq > 0
        {
            // There was a journal here, and it is not for us to begin another one in its place.
            return Err(OpenError::LostTail {
                path: path.to_owned(),
                known: known.head,
                head: Head { seq: 0, hash: known.head.hash },
            });
        }
        if found == Found::Empty {
            // While it is empty, and by path: opening and closing the file here would drop SQLite's locks on it in this process.
            // SQLite gives the `-wal` and `-shm` files the same mode.
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .map_err(|source| OpenError::Folder { path: folder.clone(), source })?;
        }
        durable_settings(&conn, path)?;
        if !matches!(found, Found::Journal { version } if version >= SCHEMA_VERSION) {
            let identity =
                Identity::new(&options.origin, options.now_ms).map_err(|source| OpenError::Random { source })?;
            schema::migrate(&mut conn, &identity).map_err(said(path, "making the tables"))?;
        }
        if found == Found::Empty {
            // The genesis leaves the `-wal` file at once: whatever happens to that file later can only cost events.
            checkpoint(&conn).map_err(said(path, "checkpointing"))?;
            sync_folder(&folder).map_err(|source| OpenError::Folder { path: folder.clone(), source })?;
        }
        let barred = match identify(&conn, path)? {
            Found::Journal { version } if version > SCHEMA_VERSION => {
                Some(Unusable::Newer { found: version, known: SCHEMA_VERSION })
            }
            _ => None,
        };
        if barred.is_none()
            && let Some(object) = schema::altered(&conn).map_err(said(path, "reading the schema"))?
        {
            return Err(OpenError::Altered { path: path.to_owned(), object });
        }
        if let Some(detail) = quick_check(&conn).map_err(said(path, "checking the file"))? {
            return Err(OpenError::Damaged { path: path.to_owned(), detail });
        }
        let journal = Self::from_connection(conn, path, barred)?;
        journal.hold_against(known)?;
        Ok(journal)
    }

    /// Refuses a journal that does not hold what is remembered beside it. One whose events do not verify is for the readers to refuse:
    /// they say which.
    fn hold_against(&self, known: Option<Witness>) -> Result<(), OpenError> {
        let Some(known) = known else { return Ok(()) };
        match (self.missing(&known), self.head()) {
            (Ok(Some(known)), Ok(head)) => Err(OpenError::LostTail { path: self.path.clone(), known, head }),
            _ => Ok(()),
        }
    }

    /// Opens the journal at `path` for reading, also while another process writes to it.
    ///
    /// Never creates a journal. It does not insist that the file is sound either, because finding out what is wrong with it is
    /// what [`Journal::verify`] is for.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none; else see [`OpenError`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        patiently(READER_TIMEOUT, || Self::open_to_read_once(path.as_ref()))
    }

    fn open_to_read_once(path: &Path) -> Result<Self, OpenError> {
        check_sqlite(rusqlite::version_number())?;
        let folder = folder_of(path);
        if !path.try_exists().map_err(|source| OpenError::Folder { path: folder.clone(), source })? {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        check_file_system(&folder)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(said(path, "opening the file"))?;
        settings(&conn, READER_TIMEOUT).map_err(said(path, "configuring SQLite"))?;
        if identify(&conn, path)? == Found::Empty {
            // Creation was cut short, or has not finished: there is no journal yet.
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        Self::from_connection(conn, path, Some(Unusable::ReadOnly))
    }

    fn from_connection(conn: Connection, path: &Path, barred: Option<Unusable>) -> Result<Self, OpenError> {
        conn.set_prepared_statement_cache_capacity(32);
        let identity = Identity::read(&conn).map_err(said(path, "reading its origin"))?;
        Ok(Self { conn, path: path.to_owned(), identity, barred, beside: None })
    }
}

/// One more connection that reads the journal at `path`, which is open already.
pub(crate) fn another(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    settings(&conn, READER_TIMEOUT)?;
    Ok(conn)
}

/// How long a reader waits for another process that is writing.
const READER_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens again for as long as `timeout` while the journal is busy.
///
/// SQLite waits by itself for most locks, but says "busy" at once where waiting could be a deadlock: for two connections that both
/// switch a new file to WAL, for one. Letting go of everything and beginning again cannot be one.
fn patiently<T>(timeout: Duration, mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(OpenError::Busy { .. }) if begun.elapsed() < timeout => std::thread::sleep(Duration::from_millis(2)),
            answer => return answer,
        }
    }
}

/// Copies the `-wal` file into the journal and empties it. `false` if somebody else was using it.
pub(crate) fn checkpoint(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

/// The first thing SQLite finds wrong with the file, if any.
pub(crate) fn quick_check(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let answer: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((answer != "ok").then_some(answer))
}

/// As [`quick_check`], with every index held against its table.
pub(crate) fn integrity_check(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let answer: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((answer != "ok").then_some(answer))
}

/// As [`integrity_check`], of one table and its indexes.
pub(crate) fn integrity_check_of(conn: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let answer: String = conn.query_row(&format!("PRAGMA integrity_check({table})"), [], |row| row.get(0))?;
    Ok((answer != "ok").then_some(answer))
}

/// The settings that belong to the connection and leave the file alone.
fn settings(conn: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(busy_timeout)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Without it, the delete inside a REPLACE fires no trigger.
    conn.pragma_update(None, "recursive_triggers", true)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
}

/// The settings that make a commit durable, each asked back.
fn durable_settings(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let refuse = |setting, answer: String| OpenError::Setting { path: path.to_owned(), setting, answer };
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(said(path, "switching to WAL"))?;
    if mode != "wal" {
        return Err(refuse("journal_mode = WAL", mode));
    }
    let set = |name, value: i64| conn.pragma_update(None, name, value).map_err(said(path, "configuring SQLite"));
    set("synchronous", 2)?;
    set("fullfsync", 1)?; // macOS: fsync alone does not reach the disk there
    set("checkpoint_fullfsync", 1)?;
    set("secure_delete", 1)?; // a purged blob is gone from its pages
    conn.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))
        .map_err(said(path, "configuring SQLite"))?;
    let synchronous: i64 =
        conn.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(said(path, "configuring SQLite"))?;
    if synchronous != 2 {
        return Err(refuse("synchronous = FULL", synchronous.to_string()));
    }
    Ok(())
}

fn identify(conn: &Connection, path: &Path) -> Result<Found, OpenError> {
    match schema::identify(conn).map_err(said(path, "reading its header"))? {
        Found::Foreign { application_id: 0 } => Err(OpenError::NotAJournal {
            path: path.to_owned(),
            why: "it is another program's SQLite database".to_owned(),
        }),
        Found::Foreign { application_id } => Err(OpenError::NotAJournal {
            path: path.to_owned(),
            why: format!("it is a SQLite database with application_id {application_id:#010x}"),
        }),
        found => Ok(found),
    }
}

/// Puts what SQLite said while `action` went on into the words of opening.
fn said(path: &Path, action: &'static str) -> impl Fn(rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            OpenError::NotAJournal { path: path.clone(), why: "it is not a SQLite database".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path: path.clone(), detail: source.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy { path: path.clone() },
        None if source == rusqlite::Error::QueryReturnedNoRows => {
            OpenError::Damaged { path: path.clone(), detail: "it has lost its origin".to_owned() }
        }
        _ => OpenError::Sqlite { path: path.clone(), action, source },
    }
}

/// Refuses versions of SQLite in which a checkpoint can lose committed transactions (the WAL-reset bug, up to 3.51.2).
fn check_sqlite(number: i32) -> Result<(), OpenError> {
    let sound =
        number >= 3_051_003 || (3_050_007..3_051_000).contains(&number) || (3_044_006..3_045_000).contains(&number);
    if sound {
        return Ok(());
    }
    Err(OpenError::SqliteVersion {
        found: format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000),
    })
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Makes the folder `path` lies in, durably.
fn make_folder(path: &Path) -> Result<PathBuf, OpenError> {
    let folder = folder_of(path);
    let failed = |source| OpenError::Folder { path: folder.clone(), source };
    let missing: Vec<_> = folder.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    if !missing.is_empty() {
        fs_err::create_dir_all(&folder).map_err(failed)?;
        for made in missing {
            sync_folder(&folder_of(made)).map_err(failed)?;
        }
    }
    Ok(folder)
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}

/// Refuses a folder on a network file system.
fn check_file_system(folder: &Path) -> Result<(), OpenError> {
    match network_file_system(folder) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => Err(OpenError::NetworkFileSystem { path: folder.to_owned(), name: name.to_owned() }),
        Err(errno) => Err(OpenError::Folder { path: folder.to_owned(), source: errno.into() }),
    }
}

#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> rustix::io::Result<Option<&'static str>> {
    let magic = rustix::fs::statfs(folder)?.f_type;
    // The type's width differs between platforms; every magic number fits 32 bits.
    Ok(name_of_magic(magic as u32))
}

/// The name of a file system that is not a local disk's, by its magic number (linux/magic.h and the file systems' own headers).
#[cfg(target_os = "linux")]
fn name_of_magic(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x0000_6969 => "NFS",
        0x0000_517B => "SMB",
        0xFE53_4D42 => "SMB2",
        0xFF53_4D42 => "CIFS",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0000_564C => "NCP",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        0x786F_4256 => "vboxsf",
        0x7C7C_6673 => "prl_fs",
        0x2BAD_1DEA => "vmhgfs",
        _ => return None,
    })
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(folder: &Path) -> rustix::io::Result<Option<&'static str>> {
    let stat = rustix::fs::statfs(folder)?;
    let name: String = stat.f_fstypename.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect();
    let remote = ["nfs", "smbfs", "afpfs", "webdav", "ftp", "macfuse", "osxfuse", "fusefs", "9p"];
    Ok(remote.into_iter().find(|known| *known == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> OpenOptions {
        OpenOptions::new("dbd/test/1", 1_000)
    }

    #[test]
    fn only_versions_of_sqlite_without_the_wal_reset_bug_are_accepted() {
        for sound in [3_044_006, 3_044_999, 3_050_007, 3_051_003, 3_054_001, 4_000_000] {
            check_sqlite(sound).unwrap();
        }
        for lossy in [3_007_000, 3_044_005, 3_045_000, 3_050_006, 3_051_000, 3_051_002] {
            check_sqlite(lossy).unwrap_err();
        }
        assert!(check_sqlite(3_046_000).unwrap_err().to_string().starts_with("SQLite 3.46.0 can lose"));
        check_sqlite(rusqlite::version_number()).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn network_file_systems_are_known_by_name_and_local_ones_pass() {
        for (magic, name) in [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB2"), (0x0102_1997, "9p")] {
            assert_eq!(name_of_magic(magic), Some(name));
        }
        for local in [0xEF53, 0x9123_683E, 0x5846_5342, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1] {
            assert_eq!(name_of_magic(local), None, "{local:#x}"); // ext4 btrfs xfs tmpfs overlayfs zfs
        }
        // The kernel's own view of a folder is neither, and is not refused.
        assert_eq!(network_file_system(Path::new("/proc")).unwrap(), None);
    }

    #[test]
    fn the_connection_has_the_settings_durability_rests_on() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("a/b/journal.db"), &options()).unwrap();
        let ask =
            |name: &str| journal.conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        let expected: [(&str, rusqlite::types::Value); 9] = [
            ("journal_mode", "wal".to_owned().into()),
            ("synchronous", 2.into()),
            ("recursive_triggers", 1.into()),
            ("foreign_keys", 1.into()),
            ("trusted_schema", 0.into()),
            ("cell_size_check", 1.into()),
            ("busy_timeout", 5000.into()),
            ("application_id", 0x6462_6431.into()),
            ("user_version", 1.into()),
        ];
        for (name, value) in expected {
            assert_eq!(ask(name).unwrap(), value, "{name}");
        }
        assert!(journal.conn.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap());
    }

    #[test]
    fn a_relative_path_without_a_folder_lies_in_the_current_one() {
        assert_eq!(folder_of(Path::new("journal.db")), Path::new("."));
        assert_eq!(folder_of(Path::new("x/journal.db")), Path::new("x"));
    }
}
