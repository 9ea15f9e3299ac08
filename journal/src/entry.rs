//! Events: as they are asked for, as they are written, as they are read.

use crate::blob::{BlobRef, MAX_BLOB_LEN};
use crate::chain::Hash;
use crate::error::AppendError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The largest body of an event, in bytes of JSON text: 1 MiB. Larger content belongs in a blob.
pub const MAX_BODY_LEN: usize = 1 << 20;

/// The largest `actor` and the largest `by` of an event, in bytes of JSON text: 64 KiB.
pub const MAX_ACTOR_LEN: usize = 64 << 10;

/// The longest name of a run, a kind, a target or an origin, in bytes.
pub const MAX_NAME_LEN: usize = 200;

/// The version of the envelope this program writes; the record's `ev`.
pub(crate) const ENVELOPE: u32 = 1;

/// An event somebody wants in the journal.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The run it belongs to: not empty, at most [`MAX_NAME_LEN`] bytes, no control characters.
    pub run: String,
    /// The `rseq` of the last event of that run its writer knows; 0 when it knows none.
    pub expected_rseq: u64,
    /// When it happened by the writer's clock, in unix milliseconds. An earlier time than the event before has is raised to that
    /// one's, and the difference is recorded as `clock_back_ms`.
    pub ts_ms: i64,
    /// What kind of event it is; limits as for `run`.
    pub kind: String,
    /// The version of the body's shape.
    pub v: u32,
    /// The `seq` of the event this one answers.
    pub cause: Option<u64>,
    /// The epoch of the lease its writer holds. Refused if the run has been leased under a higher one.
    pub epoch: u64,
    /// Who did it; JSON of at most [`MAX_ACTOR_LEN`] bytes.
    pub actor: Box<RawValue>,
    /// Which program wrote it; JSON of at most [`MAX_ACTOR_LEN`] bytes.
    pub by: Box<RawValue>,
    /// What happened; JSON of at most [`MAX_BODY_LEN`] bytes. Stored as it is, except that line breaks between tokens become spaces.
    pub body: Box<RawValue>,
    /// Contents stored with the event and named in its `refs`, in this order; each at most [`MAX_BLOB_LEN`] bytes.
    pub blobs: Vec<Vec<u8>>,
}

impl NewEvent {
    /// Refuses what no journal would take, before a transaction is opened for it.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        for (field, text) in [("run", &self.run), ("kind", &self.kind)] {
            if let Some(why) = name_problem(text) {
                return Err(AppendError::Invalid { field, why });
            }
        }
        let sizes = [
            ("body", self.body.get().len(), MAX_BODY_LEN),
            ("actor", self.actor.get().len(), MAX_ACTOR_LEN),
            ("by", self.by.get().len(), MAX_ACTOR_LEN),
        ];
        let blobs = self.blobs.iter().map(|blob| ("blob", blob.len(), MAX_BLOB_LEN));
        match sizes.into_iter().chain(blobs).find(|(_, len, limit)| len > limit) {
            Some((part, len, limit)) => Err(AppendError::TooLarge { part, len, limit }),
            None => Ok(()),
        }
    }
}

/// Why `text` cannot name anything in a journal, if it cannot.
pub(crate) fn name_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.len() > MAX_NAME_LEN {
        Some("it is longer than 200 bytes")
    } else if text.chars().any(char::is_control) {
        Some("it holds a control character")
    } else {
        None
    }
}

/// Where an event ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// Its place in its run, from 1.
    pub rseq: u64,
    /// Its recorded time; later than asked for when the clock had gone back.
    pub ts_ms: i64,
    /// Its hash, which is now the journal's head.
    pub hash: Hash,
    /// The names of its blobs, in the order they were given.
    pub refs: Vec<BlobRef>,
}

/// An event of the journal, verified when it was read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the journal, from 1, without gaps.
    pub seq: u64,
    /// The run it belongs to.
    pub run: String,
    /// Its place in that run, from 1, without gaps.
    pub rseq: u64,
    /// When it happened, in unix milliseconds; never earlier than the event before.
    pub ts_ms: i64,
    /// By how many milliseconds its writer's clock was behind the event before, if it was.
    pub clock_back_ms: Option<u64>,
    /// What kind of event it is.
    pub kind: String,
    /// The version of the body's shape.
    pub v: u32,
    /// The `seq` of the event it answers.
    pub cause: Option<u64>,
    /// The epoch of the lease its writer held.
    pub epoch: u64,
    /// Who did it.
    pub actor: Box<RawValue>,
    /// Which program wrote it.
    pub by: Box<RawValue>,
    /// What happened.
    pub body: Box<RawValue>,
    /// The blobs stored with it.
    pub refs: Vec<BlobRef>,
    /// Its hash.
    pub hash: Hash,
    /// The hash before it.
    pub prev: Hash,
    /// The stored text, exactly as hashed: one line of JSON.
    pub rec: String,
}

/// An event of the journal while it is looked at: what an [`Entry`] holds, lent.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'r> {
    /// Its place in the journal, from 1, without gaps.
    pub seq: u64,
    /// Its place in its run, from 1, without gaps.
    pub rseq: u64,
    /// When it happened, in unix milliseconds.
    pub ts_ms: i64,
    /// What kind of event it is.
    pub kind: &'r str,
    /// The version of the body's shape.
    pub v: u32,
    /// The epoch of the lease its writer held.
    pub epoch: u64,
    /// Who did it, as JSON.
    pub actor: &'r str,
    /// What happened, as JSON.
    pub body: &'r str,
    /// The blobs stored with it.
    pub refs: &'r [BlobRef],
    /// Its hash.
    pub hash: Hash,
}

impl Entry {
    /// The same event, lent.
    #[must_use]
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            seq: self.seq,
            rseq: self.rseq,
            ts_ms: self.ts_ms,
            kind: &self.kind,
            v: self.v,
            epoch: self.epoch,
            actor: self.actor.get(),
            body: self.body.get(),
            refs: &self.refs,
            hash: self.hash,
        }
    }
}

/// The last event of a journal: `seq` 0 and the genesis while there is none.
///
/// Written down elsewhere, it shows whether a journal lost its tail since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last event's place, which is also how many there are.
    pub seq: u64,
    /// The last event's hash.
    pub hash: Hash,
}

/// A run as the journal's index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunHead {
    /// The run.
    pub run: String,
    /// The place of its first event.
    pub first_seq: u64,
    /// The place of its last event.
    pub last_seq: u64,
    /// How many events it has.
    pub last_rseq: u64,
    /// When its first event happened, in unix milliseconds.
    pub first_ts_ms: i64,
    /// When its last event happened, in unix milliseconds.
    pub last_ts_ms: i64,
}

/// The record as it is written. The order of the fields is the order in the text.
#[derive(Serialize)]
pub(crate) struct RecordOut<'a> {
    pub(crate) ev: u32,
    pub(crate) seq: u64,
    pub(crate) origin: &'a str,
    pub(crate) run: &'a str,
    pub(crate) rseq: u64,
    pub(crate) ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock_back_ms: Option<u64>,
    pub(crate) kind: &'a str,
    pub(crate) v: u32,
    pub(crate) cause: Option<u64>,
    pub(crate) epoch: u64,
    pub(crate) actor: &'a RawValue,
    pub(crate) by: &'a RawValue,
    pub(crate) body: &'a RawValue,
    pub(crate) refs: &'a [BlobRef],
}

impl RecordOut<'_> {
    /// The text to store: one line. A line break can only stand between tokens, because JSON strings hold none unescaped.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string(self)?;
        Ok(if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text })
    }
}

/// The record as it is read, borrowed from its text. Fields a later version may add are ignored.
#[derive(Deserialize)]
pub(crate) struct RecordIn<'a> {
    pub(crate) ev: u32,
    pub(crate) seq: u64,
    #[serde(borrow)]
    pub(crate) origin: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) run: Cow<'a, str>,
    pub(crate) rseq: u64,
    pub(crate) ts: i64,
    #[serde(default)]
    pub(crate) clock_back_ms: Option<u64>,
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
    pub(crate) v: u32,
    pub(crate) cause: Option<u64>,
    pub(crate) epoch: u64,
    #[serde(borrow)]
    pub(crate) actor: &'a RawValue,
    #[serde(borrow)]
    pub(crate) by: &'a RawValue,
    #[serde(borrow)]
    pub(crate) body: &'a RawValue,
    pub(crate) refs: Vec<BlobRef>,
}

impl RecordIn<'_> {
    /// The event, lent.
    pub(crate) fn seen(&self, hash: Hash) -> Seen<'_> {
        Seen {
            seq: self.seq,
            rseq: self.rseq,
            ts_ms: self.ts,
            kind: &self.kind,
            v: self.v,
            epoch: self.epoch,
            actor: self.actor.get(),
            body: self.body.get(),
            refs: &self.refs,
            hash,
        }
    }

    /// The event, with a copy of everything.
    pub(crate) fn entry(self, hash: Hash, prev: Hash, rec: &str) -> Entry {
        Entry {
            seq: self.seq,
            run: self.run.into_owned(),
            rseq: self.rseq,
            ts_ms: self.ts,
            clock_back_ms: self.clock_back_ms,
            kind: self.kind.into_owned(),
            v: self.v,
            cause: self.cause,
            epoch: self.epoch,
            actor: self.actor.to_owned(),
            by: self.by.to_owned(),
            body: self.body.to_owned(),
            refs: self.refs,
            hash,
            prev,
            rec: rec.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn event() -> NewEvent {
        NewEvent {
            run: "r".into(),
            expected_rseq: 0,
            ts_ms: 0,
            kind: "k".into(),
            v: 1,
            cause: None,
            epoch: 0,
            actor: raw("{}"),
            by: raw("{}"),
            body: raw("{}"),
            blobs: vec![],
        }
    }

    #[test]
    fn a_record_is_one_line_in_the_documented_order() {
        let (actor, by, body) =
            (raw(r#"{"type":"human"}"#), raw("null"), raw("{\n  \"b\": 1.0,\r\n  \"a\": \"x\\ny\"\n}"));
        let refs = ["b3:0101010101010101010101010101010101010101010101010101010101010101".parse().unwrap()];
        let record = RecordOut {
            ev: 1,
            seq: 412,
            origin: "dbd/host/1",
            run: "deploy-dev-1",
            rseq: 17,
            ts: 1_728_149_445_123,
            clock_back_ms: None,
            kind: "step.intended",
            v: 2,
            cause: Some(405),
            epoch: 3,
            actor: &actor,
            by: &by,
            body: &body,
            refs: &refs,
        };
        let expected = concat!(
            r#"{"ev":1,"seq":412,"origin":"dbd/host/1","run":"deploy-dev-1","rseq":17,"ts":1728149445123,"kind":"step.intended","#,
            r#""v":2,"cause":405,"epoch":3,"actor":{"type":"human"},"by":null,"body":{   "b": 1.0,    "a": "x\ny" },"#,
            r#""refs":["b3:0101010101010101010101010101010101010101010101010101010101010101"]}"#
        );
        assert_eq!(record.text().unwrap(), expected);
        let late = RecordOut { clock_back_ms: Some(9), cause: None, refs: &[], ..record };
        let text = late.text().unwrap();
        assert!(
            text.contains(r#""ts":1728149445123,"clock_back_ms":9,"kind""#) && text.contains(r#""cause":null"#),
            "{text}"
        );
    }

    #[test]
    fn names_and_sizes_are_checked_before_anything_is_opened() {
        event().check().unwrap();
        let long = "x".repeat(MAX_NAME_LEN + 1);
        for bad in ["", "a\nb", "nul\0", long.as_str()] {
            let error = NewEvent { run: bad.into(), ..event() }.check().unwrap_err();
            assert!(matches!(error, AppendError::Invalid { field: "run", .. }), "{error}");
            let error = NewEvent { kind: bad.into(), ..event() }.check().unwrap_err();
            assert!(matches!(error, AppendError::Invalid { field: "kind", .. }), "{error}");
        }
        let text = |len: usize| raw(&format!("\"{}\"", "x".repeat(len - 2)));
        NewEvent { body: text(MAX_BODY_LEN), ..event() }.check().unwrap();
        let error = NewEvent { body: text(MAX_BODY_LEN + 1), ..event() }.check().unwrap_err();
        assert_eq!(error.to_string(), "the event's body is 1048577 bytes long; the limit is 1048576");
        let error = NewEvent { by: text(MAX_ACTOR_LEN + 1), ..event() }.check().unwrap_err();
        assert!(matches!(error, AppendError::TooLarge { part: "by", .. }));
    }
}
