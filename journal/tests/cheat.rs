//! Somebody with any SQLite client against the file: what the triggers refuse, and what the chain shows once they are gone.

use crate::support::{Place, drop_triggers, event};
use dbd_journal::{Bad, BlobRef, Journal, NewEvent, OpenError, Pace, ReadError, Verdict, Why};
use rusqlite::{Connection, params};

/// Three events of two runs, the second with a blob.
fn written() -> (Place, Vec<Vec<u8>>) {
    let place = Place::new();
    let mut journal = place.open();
    let mut hashes = vec![journal.append(event("a", 0)).unwrap().hash.to_vec()];
    hashes.push(journal.append(NewEvent { blobs: vec![b"diff".to_vec()], ..event("b", 0) }).unwrap().hash.to_vec());
    hashes.push(journal.append(event("a", 1)).unwrap().hash.to_vec());
    journal.take_lease("prod", "a", "alice", 1).unwrap();
    (place, hashes)
}

/// A record that would be the event `seq`, in every respect but the ones under test.
fn record(seq: i64, run: &str, rseq: i64) -> String {
    format!(
        r#"{{"ev":1,"seq":{seq},"origin":"dbd/test/0001","run":"{run}","rseq":{rseq},"ts":3000,"kind":"k","v":1,"cause":null,"epoch":0,"actor":{{}},"by":{{}},"body":{{}},"refs":[]}}"#
    )
}

fn insert(verb: &str, stranger: &Connection, seq: i64, rec: &str, prev: &[u8], hash: &[u8]) -> rusqlite::Result<usize> {
    stranger.execute(
        &format!("{verb} INTO event (seq, rec, prev, hash) VALUES (?1, ?2, ?3, ?4)"),
        params![seq, rec, prev, hash],
    )
}

#[test]
fn ten_ways_to_cheat_are_refused() {
    let (place, hashes) = written();
    let stranger = place.stranger();
    let off: i64 = stranger.pragma_query_value(None, "recursive_triggers", |row| row.get(0)).unwrap();
    assert_eq!(off, 0, "a stranger's connection has the setting that lets REPLACE through");
    let head = hashes[2].as_slice();
    let fresh = [9_u8; 32];
    let put = |verb: &str, seq, rec: &str, prev: &[u8], hash: &[u8]| insert(verb, &stranger, seq, rec, prev, hash);

    let attempts = [
        ("a gap", put("INSERT", 5, &record(5, "a", 3), head, &fresh), "JRN-101"),
        ("a fork", put("INSERT", 4, &record(4, "a", 3), &hashes[1], &fresh), "JRN-101"),
        ("a gap in the run", put("INSERT", 4, &record(4, "a", 4), head, &fresh), "JRN-101"),
        ("REPLACE by place", put("REPLACE", 3, &record(3, "a", 2), &hashes[1], &fresh), "JRN-101"),
        ("REPLACE by hash", put("REPLACE", 4, &record(4, "a", 3), head, &hashes[0]), "JRN-101"),
        ("REPLACE by place in the run", put("REPLACE", 4, &record(4, "a", 2), head, &fresh), "JRN-101"),
        ("UPDATE", stranger.execute("UPDATE event SET hash = zeroblob(32) WHERE seq = 2", []), "JRN-100"),
        ("DELETE", stranger.execute("DELETE FROM event WHERE seq = 3", []), "JRN-100"),
        ("UPDATE OR REPLACE", stranger.execute("UPDATE OR REPLACE event SET seq = 1 WHERE seq = 2", []), "JRN-100"),
        ("a record of another place", put("INSERT", 4, &record(7, "a", 3), head, &fresh), "CHECK constraint failed"),
    ];
    for (name, attempt, refusal) in attempts {
        let error = attempt.expect_err(name).to_string();
        assert!(error.contains(refusal), "{name}: {error}");
    }

    // What the ten leave: records that are none, and the tables beside the events.
    for (rec, refusal) in [
        ("not JSON", "malformed JSON"),
        (record(4, "a", 3).replace("\"seq\":4,", "").as_str(), "CHECK constraint failed"),
        (record(4, "a", 3).replace("\"kind\":\"k\",", "").as_str(), "NOT NULL constraint failed"),
    ] {
        let error = put("INSERT", 4, rec, head, &fresh).unwrap_err().to_string();
        assert!(error.contains(refusal), "{error}");
    }
    for (sql, refusal) in [
        ("INSERT OR REPLACE INTO meta SELECT id, 'mine', created, nonce, genesis FROM meta", "JRN-102"),
        ("UPDATE meta SET origin = 'mine'", "JRN-102"),
        ("DELETE FROM meta", "JRN-102"),
        ("UPDATE blob SET data = x'00'", "JRN-103"),
        ("INSERT OR REPLACE INTO blob SELECT digest, salt, 1, x'00' FROM blob", "JRN-103"),
        ("DELETE FROM blob", "JRN-103"),
        ("UPDATE lease SET epoch = 0", "JRN-104"),
        ("UPDATE lease SET run = 'z', owner = 'z', since_ms = 1", "JRN-104"),
        ("INSERT OR REPLACE INTO lease VALUES ('prod', 'z', 1, 'z', 1)", "JRN-104"),
        ("DELETE FROM lease", "JRN-104"),
    ] {
        let error = stranger.execute(sql, []).expect_err(sql).to_string();
        assert!(error.contains(refusal), "{sql}: {error}");
    }
    let verdict = place.read_only().verify().unwrap();
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!(verdict.events, 3);
}

/// What verification says after `sql` was run against a file without guards.
fn after(sql: &str) -> Verdict {
    let (place, _) = written();
    let stranger = place.stranger();
    drop_triggers(&stranger);
    stranger.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    stranger.execute_batch(sql).unwrap();
    let journal = place.read_only();
    let verdict = journal.verify().unwrap();
    // However it is spread over threads, the same is found, and the same events are handed on before it.
    for (threads, stretch) in [(1, 1), (2, 1), (3, 1), (2, 2), (8, 3)] {
        let mut handed = Vec::new();
        let pace = Pace { threads, stretch };
        let found = journal.verify_each(&[], pace, |_, seen| seen.seq, |_, seq| handed.push(seq)).unwrap();
        assert_eq!(found, verdict, "{sql}, {pace:?}");
        assert_eq!(handed, (1..=verdict.events).collect::<Vec<_>>(), "{sql}, {pace:?}");
    }
    verdict
}

#[test]
fn what_is_done_without_the_triggers_is_named() {
    let bad = |seq, why| Some(Bad { seq, why });
    let cases = [
        ("UPDATE event SET rec = replace(rec, 'alice', 'mallo') WHERE seq = 2", bad(2, Why::Hash)),
        ("UPDATE event SET rec = rec || ' ' WHERE seq = 3", bad(3, Why::Hash)),
        ("UPDATE event SET hash = zeroblob(32) WHERE seq = 2", bad(2, Why::Hash)),
        ("UPDATE event SET prev = zeroblob(32) WHERE seq = 2", bad(2, Why::Link)),
        ("UPDATE event SET prev = x'00' WHERE seq = 1", bad(1, Why::Link)),
        ("DELETE FROM event WHERE seq = 1", bad(2, Why::Gap { expected: 1 })),
        ("DELETE FROM event WHERE seq = 2", bad(3, Why::Gap { expected: 2 })),
        ("UPDATE event SET seq = 9 WHERE seq = 2; UPDATE event SET seq = 2 WHERE seq = 3", bad(2, Why::Link)),
        ("UPDATE event SET seq = -seq WHERE seq = 1", bad(0, Why::Gap { expected: 1 })),
        ("UPDATE meta SET origin = 'mine'", bad(0, Why::Genesis)),
        ("UPDATE meta SET created = created + 1", bad(0, Why::Genesis)),
        ("UPDATE meta SET genesis = zeroblob(32)", bad(0, Why::Genesis)),
    ];
    for (sql, expected) in cases {
        let verdict = after(sql);
        assert_eq!(verdict.first_bad, expected, "{sql}");
        let before = verdict.first_bad.unwrap().seq.saturating_sub(1);
        assert!(verdict.events <= before && verdict.head.seq == verdict.events, "{sql}");
    }
    for sql in
        ["UPDATE blob SET data = x'01020304'", "UPDATE blob SET salt = zeroblob(32)", "UPDATE blob SET salt = NULL"]
    {
        assert!(matches!(after(sql).first_bad, Some(Bad { seq: 2, why: Why::BlobAltered(_) })), "{sql}");
    }
    assert!(matches!(after("DELETE FROM blob").first_bad, Some(Bad { seq: 2, why: Why::BlobMissing(_) })));
}

/// The chain recomputed by somebody who knows how, so that every hash matches: what the records say must still hold together.
#[test]
fn a_recomputed_chain_must_still_tell_a_consistent_story() {
    let missing: BlobRef = format!("b3:{}", "7".repeat(64)).parse().unwrap();
    let refs = format!(r#""refs":["{missing}"]"#);
    let good = record(4, "a", 3);
    let cases = [
        (good.clone(), None),
        (good.replace("dbd/test/0001", "dbd/other/1"), Some(Why::Origin)),
        (good.replace("\"ev\":1", "\"ev\":2"), Some(Why::Envelope(2))),
        (good.replace("\"ts\":3000", "\"ts\":1999"), Some(Why::Time)),
        (good.replace("\"cause\":null", "\"cause\":4"), Some(Why::Cause(4))),
        (record(4, "a", 4), Some(Why::RunGap { expected: 3, found: 4 })),
        (record(4, "c", 2), Some(Why::RunGap { expected: 1, found: 2 })),
        (good.replace("\"seq\":4", "\"seq\":\"4\""), None),
        (good.replace("\"refs\":[]", &refs), Some(Why::BlobMissing(missing))),
    ];
    for (rec, expected) in cases {
        let (place, hashes) = written();
        let stranger = place.stranger();
        drop_triggers(&stranger);
        let prev: [u8; 32] = hashes[2].as_slice().try_into().unwrap();
        let hash = dbd_journal::chain::link(&prev, rec.as_bytes());
        insert("INSERT", &stranger, 4, &rec, &prev, &hash).unwrap();
        let found = place.read_only().verify().unwrap().first_bad;
        if rec.contains("\"seq\":\"4\"") {
            assert!(matches!(found, Some(Bad { seq: 4, why: Why::Record(_) })), "{found:?}");
        } else {
            assert_eq!(found, expected.map(|why| Bad { seq: 4, why }), "{rec}");
        }
    }
}

/// The columns that queries use are computed by SQLite; a file can still be edited so that they lie about the record.
#[test]
fn a_column_that_lies_about_its_record_is_named() {
    let (place, _) = written();
    let stranger = place.stranger();
    drop_triggers(&stranger);
    stranger
        .execute_batch(
            "CREATE TABLE plain (seq INTEGER PRIMARY KEY, prev, hash, run_id, run_seq, kind, ts, rec);
             INSERT INTO plain SELECT seq, prev, hash, run_id, run_seq, kind, ts, rec FROM event;
             DROP TABLE event; ALTER TABLE plain RENAME TO event",
        )
        .unwrap();
    let reader = place.read_only();
    for (column, lie) in [("run_id", "'b'"), ("run_seq", "7"), ("kind", "NULL"), ("ts", "'2000'")] {
        stranger.execute_batch(&format!("BEGIN; UPDATE event SET {column} = {lie} WHERE seq = 3; COMMIT")).unwrap();
        assert_eq!(reader.verify().unwrap().first_bad, Some(Bad { seq: 3, why: Why::Column(column) }));
        let truth = match column {
            "run_id" => "rec->>'$.run'".to_owned(),
            "run_seq" => "rec->>'$.rseq'".to_owned(),
            other => format!("rec->>'$.{other}'"),
        };
        stranger.execute_batch(&format!("UPDATE event SET {column} = {truth} WHERE seq = 3")).unwrap();
        assert!(reader.verify().unwrap().first_bad.is_none());
    }
    // A run's reader is not fooled by an event that was slipped into it, or out of it.
    stranger.execute_batch("UPDATE event SET run_id = 'a' WHERE seq = 2").unwrap();
    assert!(matches!(reader.events("a").unwrap_err(), ReadError::Broken(bad) if bad.seq == 2));
    stranger.execute_batch("UPDATE event SET run_id = 'x' WHERE seq IN (1, 2)").unwrap();
    let error = reader.events("a").unwrap_err();
    assert!(
        matches!(&error, ReadError::Broken(Bad { seq: 3, why: Why::RunGap { expected: 1, found: 2 } })),
        "{error:?}"
    );
}

/// The limit, pinned: a shorter chain is a valid chain. What shows the loss is a head that was written down elsewhere.
#[test]
fn a_cut_tail_shows_only_against_a_head_kept_elsewhere() {
    let (place, hashes) = written();
    let anchor = place.read_only().head().unwrap();
    let stranger = place.stranger();
    drop_triggers(&stranger);
    stranger.execute_batch("DELETE FROM event WHERE seq = 3").unwrap();
    let journal = place.read_only();
    let verdict = journal.verify().unwrap();
    assert!(verdict.is_sound());
    assert_eq!((verdict.head.seq, verdict.head.hash.as_slice()), (2, hashes[1].as_slice()));
    assert!(journal.event(anchor.seq).unwrap().is_none());
}

#[test]
fn a_journal_without_its_guards_is_not_written_to() {
    let (place, _) = written();
    place.stranger().execute_batch("DROP TRIGGER event_no_delete").unwrap();
    let error = Journal::open(place.path(), &crate::support::options()).unwrap_err();
    assert!(matches!(&error, OpenError::Altered { object, .. } if object == "trigger event_no_delete"), "{error}");
    assert!(place.read_only().verify().unwrap().is_sound());
}
