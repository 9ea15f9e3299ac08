//! The file's tables: which files make them, which version a journal has, and whether they are still what was made.

use crate::chain;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::BTreeMap;

/// SQLite's `application_id` of a journal: "dbd1".
pub const APPLICATION_ID: i32 = 0x6462_6431;

/// The newest schema this program knows; SQLite's `user_version`.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// The schema, one file per version. A shipped file is never edited.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/journal/0001_journal.sql")];

/// Who a journal is: its one row in `meta`.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) origin: String,
    pub(crate) created_ms: i64,
    pub(crate) nonce: [u8; 32],
    pub(crate) genesis: chain::Hash,
}

impl Identity {
    /// The identity of a journal that is about to be made.
    pub(crate) fn new(origin: &str, created_ms: i64) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce)?;
        let genesis = chain::genesis(origin, created_ms, &nonce);
        Ok(Self { origin: origin.to_owned(), created_ms, nonce, genesis })
    }

    pub(crate) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        conn.query_row("SELECT origin, created, nonce, genesis FROM meta WHERE id = 1", [], |row| {
            Ok(Self { origin: row.get(0)?, created_ms: row.get(1)?, nonce: row.get(2)?, genesis: row.get(3)? })
        })
    }

    /// Whether the genesis follows from the rest.
    pub(crate) fn holds(&self) -> bool {
        chain::genesis(&self.origin, self.created_ms, &self.nonce) == self.genesis
    }
}

/// What a SQLite file turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet.
    Empty,
    /// A journal of this schema.
    Journal { version: u32 },
    /// Somebody else's database.
    Foreign { application_id: i32 },
}

pub(crate) fn identify(conn: &Connection) -> rusqlite::Result<Found> {
    // One statement, so that the three answers belong to the same moment.
    let sql = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version";
    let (application_id, version, objects): (i32, u32, u64) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as u64)))?;
    Ok(match application_id {
        APPLICATION_ID => Found::Journal { version },
        0 if version == 0 && objects == 0 => Found::Empty,
        _ => Found::Foreign { application_id },
    })
}

/// Makes the tables of an empty file, or brings an older journal up to date, in one transaction. Whatever another process did
/// meanwhile is found and respected.
pub(crate) fn migrate(conn: &mut Connection, identity: &Identity) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (from, new) = match identify(&tx)? {
        Found::Empty => (0, true),
        Found::Journal { version } => (version as usize, false),
        Found::Foreign { .. } => return Ok(()),
    };
    for sql in MIGRATIONS.iter().skip(from) {
        tx.execute_batch(sql)?;
    }
    if new {
        tx.execute(
            "INSERT INTO meta (id, origin, created, nonce, genesis) VALUES (1, ?1, ?2, ?3, ?4)",
            (&identity.origin, identity.created_ms, identity.nonce, identity.genesis),
        )?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    if from < MIGRATIONS.len() {
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    tx.commit()
}

/// The first table, index or trigger that is not what the migrations made, or a trigger they did not make.
///
/// Not evidence of anything by itself, but a journal whose guards are gone should not be written to as if nothing had happened.
pub(crate) fn altered(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let model = Connection::open_in_memory()?;
    for sql in MIGRATIONS {
        model.execute_batch(sql)?;
    }
    let (found, expected) = (objects(conn)?, objects(&model)?);
    let changed = expected.iter().find(|(name, sql)| found.get(*name) != Some(*sql));
    let added = found.iter().find(|(name, _)| name.starts_with("trigger ") && !expected.contains_key(*name));
    Ok(changed.or(added).map(|(name, _)| name.clone()))
}

fn objects(conn: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    conn.prepare("SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_holds_exactly_the_embedded_files_numbered_without_gaps() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/journal");
        let mut names: Vec<_> =
            fs_err::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), MIGRATIONS.len());
        for (index, name) in names.iter().enumerate() {
            assert!(name.starts_with(&format!("{:04}_", index + 1)) && name.ends_with(".sql"), "{name}");
            assert_eq!(fs_err::read_to_string(format!("{folder}/{name}")).unwrap(), MIGRATIONS[index]);
        }
    }

    /// When this fails because a file was edited: take the edit back and add the next number instead.
    #[test]
    fn a_shipped_file_is_never_edited() {
        let shipped = ["4e9f48d5c69e87386dd5225a5d364a42ea25eb201d6de5e744058381d48fae74"];
        let found: Vec<_> = MIGRATIONS.iter().map(|sql| blake3::hash(sql.as_bytes()).to_hex().to_string()).collect();
        assert_eq!(found, shipped);
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut conn = Connection::open_in_memory().unwrap();
        assert_eq!(identify(&conn).unwrap(), Found::Empty);
        let first = Identity::new("one", 1).unwrap();
        migrate(&mut conn, &first).unwrap();
        assert_eq!(identify(&conn).unwrap(), Found::Journal { version: SCHEMA_VERSION });
        migrate(&mut conn, &Identity::new("two", 2).unwrap()).unwrap();
        let read = Identity::read(&conn).unwrap();
        assert_eq!((read.origin.as_str(), read.genesis), ("one", first.genesis));
        assert!(read.holds());
        assert_eq!(altered(&conn).unwrap(), None);
    }

    #[test]
    fn a_missing_a_changed_and_an_added_trigger_are_noticed_and_an_added_table_is_not() {
        let change = |sql: &str| {
            let mut conn = Connection::open_in_memory().unwrap();
            migrate(&mut conn, &Identity::new("one", 1).unwrap()).unwrap();
            conn.execute_batch(sql).unwrap();
            altered(&conn).unwrap()
        };
        let link = || Some("trigger event_link".to_owned());
        assert_eq!(change("DROP TRIGGER event_link"), link());
        assert_eq!(
            change(
                "DROP TRIGGER event_link; CREATE TRIGGER event_link BEFORE INSERT ON event WHEN 0 BEGIN SELECT 1; END"
            ),
            link()
        );
        assert_eq!(
            change("CREATE TRIGGER extra AFTER INSERT ON event BEGIN DELETE FROM lease; END"),
            Some("trigger extra".to_owned())
        );
        assert_eq!(change("CREATE TABLE notes (t TEXT)"), None);
    }
}
