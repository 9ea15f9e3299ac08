//! One digest for a whole schema.
//!
//! # The bytes that are hashed
//!
//! BLAKE3 in its key derivation mode, context `dbd schema fingerprint v1`, over every object in the order of
//! [`ObjectKey`](super::ObjectKey) (the order of [`Kind::ALL`](super::Kind::ALL), then the name bytewise):
//!
//! ```text
//! object     text(kind)  text(name)  inherited: 00 or 01  count(attributes)  attribute...
//! attribute  text(name)  value                      in the order of their names; nulls are left out
//! value      00 null | 01 false | 02 true | 03 text(number) | 04 text(string)
//!            | 05 count value...                    an array, in its order
//!            | 06 count (text(key) value)...        an object, in the order of its keys
//! text       count(bytes) bytes                     UTF-8
//! count      64 bits, little endian
//! ```
//!
//! Everything carries its length, so no two different catalogs give the same bytes. The parent of an object is left out, since it
//! follows from the name. The order of [`Kind::ALL`](super::Kind::ALL) is thereby part of the format: a new order is a new version.

use super::catalog::Catalog;
use crate::domain::digest::Digest;
use serde_json::Value;

/// The digest of everything that counts in `catalog`; equal exactly when [`diff`](super::diff()) finds nothing.
#[must_use]
pub fn fingerprint(catalog: &Catalog) -> Digest {
    let mut hasher = Bytes(blake3::Hasher::new_derive_key("dbd schema fingerprint v1"));
    for (key, object) in &catalog.objects {
        hasher.text(key.kind.as_str());
        hasher.text(&key.name);
        hasher.0.update(&[u8::from(object.inherited)]);
        // A null attribute and a missing one are the same to `diff`, so they must be the same here.
        let attributes = || object.attributes.iter().filter(|(_, value)| !value.is_null());
        hasher.count(attributes().count());
        for (name, value) in attributes() {
            hasher.text(name);
            hasher.value(value);
        }
    }
    Digest::from_hash(hasher.0.finalize())
}

struct Bytes(blake3::Hasher);

impl Bytes {
    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(0),
            Value::Bool(false) => self.tag(1),
            Value::Bool(true) => self.tag(2),
            Value::Number(number) => {
                self.tag(3);
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.tag(4);
                self.text(text);
            }
            Value::Array(values) => {
                self.tag(5);
                self.count(values.len());
                values.iter().for_each(|value| self.value(value));
            }
            Value::Object(map) => {
                self.tag(6);
                self.count(map.len());
                // serde_json keeps insertion order if any crate in the build asks for it; a digest may not depend on that.
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    fn tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::diff::tests::catalog;
    use super::*;
    use serde_json::json;

    #[test]
    fn the_fingerprint_of_a_known_catalog_never_changes() {
        let known = catalog(&[
            ("table:public.t", "", json!({"persistence": "p", "row_security": false})),
            ("column:public.t.a", "table:public.t", json!({"type": "integer", "not_null": true})),
            ("enum:public.e", "", json!({"values": ["a", "b"]})),
            ("sequence:public.s", "", json!({"max": 9_223_372_036_854_775_807_i64})),
        ]);
        // Fingerprints are kept in journals and ledgers for years: a new value here means a new context and version.
        assert_eq!(fingerprint(&known).as_str(), "b3:e60df65c5315c2554465c603fb394e85fec5e217b36613658f193825b9cd18cb");
        assert_eq!(
            fingerprint(&Catalog::default()).as_str(),
            "b3:925dfb38918062c65dd3eef7392544a7ea30a9e5e85902fa7b1f29f3a1a400f1"
        );
    }

    #[test]
    fn a_null_attribute_is_no_attribute() {
        let without = catalog(&[("table:public.t", "", json!({}))]);
        let with = catalog(&[("table:public.t", "", json!({"options": null}))]);
        assert_eq!(fingerprint(&without), fingerprint(&with));
    }

    #[test]
    fn text_cannot_move_from_one_field_into_the_next() {
        let one = catalog(&[("table:ab", "", json!({"c": "d"}))]);
        let other = catalog(&[("table:a", "", json!({"bc": "d"}))]);
        assert_ne!(fingerprint(&one), fingerprint(&other));
        let number = catalog(&[("table:a", "", json!({"c": 1}))]);
        let string = catalog(&[("table:a", "", json!({"c": "1"}))]);
        assert_ne!(fingerprint(&number), fingerprint(&string));
    }
}
