//! What several tests need.

pub mod pg;
