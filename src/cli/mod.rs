//! What stands between a person and the library.

pub mod error;
pub mod exit;
pub mod shell;
