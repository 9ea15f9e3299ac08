//! Events as text: what is written reads back, and what cannot be read is said.

use super::arbitrary::event;
use dbd::domain::codec::{DecodeError, VERSION, decode, encode};
use dbd::domain::event::Event;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_event_reads_back_as_it_was_written(event in event()) {
        let body = encode(&event);
        let empty = matches!(event, Event::RunSucceeded | Event::RolledBack | Event::Rehearsed);
        prop_assert_eq!(body == "null", empty, "{} has the body {}", event.kind(), body);
        let back = decode(event.kind(), VERSION, &body).unwrap();
        // To the byte: the same event always has the same text.
        prop_assert_eq!(encode(&back), body);
        prop_assert_eq!(back, event);
    }

    #[test]
    fn a_body_that_gained_fields_is_still_read(event in event()) {
        let mut body: serde_json::Value = serde_json::from_str(&encode(&event)).unwrap();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("a_field_of_later".to_owned(), 1.into());
        }
        prop_assert_eq!(decode(event.kind(), VERSION, &body.to_string()).unwrap(), event);
    }

    #[test]
    fn a_shape_that_is_newer_is_not_guessed_at(event in event(), version in VERSION + 1..) {
        let refused = decode(event.kind(), version, &encode(&event));
        let newer = matches!(refused, Err(DecodeError::Newer { kind, found }) if kind == event.kind() && found == version);
        prop_assert!(newer);
    }

    #[test]
    fn any_text_under_any_kind_is_read_or_refused(kind in "[a-z_.]{0,20}", body in any::<String>()) {
        prop_assert!(decode(&kind, VERSION, &body).is_err());
    }
}

#[test]
fn a_kind_nobody_knows_is_called_unknown() {
    for kind in ["run.teleported", "", "step.succeeded ", "Requested"] {
        let refused = decode(kind, VERSION, "{}");
        assert!(matches!(&refused, Err(DecodeError::UnknownKind(found)) if found == kind), "{kind:?}: {refused:?}");
    }
}

#[test]
fn a_body_that_does_not_fit_its_kind_is_not_taken_for_an_unknown_kind() {
    for (kind, body) in [
        ("run.requested", "null"),
        ("run.requested", "{\"environment\": 3}"),
        ("step.intended", "{\"effect\":{\"do\":\"step.intended\"},\"id\":\"x\",\"attempt\":1}"),
        ("step.succeeded", "{\"id\":\"x\",\"outcome\":{\"of\":\"rune\"},\"duration_ms\":1}"),
        ("run.paused", "not json"),
    ] {
        let refused = decode(kind, VERSION, body);
        assert!(
            matches!(&refused, Err(DecodeError::Body { kind: found, .. }) if found == kind),
            "{kind} {body}: {refused:?}"
        );
    }
}
