//! Events as they stand in the journal: a kind, the number of its shape, and a body.
//!
//! A shape changes only by gaining optional fields; any other change raises [`VERSION`] for that kind and adds an upcaster, so that every body
//! ever written can still be read. Kinds are never removed.

use super::event::Event;
use serde_json::Value;

/// The number of the shapes written today.
pub const VERSION: u32 = 1;

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The kind is not known to this version.
    #[error("the event kind `{0}` is not known to this version of dbd")]
    UnknownKind(String),
    /// The shape is newer than this version.
    #[error("`{kind}` has shape {found}; this version of dbd knows shapes up to {VERSION}")]
    Newer {
        /// The kind.
        kind: String,
        /// The number found.
        found: u32,
    },
    /// The body does not fit its kind.
    #[error("the body of `{kind}` cannot be read")]
    Body {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// The body of `event`, as JSON text.
#[must_use]
pub fn encode(event: &Event) -> String {
    // To write `null` in its place would be to forget what happened: better not to get as far as the append.
    let whole = serde_json::to_value(event).expect("an event is made of values that have a JSON form");
    // `null` stands for a body that is empty.
    whole.get("body").cloned().unwrap_or(Value::Null).to_string()
}

/// The event of a kind, shape and body.
///
/// # Errors
/// [`DecodeError`] if this version cannot read it.
pub fn decode(kind: &str, version: u32, body: &str) -> Result<Event, DecodeError> {
    if version > VERSION {
        return Err(DecodeError::Newer { kind: kind.to_owned(), found: version });
    }
    if !Event::KINDS.contains(&kind) {
        return Err(DecodeError::UnknownKind(kind.to_owned()));
    }
    let failed = |source| DecodeError::Body { kind: kind.to_owned(), source };
    // The kind comes first, so that the body is read straight into its shape: a journal of a million events is read often.
    let whole = match body.trim() {
        "null" => format!("{{\"kind\":\"{kind}\"}}"),
        body => format!("{{\"kind\":\"{kind}\",\"body\":{body}}}"),
    };
    serde_json::from_str(&whole).map_err(failed)
}
