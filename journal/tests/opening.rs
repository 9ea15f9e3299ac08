//! Opening: what is created, what is refused, what is left alone.

use crate::support::{Place, event, options};
use dbd_journal::{APPLICATION_ID, AppendError, Journal, OpenError, OpenOptions, SCHEMA_VERSION, Unusable};
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

#[test]
fn a_journal_goes_on_where_it_was_left_and_keeps_its_origin() {
    let place = Place::new();
    let mut journal = place.open();
    assert_eq!((journal.origin(), journal.created_ms()), ("dbd/test/0001", 1_000));
    let head = journal.append(event("a", 0)).unwrap().hash;
    drop(journal);
    let mut again = Journal::open(place.path(), &OpenOptions::new("dbd/other/2", 9_999)).unwrap();
    assert_eq!((again.origin(), again.created_ms()), ("dbd/test/0001", 1_000));
    assert_eq!(again.head().unwrap().hash, head);
    assert_eq!(again.append(event("a", 1)).unwrap().seq, 2);
    assert_eq!(again.verify().unwrap().events, 2);
}

#[test]
fn a_new_journal_is_its_owners_alone_and_marked_as_one() {
    let place = Place::new();
    let path = place.dir.path().join("made/on/the/way/journal.db");
    let mut journal = Journal::open(&path, &options()).unwrap();
    journal.append(event("a", 0)).unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let mode = fs_err::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let stranger = Connection::open(&path).unwrap();
    let id: i32 = stranger.pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
    let version: u32 = stranger.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((id, version), (APPLICATION_ID, SCHEMA_VERSION));
}

#[test]
fn reading_a_journal_that_is_not_there_creates_nothing() {
    let place = Place::new();
    let path = place.dir.path().join("deeper/journal.db");
    for path in [place.path(), path] {
        let error = Journal::open_read_only(&path).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    }
    assert_eq!(fs_err::read_dir(place.dir.path()).unwrap().count(), 0);
    fs_err::write(place.path(), "").unwrap();
    assert!(matches!(Journal::open_read_only(place.path()).unwrap_err(), OpenError::Missing { .. }));
    assert_eq!(fs_err::read(place.path()).unwrap(), b"");
}

#[test]
fn a_reader_sees_what_a_writer_commits() {
    let place = Place::new();
    let mut writer = place.open();
    let reader = place.read_only();
    assert_eq!(reader.head().unwrap().seq, 0);
    writer.append(event("a", 0)).unwrap();
    assert_eq!(reader.events("a").unwrap().len(), 1);
    drop(writer);
    assert_eq!(reader.verify().unwrap().events, 1);
    assert_eq!(place.read_only().verify().unwrap().events, 1, "also after the last writer has gone");
}

#[test]
fn an_empty_file_becomes_a_journal() {
    let place = Place::new();
    fs_err::write(place.path(), "").unwrap();
    fs_err::set_permissions(place.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.open().append(event("a", 0)).unwrap().seq, 1);
    assert_eq!(fs_err::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn somebody_elses_file_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let make = |sql: &str| {
        let _ = fs_err::remove_file(place.path());
        Connection::open(place.path()).unwrap().execute_batch(sql).unwrap();
    };
    let refused = |said: &str| {
        let before = fs_err::read(place.path()).unwrap();
        for error in
            [Journal::open(place.path(), &options()).unwrap_err(), Journal::open_read_only(place.path()).unwrap_err()]
        {
            assert!(matches!(error, OpenError::NotAJournal { .. }), "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(fs_err::read(place.path()).unwrap(), before);
        assert_eq!(fs_err::read_dir(place.dir.path()).unwrap().count(), 1, "no -wal file beside it");
    };
    make("CREATE TABLE notes (t TEXT)");
    refused("another program's SQLite database");
    make("PRAGMA application_id = 4660; CREATE TABLE notes (t TEXT)");
    refused("application_id 0x00001234");
    fs_err::write(place.path(), "not a database at all, but long enough for a header".repeat(100)).unwrap();
    refused("not a SQLite database");
}

#[test]
fn a_damaged_journal_is_not_opened_for_writing() {
    let place = Place::new();
    let mut journal = place.open();
    for rseq in 0..40 {
        journal.append(event("a", rseq)).unwrap();
    }
    journal.checkpoint().unwrap();
    drop(journal);
    let mut bytes = fs_err::read(place.path()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 64].fill(0xFF);
    fs_err::write(place.path(), bytes).unwrap();
    let error = Journal::open(place.path(), &options()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(!place.read_only().verify().unwrap().is_sound());
}

#[test]
fn a_newer_schema_is_read_and_not_written() {
    let place = Place::new();
    place.open().append(event("a", 0)).unwrap();
    place.stranger().pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let mut journal = place.open();
    assert_eq!(journal.events("a").unwrap().len(), 1);
    let newer = Unusable::Newer { found: SCHEMA_VERSION + 1, known: SCHEMA_VERSION };
    assert_eq!(journal.writable(), Err(newer));
    assert!(matches!(journal.append(event("a", 1)).unwrap_err(), AppendError::Unusable(why) if why == newer));
    assert!(journal.take_lease("t", "a", "o", 1).is_err());
    assert!(place.read_only().verify().unwrap().is_sound());
}

#[test]
fn many_who_create_the_same_journal_agree_on_one() {
    const CREATORS: usize = 6;
    for _ in 0..5 {
        let place = Place::new();
        let barrier = Barrier::new(CREATORS);
        std::thread::scope(|scope| {
            for creator in 0..CREATORS {
                let (path, barrier) = (place.path(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut journal = Journal::open(path, &OpenOptions::new(format!("dbd/{creator}"), 1)).unwrap();
                    journal.append(event(&format!("run-{creator}"), 0)).unwrap();
                });
            }
        });
        let verdict = place.read_only().verify().unwrap();
        assert!(verdict.is_sound(), "{verdict:?}");
        assert_eq!(verdict.events, CREATORS as u64);
    }
}

#[test]
fn a_checkpoint_empties_the_wal_file_unless_a_reader_needs_it() {
    let place = Place::new();
    let wal = place.path().with_file_name("journal.db-wal");
    let mut journal =
        Journal::open(place.path(), &OpenOptions { busy_timeout: std::time::Duration::ZERO, ..options() }).unwrap();
    assert_eq!(fs_err::metadata(&wal).unwrap().len(), 0, "the genesis is in the journal's own file");
    journal.append(event("a", 0)).unwrap();
    assert!(fs_err::metadata(&wal).unwrap().len() > 0);
    let stranger = place.stranger();
    stranger.execute_batch("BEGIN; SELECT count(*) FROM event").unwrap();
    journal.append(event("a", 1)).unwrap();
    assert!(!journal.checkpoint().unwrap());
    stranger.execute_batch("COMMIT").unwrap();
    assert!(journal.checkpoint().unwrap());
    assert_eq!(fs_err::metadata(&wal).unwrap().len(), 0);
    assert_eq!(journal.verify().unwrap().events, 2);
}

#[test]
fn a_journal_that_lost_its_origin_is_damaged() {
    let place = Place::new();
    drop(place.open());
    place.stranger().execute_batch("DROP TRIGGER meta_no_delete; DELETE FROM meta").unwrap();
    let error = Journal::open_read_only(place.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn an_origin_that_cannot_be_one_is_refused_before_anything_is_made() {
    let place = Place::new();
    for origin in ["", "a\nb"] {
        let error = Journal::open(place.path(), &OpenOptions::new(origin, 1)).unwrap_err();
        assert!(matches!(error, OpenError::Origin { .. }), "{error}");
    }
    assert!(!place.path().exists());
}
