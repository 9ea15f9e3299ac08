//! What is recorded about the record itself: signing keys, exports, reviews. A stream of its own beside those of the runs.
//!
//! A review stands here and not in its run's stream, because a settled run is settled: nothing that is said of it afterwards may look like
//! something that happened to it.

use super::event::Actor;
use super::ids::RunId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The stream's name among the runs. No run can have it: run ids begin with `deploy-`.
pub const STREAM: &str = "audit";

/// The number of the shapes written today; as for runs, a shape changes only by gaining optional fields.
pub const VERSION: u32 = 1;

/// Something that happened to the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum AuditEvent {
    /// The first signing key was made. Legal once, before any export.
    #[serde(rename = "audit.key_created")]
    KeyCreated {
        /// The public key, as a verifier takes it.
        key: String,
    },
    /// Another signing key took its place. `from` must be the key before.
    #[serde(rename = "audit.key_rotated")]
    KeyRotated {
        /// The key that is retired.
        from: String,
        /// The key from now on.
        key: String,
        /// The new key as a note signed by the retired one; none if that one was lost.
        endorsement: Option<String>,
        /// Why, if they said.
        reason: Option<String>,
    },
    /// A checkpoint was signed and a bundle is about to be handed out.
    #[serde(rename = "audit.exported")]
    Exported {
        /// How many events the checkpoint is over.
        size: u64,
        /// The RFC 6962 root over them, in base64.
        root: String,
        /// The public key that signed.
        key: String,
        /// The SHA-256 of the bundle's manifest, in hexadecimal.
        manifest: String,
        /// The window's beginning, in milliseconds since 1970.
        since_ms: i64,
        /// The window's end.
        until_ms: i64,
        /// The only environment reported on, if there was only one.
        environment: Option<String>,
    },
    /// Somebody looked at a run after the fact.
    #[serde(rename = "audit.reviewed")]
    Reviewed {
        /// The run.
        run: RunId,
        /// What they found, or why it was right.
        reason: String,
    },
}

impl AuditEvent {
    /// Every kind, as it stands in the journal.
    pub const KINDS: &'static [&'static str] =
        &["audit.key_created", "audit.key_rotated", "audit.exported", "audit.reviewed"];

    /// The kind as it stands in the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::KeyCreated { .. } => "audit.key_created",
            Self::KeyRotated { .. } => "audit.key_rotated",
            Self::Exported { .. } => "audit.exported",
            Self::Reviewed { .. } => "audit.reviewed",
        }
    }

    /// The body, as JSON text.
    #[must_use]
    pub fn encode(&self) -> String {
        let whole = serde_json::to_value(self).expect("an event is made of values that have a JSON form");
        whole.get("body").cloned().unwrap_or(Value::Null).to_string()
    }

    /// The event of a kind, shape and body; `Err` says why this version cannot read it, without quoting it.
    ///
    /// # Errors
    /// A sentence.
    pub fn decode(kind: &str, version: u32, body: &str) -> Result<Self, String> {
        if version > VERSION {
            return Err(format!("`{kind}` has shape {version}; this version of dbd knows shapes up to {VERSION}"));
        }
        if !Self::KINDS.contains(&kind) {
            return Err(format!("the event kind `{kind}` is not known to this version of dbd"));
        }
        let failed = |_| format!("the body of `{kind}` cannot be read");
        let body: Value = serde_json::from_str(body).map_err(failed)?;
        serde_json::from_value(json!({"kind": kind, "body": body})).map_err(failed)
    }
}

/// An event of the stream as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecorded {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// Its place in the stream, from 1.
    pub rseq: u64,
    /// When, in milliseconds since 1970, UTC.
    pub ts_ms: i64,
    /// Who.
    pub actor: Actor,
    /// What.
    pub event: AuditEvent,
}

/// One signing key and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The public key.
    pub key: String,
    /// The place of its event.
    pub seq: u64,
    /// Since when it signs.
    pub since_ms: i64,
    /// Who put it there.
    pub by: Actor,
    /// The key before it, and the note in which that one vouches for it.
    pub after: Option<(String, Option<String>)>,
}

/// Somebody's review of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The place of its event.
    pub seq: u64,
    /// Who.
    pub by: String,
    /// When.
    pub ts_ms: i64,
    /// What they found.
    pub reason: String,
}

/// A checkpoint that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The place of its event.
    pub seq: u64,
    /// How many events it is over.
    pub size: u64,
    /// The root, in base64.
    pub root: String,
}

/// Why an event of the stream does not fit those before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq}: {why}")]
pub struct TrailMisfit {
    /// Its place in the journal.
    pub seq: u64,
    /// Why.
    pub why: &'static str,
}

/// Everything the stream adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// The signing keys, the newest last.
    pub keys: Vec<SigningKey>,
    /// The reviews of each run, in order.
    pub reviews: BTreeMap<RunId, Vec<Review>>,
    /// The checkpoints, in order.
    pub signed: Vec<Signed>,
    /// How many events there are.
    pub rseq: u64,
}

impl Trail {
    /// The key that signs now.
    #[must_use]
    pub fn current(&self) -> Option<&SigningKey> {
        self.keys.last()
    }

    /// Takes the next event in.
    ///
    /// # Errors
    /// [`TrailMisfit`] if it does not fit; nothing is taken in then.
    pub fn take(&mut self, recorded: &AuditRecorded) -> Result<(), TrailMisfit> {
        let seq = recorded.seq;
        let misfit = |why| Err(TrailMisfit { seq, why });
        if recorded.rseq != self.rseq + 1 {
            return misfit("an event of the audit stream is missing before it");
        }
        let key = |key: &str, after| SigningKey {
            key: key.to_owned(),
            seq,
            since_ms: recorded.ts_ms,
            by: recorded.actor.clone(),
            after,
        };
        let current = self.current().map(|current| current.key.as_str());
        match &recorded.event {
            AuditEvent::KeyCreated { .. } if current.is_some() => {
                return misfit("a first signing key is made although there is one");
            }
            AuditEvent::KeyCreated { key: new } => {
                let new = key(new, None);
                self.keys.push(new);
            }
            AuditEvent::KeyRotated { from, .. } if current != Some(from) => {
                return misfit("it retires a signing key that is not the current one");
            }
            AuditEvent::KeyRotated { from, key: new, endorsement, .. } => {
                let new = key(new, Some((from.clone(), endorsement.clone())));
                self.keys.push(new);
            }
            AuditEvent::Exported { key, .. } if current != Some(key) => {
                return misfit("it was signed by a key that was not the current one");
            }
            AuditEvent::Exported { size, .. } if *size >= seq => {
                return misfit("its checkpoint is over events that had not happened");
            }
            AuditEvent::Exported { size, .. } if self.signed.last().is_some_and(|last| last.size > *size) => {
                return misfit("its checkpoint is over fewer events than an earlier one");
            }
            AuditEvent::Exported { size, root, .. } => {
                self.signed.push(Signed { seq, size: *size, root: root.clone() });
            }
            AuditEvent::Reviewed { run, reason } => self.reviews.entry(run.clone()).or_default().push(Review {
                seq,
                by: recorded.actor.id.clone(),
                ts_ms: recorded.ts_ms,
                reason: reason.clone(),
            }),
        }
        self.rseq = recorded.rseq;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor() -> Actor {
        Actor { kind: "human".into(), id: "carol".into(), via: "os".into(), host: "build-7".into() }
    }

    fn trail(events: &[AuditEvent]) -> Result<Trail, TrailMisfit> {
        let mut trail = Trail::default();
        for (at, event) in (1..).zip(events) {
            trail.take(&AuditRecorded { seq: 10 * at, rseq: at, ts_ms: 5, actor: actor(), event: event.clone() })?;
        }
        Ok(trail)
    }

    fn created(key: &str) -> AuditEvent {
        AuditEvent::KeyCreated { key: key.into() }
    }

    fn rotated(from: &str, key: &str) -> AuditEvent {
        AuditEvent::KeyRotated { from: from.into(), key: key.into(), endorsement: None, reason: None }
    }

    fn exported(key: &str, size: u64) -> AuditEvent {
        AuditEvent::Exported {
            size,
            root: "r".into(),
            key: key.into(),
            manifest: "m".into(),
            since_ms: 1,
            until_ms: 2,
            environment: None,
        }
    }

    #[test]
    fn a_key_is_followed_only_by_one_that_names_it() {
        let trail_of = |events: &[AuditEvent]| trail(events).map(|trail| trail.current().unwrap().key.clone());
        assert_eq!(trail_of(&[created("a"), exported("a", 3), rotated("a", "b"), exported("b", 30)]).unwrap(), "b");
        for (events, seq) in [
            (vec![created("a"), created("b")], 20),
            (vec![rotated("a", "b")], 10),
            (vec![created("a"), rotated("b", "c")], 20),
            (vec![exported("a", 3)], 10),
            (vec![created("a"), rotated("a", "b"), exported("a", 3)], 30),
            (vec![created("a"), exported("a", 20)], 20),
            (vec![created("a"), exported("a", 15), exported("a", 14)], 30),
        ] {
            assert_eq!(trail(&events).unwrap_err().seq, seq, "{events:?}");
        }
    }

    #[test]
    fn a_missing_event_is_noticed() {
        let event = AuditRecorded { seq: 1, rseq: 2, ts_ms: 0, actor: actor(), event: created("a") };
        assert!(Trail::default().take(&event).is_err());
    }

    #[test]
    fn every_event_reads_back_and_what_was_written_first_still_does() {
        let review = AuditEvent::Reviewed { run: RunId::parse("deploy-prod-1").unwrap(), reason: "was right".into() };
        for event in [created("a"), rotated("a", "b"), exported("a", 3), review] {
            assert_eq!(AuditEvent::decode(event.kind(), VERSION, &event.encode()), Ok(event.clone()));
            assert!(AuditEvent::KINDS.contains(&event.kind()));
        }
        let first = [
            ("audit.key_created", r#"{"key":"a"}"#),
            ("audit.key_rotated", r#"{"from":"a","key":"b","endorsement":null,"reason":null}"#),
            (
                "audit.exported",
                r#"{"size":3,"root":"r","key":"a","manifest":"m","since_ms":1,"until_ms":2,"environment":"prod"}"#,
            ),
            ("audit.reviewed", r#"{"run":"deploy-prod-1","reason":"was right"}"#),
        ];
        for (kind, body) in first {
            assert!(AuditEvent::decode(kind, 1, body).is_ok(), "{kind}");
        }
        assert!(AuditEvent::decode("audit.reviewed", 2, "{}").is_err());
        assert!(AuditEvent::decode("run.requested", 1, "{}").is_err());
        assert!(
            AuditEvent::decode("audit.reviewed", 1, "{\"run\":\"secret\"").is_err_and(|why| !why.contains("secret"))
        );
    }
}
