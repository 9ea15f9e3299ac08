//! Times as they are written: RFC 3339 in UTC with milliseconds.

use jiff::Timestamp;

/// `unix_ms` as text, like `2025-10-05T16:30:45.123Z`.
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |time| format!("{time:.3}"))
}
