//! Time.

/// What time it is.
pub trait Clock {
    /// Milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;
}
