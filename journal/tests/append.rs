//! Appending, reading back, leases and blobs.

use crate::support::{Place, event, options, raw};
use dbd_journal::{
    AppendError, BlobError, BlobRef, Head, Holder, Journal, LeaseRow, NewEvent, PurgeError, ReadError, RunHead,
    Unusable,
};
use std::ops::ControlFlow;
use std::sync::Barrier;

#[test]
fn an_event_reads_back_as_it_was_written() {
    let place = Place::new();
    let mut journal = place.open();
    let first = journal.append(event("a", 0)).unwrap();
    let new = NewEvent {
        ts_ms: 2_500,
        kind: "backup.taken".into(),
        v: 7,
        cause: Some(1),
        epoch: 4,
        actor: raw("null"),
        body: raw(r#"{"b":1.00,"a":"\u00e9\n","a":2}"#),
        blobs: vec![b"one".to_vec(), vec![]],
        ..event("a", 1)
    };
    let second = journal.append(new).unwrap();
    assert_eq!((second.seq, second.rseq, second.ts_ms, second.refs.len()), (2, 2, 2_500, 2));

    let entries = journal.events("a").unwrap();
    assert_eq!(entries.len(), 2);
    let entry = &entries[1];
    assert_eq!((entry.seq, entry.run.as_str(), entry.rseq, entry.ts_ms, entry.clock_back_ms), (2, "a", 2, 2_500, None));
    assert_eq!((entry.kind.as_str(), entry.v, entry.cause, entry.epoch), ("backup.taken", 7, Some(1), 4));
    assert_eq!((entry.actor.get(), entry.by.get()), ("null", r#"{"dbd":"0.1.0"}"#));
    assert_eq!(entry.body.get(), r#"{"b":1.00,"a":"\u00e9\n","a":2}"#, "neither parsed nor printed again");
    assert_eq!((entry.prev, entry.hash, &entry.refs), (first.hash, second.hash, &second.refs));
    assert_eq!(journal.event(2).unwrap().unwrap().rec, entry.rec);
    assert!(journal.event(0).unwrap().is_none() && journal.event(3).unwrap().is_none());
    assert!(journal.event(u64::MAX).unwrap().is_none());
    assert!(journal.events("no such run").unwrap().is_empty());
    assert_eq!(journal.head().unwrap(), Head { seq: 2, hash: second.hash });
}

#[test]
fn an_empty_journal_has_its_genesis_for_a_head() {
    let place = Place::new();
    let journal = place.open();
    let head = journal.head().unwrap();
    assert_eq!(head.seq, 0);
    let verdict = journal.verify().unwrap();
    assert!(verdict.is_sound());
    assert_eq!((verdict.events, verdict.head), (0, head));
    assert!(journal.runs().unwrap().is_empty());
    assert_ne!(Place::new().open().head().unwrap().hash, head.hash, "two journals never share a genesis");
}

#[test]
fn runs_are_listed_in_the_order_they_began() {
    let place = Place::new();
    let mut journal = place.open();
    journal.append(NewEvent { ts_ms: 10, ..event("b", 0) }).unwrap();
    journal.append(NewEvent { ts_ms: 20, ..event("a", 0) }).unwrap();
    journal.append(NewEvent { ts_ms: 30, ..event("b", 1) }).unwrap();
    let run = |run: &str, first_seq, last_seq, last_rseq, first_ts_ms, last_ts_ms| RunHead {
        run: run.into(),
        first_seq,
        last_seq,
        last_rseq,
        first_ts_ms,
        last_ts_ms,
    };
    assert_eq!(journal.runs().unwrap(), [run("b", 1, 3, 2, 10, 30), run("a", 2, 2, 1, 20, 20)]);
}

#[test]
fn a_scan_starts_where_asked_and_stops_when_told() {
    let place = Place::new();
    let mut journal = place.open();
    for rseq in 0..5 {
        journal.append(event("a", rseq)).unwrap();
    }
    let scan = |from, until| {
        let mut seen = Vec::new();
        journal
            .scan(from, |entry| {
                seen.push(entry.seq);
                if entry.seq == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        seen
    };
    assert_eq!(scan(0, 99), [1, 2, 3, 4, 5]);
    assert_eq!(scan(2, 4), [2, 3, 4]);
    assert_eq!(scan(6, 99), [] as [u64; 0]);
    assert_eq!(scan(u64::MAX, 99), [] as [u64; 0]);
}

#[test]
fn a_writer_that_missed_an_event_is_told_and_nothing_is_written() {
    let place = Place::new();
    let mut journal = place.open();
    journal.append(event("a", 0)).unwrap();
    for stale in [0, 2, 7] {
        let error = journal.append(event("a", stale)).unwrap_err();
        assert!(matches!(error, AppendError::Conflict { expected, found: 1, .. } if expected == stale), "{error}");
    }
    assert_eq!(journal.append(event("b", 0)).unwrap().seq, 2, "another run is another stream");
    assert_eq!(journal.append(event("a", 1)).unwrap().rseq, 2);
}

#[test]
fn a_cause_must_be_an_earlier_event() {
    let place = Place::new();
    let mut journal = place.open();
    for cause in [0, 1, 9] {
        let error = journal.append(NewEvent { cause: Some(cause), ..event("a", 0) }).unwrap_err();
        assert!(matches!(error, AppendError::Invalid { field: "cause", .. }), "{error}");
    }
    journal.append(event("a", 0)).unwrap();
    journal.append(NewEvent { cause: Some(1), ..event("a", 1) }).unwrap();
}

#[test]
fn a_clock_that_went_back_is_held_and_the_difference_recorded() {
    let place = Place::new();
    let mut journal = place.open();
    journal.append(NewEvent { ts_ms: 5_000, ..event("a", 0) }).unwrap();
    let late = journal.append(NewEvent { ts_ms: 4_200, ..event("b", 0) }).unwrap();
    assert_eq!(late.ts_ms, 5_000);
    let entry = journal.event(2).unwrap().unwrap();
    assert_eq!((entry.ts_ms, entry.clock_back_ms), (5_000, Some(800)));
    journal.append(NewEvent { ts_ms: 5_000, ..event("b", 1) }).unwrap();
    assert_eq!(journal.event(3).unwrap().unwrap().clock_back_ms, None);
    assert!(journal.verify().unwrap().is_sound());
}

#[test]
fn two_connections_take_turns_and_leave_no_gap() {
    let place = Place::new();
    let (mut one, mut two) = (place.open(), place.open());
    one.append(event("a", 0)).unwrap();
    two.append(event("a", 1)).unwrap();
    let error = one.append(event("a", 1)).unwrap_err();
    assert!(matches!(error, AppendError::Conflict { expected: 1, found: 2, .. }));
    one.append(event("a", 2)).unwrap();
    assert_eq!(two.events("a").unwrap().len(), 3);
    assert!(place.read_only().verify().unwrap().is_sound());
}

#[test]
fn writers_in_a_crowd_either_succeed_or_conflict() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 12;
    let place = Place::new();
    drop(place.open());
    let barrier = Barrier::new(WRITERS as usize);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (place, barrier) = (&place, &barrier);
            scope.spawn(move || {
                let mut journal = place.open();
                barrier.wait();
                let (mut own, mut shared) = (0, 0);
                while own < EACH {
                    journal.append(event(&format!("own-{writer}"), own)).unwrap();
                    own += 1;
                    match journal.append(event("shared", shared)) {
                        Ok(appended) => shared = appended.rseq,
                        Err(AppendError::Conflict { found, .. }) => shared = found,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let journal = place.read_only();
    let verdict = journal.verify().unwrap();
    assert!(verdict.is_sound(), "{verdict:?}");
    let shared = journal.events("shared").unwrap().len() as u64;
    assert!(shared >= 1, "the first to write cannot conflict");
    assert_eq!(verdict.events, WRITERS * EACH + shared);
}

#[test]
fn a_blob_reads_back_until_it_is_purged_and_the_chain_does_not_notice() {
    let place = Place::new();
    let mut journal = place.open();
    let blobs = vec![b"secret".to_vec(), b"secret".to_vec(), vec![]];
    let refs = journal.append(NewEvent { blobs, ..event("a", 0) }).unwrap().refs;
    assert_ne!(refs[0], refs[1], "the same content under two salts");
    assert_eq!(journal.blob(&refs[0]).unwrap().unwrap(), b"secret");
    assert_eq!(journal.blob(&refs[2]).unwrap().unwrap(), b"");
    assert_eq!(refs[0].to_string().parse::<BlobRef>().unwrap(), refs[0]);

    assert!(journal.purge_blob(&refs[0]).unwrap());
    assert!(!journal.purge_blob(&refs[0]).unwrap());
    assert_eq!(journal.blob(&refs[0]).unwrap(), None);
    assert_eq!(journal.blob(&refs[1]).unwrap().unwrap(), b"secret");
    let verdict = journal.verify().unwrap();
    assert!(verdict.is_sound());
    assert_eq!(verdict.purged, 1);

    let unknown: BlobRef = format!("b3:{}", "0".repeat(64)).parse().unwrap();
    assert!(matches!(journal.blob(&unknown).unwrap_err(), BlobError::Missing { .. }));
    assert!(matches!(journal.purge_blob(&unknown).unwrap_err(), PurgeError::Missing { .. }));
}

#[test]
fn a_purged_blob_is_gone_from_the_files_and_so_is_its_salt() {
    let place = Place::new();
    let mut journal = place.open();
    let secret = b"a secret that is easy to find in a file";
    let refs = journal.append(NewEvent { blobs: vec![secret.to_vec()], ..event("a", 0) }).unwrap().refs;
    let salt: Vec<u8> = place.stranger().query_row("SELECT salt FROM blob", [], |row| row.get(0)).unwrap();
    let found = |needle: &[u8]| {
        ["journal.db", "journal.db-wal"].iter().any(|name| {
            let bytes = fs_err::read(place.dir.path().join(name)).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    assert!(found(secret) && found(&salt));
    journal.purge_blob(&refs[0]).unwrap();
    assert!(journal.checkpoint().unwrap());
    assert!(!found(secret) && !found(&salt));
}

#[test]
fn an_epoch_only_grows_also_across_a_release() {
    let place = Place::new();
    let mut journal = place.open();
    assert_eq!(journal.lease("prod").unwrap(), None);
    assert_eq!(journal.take_lease("prod", "a", "alice", 10).unwrap().epoch, 1);
    assert_eq!(journal.take_lease("prod", "a", "bob", 20).unwrap().epoch, 2);
    let holder = Holder { run: "a".into(), owner: "bob".into(), since_ms: 20 };
    assert_eq!(
        journal.lease("prod").unwrap(),
        Some(LeaseRow { target: "prod".into(), epoch: 2, holder: Some(holder) })
    );
    assert!(!journal.release_lease("prod", 1).unwrap(), "an old owner gives nothing back");
    assert!(journal.release_lease("prod", 2).unwrap());
    assert!(!journal.release_lease("prod", 2).unwrap());
    assert_eq!(journal.lease("prod").unwrap(), Some(LeaseRow { target: "prod".into(), epoch: 2, holder: None }));
    assert_eq!(journal.take_lease("prod", "b", "carol", 30).unwrap().epoch, 3);
    assert_eq!(journal.take_lease("dev", "c", "carol", 40).unwrap().epoch, 1);
    drop(journal);
    let targets: Vec<_> = place.open().leases().unwrap().into_iter().map(|row| (row.target, row.epoch)).collect();
    assert_eq!(targets, [("dev".to_owned(), 1), ("prod".to_owned(), 3)]);
}

#[test]
fn an_owner_whose_run_was_taken_over_cannot_append() {
    let place = Place::new();
    let (mut old, mut new) = (place.open(), place.open());
    let first = old.take_lease("prod", "a", "alice", 10).unwrap();
    old.append(NewEvent { epoch: first.epoch, ..event("a", 0) }).unwrap();
    let second = new.take_lease("prod", "a", "bob", 20).unwrap();
    let error = old.append(NewEvent { epoch: first.epoch, ..event("a", 1) }).unwrap_err();
    assert!(matches!(error, AppendError::StaleEpoch { epoch: 1, held: 2, .. }), "{error}");
    new.append(NewEvent { epoch: second.epoch, ..event("a", 1) }).unwrap();
    old.append(event("b", 0)).unwrap();
}

#[test]
fn a_reader_cannot_write() {
    let place = Place::new();
    place.open().append(NewEvent { blobs: vec![vec![1]], ..event("a", 0) }).unwrap();
    let mut reader = place.read_only();
    let blob = reader.events("a").unwrap()[0].refs[0];
    assert!(matches!(reader.append(event("a", 1)).unwrap_err(), AppendError::Unusable(Unusable::ReadOnly)));
    assert!(reader.take_lease("t", "a", "o", 1).is_err());
    assert!(reader.release_lease("t", 1).is_err());
    assert!(reader.purge_blob(&blob).is_err());
    assert!(reader.checkpoint().is_err());
    assert_eq!(reader.writable(), Err(Unusable::ReadOnly));
}

#[test]
fn a_broken_head_is_not_continued() {
    let place = Place::new();
    let mut journal = place.open();
    journal.append(event("a", 0)).unwrap();
    let stranger = place.stranger();
    stranger.execute_batch("DROP TRIGGER event_no_update").unwrap();
    stranger.execute("UPDATE event SET rec = replace(rec, 'alice', 'mallo')", []).unwrap();
    assert!(matches!(journal.append(event("a", 1)).unwrap_err(), AppendError::Broken(bad) if bad.seq == 1));
    assert!(matches!(journal.events("a").unwrap_err(), ReadError::Broken(bad) if bad.seq == 1));
    assert!(matches!(journal.head().unwrap_err(), ReadError::Broken(_)));
    assert!(matches!(journal.scan(1, |_| ControlFlow::Continue(())).unwrap_err(), ReadError::Broken(_)));
}

#[test]
fn a_journal_can_be_moved_to_another_thread() {
    let place = Place::new();
    let mut journal: Journal = Journal::open(place.path(), &options()).unwrap();
    let appended = std::thread::spawn(move || journal.append(event("a", 0)).unwrap()).join().unwrap();
    assert_eq!(appended.seq, 1);
}
