//! Events outside the journal: one line of JSON each, from which the stored text comes back byte for byte.
//!
//! ```text
//! {"seq":412,"prev":"b3:…","hash":"b3:…","rec":"{\"ev\":1,\"seq\":412,…}"}
//! ```
//!
//! `rec` is a string and not an object, because what is hashed is a text: whoever reads the line has that text without having to print
//! JSON the way the journal did.

use crate::chain;
use crate::entry::Entry;
use crate::verify::{self, Bad, Why};
use serde::{Deserialize, Serialize};

/// One event outside the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// The hash before it, printed.
    pub prev: String,
    /// Its hash, printed.
    pub hash: String,
    /// The stored text.
    pub rec: String,
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            prev: chain::printed(&entry.prev),
            hash: chain::printed(&entry.hash),
            rec: entry.rec.clone(),
        }
    }
}

impl Line {
    /// The line, without its line break.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings have a JSON form")
    }

    /// Reads a line; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The event of the journal `origin`, checked as the journal checks it: hash, envelope, place. Whether `prev` is the hash of the event
    /// before is for whoever has that event: give it as `before`, or `None` to take the line's own word.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, origin: &str, before: Option<chain::Hash>) -> Result<Entry, Bad> {
        let (prev, hash) = (chain::parse(&self.prev), chain::parse(&self.hash));
        let before = before.or(prev);
        verify::understand(self.seq, (prev, hash), self.rec.as_bytes(), before, origin)
            .map(|(record, hash, text)| record.entry(hash, before.unwrap_or_default(), text))
            .map_err(|why| Bad { seq: self.seq, why })
    }
}

/// Holds what has to hold from one exported event to the next, for lines that come without gaps.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    origin: &'a str,
    next: u64,
    before: Option<chain::Hash>,
    ts_ms: i64,
}

impl<'a> Walk<'a> {
    /// A walk through the journal `origin` from event `first` on, whose predecessor has the hash `before` if that is known.
    #[must_use]
    pub fn new(origin: &'a str, first: u64, before: Option<chain::Hash>) -> Self {
        Self { origin, next: first, before, ts_ms: i64::MIN }
    }

    /// The next event.
    ///
    /// # Errors
    /// What is wrong with it, by itself or after the one before.
    pub fn step(&mut self, line: &Line) -> Result<Entry, Bad> {
        let bad = |why| Err(Bad { seq: line.seq, why });
        if line.seq != self.next {
            return bad(Why::Gap { expected: self.next });
        }
        let entry = line.check(self.origin, self.before)?;
        if entry.ts_ms < self.ts_ms {
            return bad(Why::Time);
        }
        (self.next, self.before, self.ts_ms) = (line.seq + 1, Some(entry.hash), entry.ts_ms);
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, prev: chain::Hash, ts: i64) -> Line {
        let rec = format!(
            r#"{{"ev":1,"seq":{seq},"origin":"o","run":"r","rseq":{seq},"ts":{ts},"kind":"k","v":1,"cause":null,"epoch":0,"actor":{{}},"by":{{}},"body":"\u00e9\n","refs":[]}}"#
        );
        let hash = chain::link(&prev, rec.as_bytes());
        Line { seq, prev: chain::printed(&prev), hash: chain::printed(&hash), rec }
    }

    #[test]
    fn a_line_holds_the_text_byte_for_byte() {
        let one = line(1, [3; 32], 5);
        assert_eq!(Line::parse(&one.text()), Some(one.clone()));
        assert_eq!(one.text().lines().count(), 1);
        let entry = one.check("o", Some([3; 32])).unwrap();
        assert_eq!((entry.rec.as_str(), entry.seq, entry.prev), (one.rec.as_str(), 1, [3; 32]));
        assert_eq!(Line::from(&entry), one);
    }

    #[test]
    fn a_walk_names_the_first_line_that_does_not_follow() {
        let one = line(1, [3; 32], 5);
        let hash = |line: &Line| chain::parse(&line.hash).unwrap();
        let two = line(2, hash(&one), 5);
        let three = line(3, hash(&two), 6);
        let walk = |lines: &[&Line]| {
            let mut walk = Walk::new("o", 1, Some([3; 32]));
            lines.iter().find_map(|line| walk.step(line).err().map(|bad| (bad.seq, bad.why)))
        };
        assert_eq!(walk(&[&one, &two, &three]), None);
        assert_eq!(walk(&[&two]), Some((2, Why::Gap { expected: 1 })));
        assert_eq!(walk(&[&one, &three]), Some((3, Why::Gap { expected: 2 })));
        let edited = Line { rec: two.rec.replace("\"k\"", "\"l\""), ..two.clone() };
        assert_eq!(walk(&[&one, &edited]), Some((2, Why::Hash)));
        let rehashed = line(2, [9; 32], 5);
        assert_eq!(walk(&[&one, &rehashed]), Some((2, Why::Link)));
        assert_eq!(walk(&[&one, &line(2, hash(&one), 4)]), Some((2, Why::Time)));
        assert_eq!(Walk::new("p", 1, None).step(&one).unwrap_err().why, Why::Origin);
        let placed = Line { seq: 2, ..one };
        assert_eq!(placed.check("o", None).unwrap_err().why, Why::Column("seq"));
    }
}
