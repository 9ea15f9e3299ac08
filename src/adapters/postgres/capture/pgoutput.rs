//! What a logical slot tells: the messages of `pgoutput`, protocol version 1
//! (<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>).

use super::shape::Value;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A transaction begins: the low half of its id.
    Begin {
        /// The id.
        xid: u32,
    },
    /// It ends, and this is where the next one begins.
    Commit {
        /// The place after it in the WAL.
        end: u64,
    },
    /// What a relation is like from here on.
    Relation {
        /// Its oid.
        rel: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
        /// Its columns' names, in the order of the values.
        columns: Vec<String>,
    },
    /// A row came.
    Insert {
        /// Where.
        rel: u32,
        /// The row.
        new: Vec<Value>,
    },
    /// A row was changed.
    Update {
        /// Where.
        rel: u32,
        /// As it was, if the relation's identity is the whole row.
        old: Option<Vec<Value>>,
        /// As it is.
        new: Vec<Value>,
    },
    /// A row went.
    Delete {
        /// Where.
        rel: u32,
        /// As it was, if the relation's identity is the whole row.
        old: Option<Vec<Value>>,
    },
    /// Tables were emptied.
    Truncate {
        /// Which.
        rels: Vec<u32>,
    },
    /// Something that changes no row.
    Other,
}

/// Reads one message; none if it is cut short or unknown.
pub(super) fn message(bytes: &[u8]) -> Option<Message> {
    let (kind, rest) = bytes.split_first()?;
    let mut reader = Reader(rest);
    let message = match kind {
        b'B' => {
            reader.take(16)?;
            Message::Begin { xid: reader.u32()? }
        }
        b'C' => {
            reader.take(9)?;
            let end = reader.u64()?;
            reader.take(8)?;
            Message::Commit { end }
        }
        b'R' => {
            let rel = reader.u32()?;
            let (schema, name) = (reader.text()?, reader.text()?);
            reader.take(1)?;
            let count = reader.u16()?;
            let mut columns = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                reader.take(1)?;
                columns.push(reader.text()?);
                reader.take(8)?;
            }
            Message::Relation { rel, schema, name, columns }
        }
        b'I' => {
            let rel = reader.u32()?;
            (reader.u8()? == b'N').then_some(())?;
            Message::Insert { rel, new: reader.row()? }
        }
        b'U' => {
            let rel = reader.u32()?;
            let mut old = None;
            let mut mark = reader.u8()?;
            if matches!(mark, b'O' | b'K') {
                let row = reader.row()?;
                old = (mark == b'O').then_some(row);
                mark = reader.u8()?;
            }
            (mark == b'N').then_some(())?;
            Message::Update { rel, old, new: reader.row()? }
        }
        b'D' => {
            let rel = reader.u32()?;
            let mark = reader.u8()?;
            let row = reader.row()?;
            Message::Delete { rel, old: (mark == b'O').then_some(row) }
        }
        b'T' => {
            let count = reader.u32()?;
            reader.take(1)?;
            let rels = (0..count).map(|_| reader.u32()).collect::<Option<_>>()?;
            Message::Truncate { rels }
        }
        b'O' | b'Y' | b'M' => return Some(Message::Other),
        _ => return None,
    };
    reader.0.is_empty().then_some(message)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(self.take(end)?).ok()?.to_owned();
        self.take(1)?;
        Some(text)
    }

    fn row(&mut self) -> Option<Vec<Value>> {
        let count = self.u16()?;
        (0..count)
            .map(|_| match self.u8()? {
                b'n' => Some(Value::Null),
                b'u' => Some(Value::Unchanged),
                b't' => {
                    let length = self.u32()?;
                    let text = self.take(usize::try_from(length).ok()?)?;
                    Some(Value::Text(std::str::from_utf8(text).ok()?.to_owned()))
                }
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> Vec<u8> {
        let mut bytes = b"U\0\0\0\x07O\0\x02t\0\0\0\x011nN\0\x03t\0\0\0\x02\xc3\xa9nu".to_vec();
        bytes.shrink_to_fit();
        bytes
    }

    #[test]
    fn messages_are_read() {
        let one = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            message(&update()),
            Some(Message::Update {
                rel: 7,
                old: Some(vec![one("1"), Value::Null]),
                new: vec![one("é"), Value::Null, Value::Unchanged],
            })
        );
        let begin = [b"B".as_slice(), &[0; 16], &[0, 0, 1, 2]].concat();
        assert_eq!(message(&begin), Some(Message::Begin { xid: 258 }));
        let commit = [b"C\0".as_slice(), &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 9], &[0; 8]].concat();
        assert_eq!(message(&commit), Some(Message::Commit { end: 9 }));
        let truncate = b"T\0\0\0\x02\0\0\0\0\x05\0\0\0\x06";
        assert_eq!(message(truncate), Some(Message::Truncate { rels: vec![5, 6] }));
        let relation = b"R\0\0\0\x05public\0t\0f\0\x01\x01id\0\0\0\0\x17\xff\xff\xff\xff";
        let columns = vec!["id".to_owned()];
        assert_eq!(
            message(relation),
            Some(Message::Relation { rel: 5, schema: "public".into(), name: "t".into(), columns })
        );
    }

    #[test]
    fn a_message_that_is_cut_short_is_none() {
        let whole = update();
        for length in 0..whole.len() {
            assert_eq!(message(&whole[..length]), None, "{length}");
        }
        assert_eq!(message(&[whole, vec![0]].concat()), None);
        assert_eq!(message(b"?"), None);
    }
}
