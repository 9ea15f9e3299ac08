//! A `-wal` file that lost its end, or a bit, in a crash. Whatever is left must be a valid beginning of what was there.
//!
//! The writer's connection stays open while its files are copied, so that the copy is what a crash would leave. Power loss itself
//! cannot be tested this way; that rests on SQLite and on `synchronous = FULL`.

use crate::support::{Place, event, options};
use dbd_journal::{Head, Journal, NewEvent};

const EVENTS: u64 = 6;

/// The journal's file and its `-wal` file as a crash would leave them, and the head after each event.
fn crashed() -> (Vec<u8>, Vec<u8>, Vec<Head>) {
    let place = Place::new();
    let mut journal = place.open();
    let mut heads = vec![journal.head().unwrap()];
    for rseq in 0..EVENTS {
        let blobs = if rseq == 2 { vec![vec![3; 9_000]] } else { vec![] };
        journal.append(NewEvent { blobs, ..event("a", rseq) }).unwrap();
        heads.push(journal.head().unwrap());
    }
    let file = fs_err::read(place.path()).unwrap();
    let wal = fs_err::read(place.path().with_file_name("journal.db-wal")).unwrap();
    (file, wal, heads)
}

/// Opens what is left, checks that it is a beginning of what was there, and appends to it. Returns how many events were left.
fn recover(file: &[u8], wal: &[u8], heads: &[Head]) -> u64 {
    let place = Place::new();
    fs_err::write(place.path(), file).unwrap();
    fs_err::write(place.path().with_file_name("journal.db-wal"), wal).unwrap();
    let mut journal = Journal::open(place.path(), &options()).unwrap();
    let verdict = journal.verify().unwrap();
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!(verdict.head, heads[verdict.events as usize], "not a beginning of what was there");
    assert_eq!(journal.events("a").unwrap().len() as u64, verdict.events);
    journal.append(event("a", verdict.events)).unwrap();
    assert!(journal.verify().unwrap().is_sound());
    verdict.events
}

#[test]
fn a_cut_wal_file_leaves_a_valid_beginning() {
    let (file, wal, heads) = crashed();
    let frames = (wal.len() - 32) / (4096 + 24);
    let mut cuts = vec![0, 1, 31, 32, wal.len() - 1, wal.len()];
    for frame in 0..frames {
        let start = 32 + frame * (4096 + 24);
        cuts.extend([start, start + 24, start + 24 + (frame * 977) % 4096]);
    }
    cuts.sort_unstable();
    let mut last = 0;
    for cut in cuts {
        let left = recover(&file, &wal[..cut], &heads);
        assert!(left >= last, "a longer file never holds less");
        last = left;
    }
    assert_eq!(last, EVENTS);
    assert_eq!(recover(&file, &[], &heads), 0, "the genesis does not live in the -wal file");
}

/// The hazard a head kept elsewhere is for: SQLite takes a frame that does not check out for the end of the log, and says nothing.
#[test]
fn a_flipped_bit_in_the_wal_file_drops_what_follows_without_a_word() {
    let (file, wal, heads) = crashed();
    let mut shortest = EVENTS;
    for position in (40..wal.len()).step_by(wal.len() / 9) {
        let mut wal = wal.clone();
        wal[position] ^= 0x10;
        shortest = shortest.min(recover(&file, &wal, &heads));
    }
    assert!(shortest < EVENTS, "acknowledged events were lost, and only the head after the last one shows it");
}

/// With the head beside it, no journal is opened for writing that lost anything: any bit of either file, and any cut of the log.
#[test]
fn with_the_head_beside_it_whatever_is_hurt_is_refused_or_whole() {
    let place = Place::new();
    let mut journal = place.open();
    for rseq in 0..EVENTS {
        let blobs = if rseq == 2 { vec![vec![3; 9_000]] } else { vec![] };
        journal.append(NewEvent { blobs, ..event("a", rseq) }).unwrap();
    }
    let head = journal.head().unwrap();
    let read = |ending: &str| fs_err::read(place.path().with_file_name(format!("journal.db{ending}"))).unwrap();
    let (file, wal, known) = (read(""), read("-wal"), read(".head"));
    let (mut refused, mut whole) = (0, 0);
    let mut open = |file: &[u8], wal: &[u8], how: &str| {
        let place = Place::new();
        fs_err::write(place.path(), file).unwrap();
        fs_err::write(place.path().with_file_name("journal.db-wal"), wal).unwrap();
        fs_err::write(place.path().with_file_name("journal.db.head"), &known).unwrap();
        let Ok(journal) = Journal::open(place.path(), &options()) else {
            refused += 1;
            return;
        };
        // What is opened ends where it ended, or is refused by whoever reads it.
        let sound = journal.head().is_ok_and(|now| now == head) && journal.events("a").is_ok();
        assert!(sound || !journal.verify().unwrap().is_sound(), "{how}: opened, and events are lost without a word");
        whole += usize::from(sound);
    };
    for position in (0..wal.len()).step_by(397) {
        let mut hurt = wal.clone();
        hurt[position] ^= 1 << (position % 8);
        open(&file, &hurt, &format!("bit of byte {position} of the log"));
        open(&file, &wal[..position], &format!("log cut at {position}"));
    }
    for position in (0..file.len()).step_by(1_013) {
        let mut hurt = file.clone();
        hurt[position] ^= 1 << (position % 8);
        open(&hurt, &wal, &format!("bit of byte {position} of the file"));
    }
    for cut in (0..file.len()).step_by(4_096) {
        open(&file[..cut], &wal, &format!("file cut at {cut}"));
    }
    assert!(refused > 50 && whole > 5, "{refused} refused, {whole} whole: not much was hurt");
}

/// An older copy of the journal, and another journal, in place of the one whose head is remembered.
#[test]
fn an_older_copy_and_another_journal_are_refused_by_the_head_beside_them() {
    let place = Place::new();
    let mut journal = place.open();
    journal.append(event("a", 0)).unwrap();
    journal.checkpoint().unwrap();
    drop(journal);
    let old = fs_err::read(place.path()).unwrap();
    let mut journal = place.open();
    journal.append(event("a", 1)).unwrap();
    journal.checkpoint().unwrap();
    drop(journal);
    let lost = |place: &Place| {
        let error = Journal::open(place.path(), &options()).unwrap_err();
        assert!(matches!(error, dbd_journal::OpenError::LostTail { .. }), "{error:?}");
        // Reading is for finding out.
        let reader = Journal::open_read_only(place.path()).unwrap();
        let known = reader.witness().unwrap();
        assert_eq!(reader.missing(&known).unwrap(), Some(known.head));
    };
    fs_err::write(place.path(), &old).unwrap();
    lost(&place);
    // A fork: the old copy goes on elsewhere, where nothing is remembered, and comes back.
    let elsewhere = Place::new();
    fs_err::write(elsewhere.path(), &old).unwrap();
    let mut fork = elsewhere.open();
    fork.append(NewEvent { ts_ms: 77_777, ..event("a", 1) }).unwrap();
    fork.append(event("a", 2)).unwrap();
    fork.checkpoint().unwrap();
    drop(fork);
    fs_err::copy(elsewhere.path(), place.path()).unwrap();
    lost(&place);
    let other = Place::new();
    let mut another = other.open();
    another.append(event("a", 0)).unwrap();
    another.append(event("a", 1)).unwrap();
    another.checkpoint().unwrap();
    drop(another);
    fs_err::copy(other.path(), place.path()).unwrap();
    lost(&place);
}
