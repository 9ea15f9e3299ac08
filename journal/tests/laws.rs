//! What holds for every journal: what goes in comes out, and one changed byte is found where it is.

use crate::support::{Place, drop_triggers, event, raw};
use dbd_journal::NewEvent;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::params;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What a caller says of an event; the rest follows from where it lands.
#[derive(Clone, Debug)]
struct Said {
    run: String,
    ts_ms: i64,
    kind: String,
    body: String,
    blobs: Vec<Vec<u8>>,
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn said() -> impl Strategy<Value = Said> {
    let name = "[^\\p{Cc}]{1,12}";
    (prop_oneof!["[abc]", name], any::<i64>(), name, json(), any::<bool>(), vec(vec(any::<u8>(), 0..64), 0..3))
        .prop_map(|(run, ts_ms, kind, body, pretty, blobs)| {
            let body = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
            Said { run, ts_ms, kind, body, blobs }
        })
}

fn write(place: &Place, history: &[Said]) {
    let mut journal = place.open();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for said in history {
        let rseq = last.entry(&said.run).or_default();
        let new = NewEvent {
            ts_ms: said.ts_ms,
            kind: said.kind.clone(),
            body: raw(&said.body),
            blobs: said.blobs.clone(),
            ..event(&said.run, *rseq)
        };
        *rseq = journal.append(new).unwrap().rseq;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_appended_is_what_is_read(history in vec(said(), 0..8)) {
        let place = Place::new();
        write(&place, &history);
        let journal = place.open();
        let mut entries = Vec::new();
        journal.scan(1, |entry| { entries.push(entry); ControlFlow::Continue(()) }).unwrap();
        prop_assert_eq!(entries.len(), history.len());
        let mut not_before = i64::MIN;
        for (entry, said) in entries.iter().zip(&history) {
            prop_assert_eq!(&entry.run, &said.run);
            prop_assert_eq!(&entry.kind, &said.kind);
            prop_assert_eq!(entry.ts_ms, said.ts_ms.max(not_before));
            prop_assert_eq!(entry.clock_back_ms.unwrap_or(0), entry.ts_ms.abs_diff(said.ts_ms));
            prop_assert_eq!(entry.body.get(), said.body.replace('\n', " "));
            prop_assert!(!entry.rec.contains('\n'));
            for (name, content) in entry.refs.iter().zip(&said.blobs) {
                prop_assert_eq!(&journal.blob(name).unwrap().unwrap(), content);
            }
            not_before = entry.ts_ms;
        }
        for head in journal.runs().unwrap() {
            let of_run: Vec<_> = entries.iter().filter(|entry| entry.run == head.run).map(|entry| entry.seq).collect();
            let read: Vec<_> = journal.events(&head.run).unwrap().iter().map(|entry| entry.seq).collect();
            prop_assert_eq!(&read, &of_run);
            prop_assert_eq!((head.first_seq, head.last_seq, head.last_rseq), (of_run[0], of_run[of_run.len() - 1], of_run.len() as u64));
        }
        let verdict = journal.verify().unwrap();
        prop_assert!(verdict.is_sound(), "{:?}", verdict);
        prop_assert_eq!(verdict.head, journal.head().unwrap());
    }

    #[test]
    fn one_changed_byte_anywhere_is_named(
        history in vec(said(), 1..5),
        victim in any::<Index>(),
        changes in vec((prop_oneof![Just("rec"), Just("hash"), Just("prev")], any::<Index>(), 1..=255_u8), 12),
    ) {
        let place = Place::new();
        write(&place, &history);
        let seq = victim.index(history.len()) as i64 + 1;
        let stranger = place.stranger();
        drop_triggers(&stranger);
        // The same table without its rules, so that nothing but the chain stands in the way.
        stranger.execute_batch(
            "CREATE TABLE plain (seq INTEGER PRIMARY KEY, prev, hash, run_id, run_seq, kind, ts, rec);
             INSERT INTO plain SELECT seq, prev, hash, run_id, run_seq, kind, ts, rec FROM event;
             DROP TABLE event; ALTER TABLE plain RENAME TO event",
        ).unwrap();
        let reader = place.read_only();
        prop_assert_eq!(reader.verify().unwrap().first_bad, None);
        for (column, position, flip) in changes {
            let select = format!("SELECT CAST({column} AS BLOB) FROM event WHERE seq = ?1");
            let sound: Vec<u8> = stranger.query_row(&select, [seq], |row| row.get(0)).unwrap();
            let mut changed = sound.clone();
            changed[position.index(sound.len())] ^= flip;
            let update = format!("UPDATE event SET {column} = CAST(?2 AS {}) WHERE seq = ?1", if column == "rec" { "TEXT" } else { "BLOB" });
            stranger.execute(&update, params![seq, changed]).unwrap();
            let bad = reader.verify().unwrap().first_bad;
            prop_assert_eq!(bad.map(|bad| bad.seq), Some(seq as u64), "{} of event {}", column, seq);
            stranger.execute(&update, params![seq, sound]).unwrap();
        }
        prop_assert_eq!(reader.verify().unwrap().first_bad, None);
    }
}
