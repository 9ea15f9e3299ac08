//! The command line.

pub mod error;
pub mod exit;
pub mod render;
pub mod shell;
