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
