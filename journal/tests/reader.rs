//! A reader written from `README.md` alone: SQLite, BLAKE3 and a JSON parser, nothing of this crate. It must agree with it.

use crate::support::{Place, event};
use dbd_journal::NewEvent;
use std::collections::HashMap;

fn keyed(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[test]
fn a_reader_written_from_the_readme_agrees() {
    let place = Place::new();
    let mut journal = place.open();
    journal.append(NewEvent { ts_ms: 9_000, blobs: vec![b"diff".to_vec()], ..event("a", 0) }).unwrap();
    journal.append(NewEvent { ts_ms: 8_000, cause: Some(1), ..event("ü \"quoted\"", 0) }).unwrap();
    journal.append(NewEvent { ts_ms: 9_500, ..event("a", 1) }).unwrap();

    let file = place.stranger();
    let (origin, created, nonce, genesis): (String, i64, [u8; 32], [u8; 32]) = file
        .query_row("SELECT origin, created, nonce, genesis FROM meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    let len = (origin.len() as u64).to_le_bytes();
    assert_eq!(keyed("dbd journal genesis v1", &[&len, origin.as_bytes(), &created.to_le_bytes(), &nonce]), genesis);

    let mut before = genesis;
    let mut places: HashMap<String, u64> = HashMap::new();
    let mut time = i64::MIN;
    let mut statement = file.prepare("SELECT seq, prev, hash, rec FROM event ORDER BY seq").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut count = 0;
    while let Some(row) = rows.next().unwrap() {
        count += 1;
        let (seq, prev, hash, rec): (i64, [u8; 32], [u8; 32], String) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap());
        let len = (rec.len() as u64).to_le_bytes();
        assert_eq!(prev, before);
        assert_eq!(keyed("dbd journal event v1", &[&prev, &len, rec.as_bytes()]), hash);
        let record: serde_json::Value = serde_json::from_str(&rec).unwrap();
        assert_eq!((record["ev"].as_u64(), record["seq"].as_i64(), seq), (Some(1), Some(count), count));
        assert_eq!(record["origin"], origin);
        let place = places.entry(record["run"].as_str().unwrap().to_owned()).or_default();
        *place += 1;
        assert_eq!(record["rseq"], *place);
        assert!(record["ts"].as_i64().unwrap() >= time);
        time = record["ts"].as_i64().unwrap();
        for name in record["refs"].as_array().unwrap() {
            let digest = blake3::Hash::from_hex(name.as_str().unwrap().strip_prefix("b3:").unwrap()).unwrap();
            let (salt, data): (Vec<u8>, Vec<u8>) = file
                .query_row("SELECT salt, data FROM blob WHERE digest = ?1", [digest.as_bytes()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .unwrap();
            assert_eq!(blake3::hash(&[salt, data].concat()), digest);
        }
        before = hash;
    }
    assert_eq!((count, before), (3, journal.head().unwrap().hash));
}
