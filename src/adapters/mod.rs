//! The rim that only acts: each adapter does one kind of thing to the world, knows none of the others, and decides nothing.

pub mod audit_key;
pub mod commands;
pub mod files;
pub mod git;
pub mod http_health;
pub mod journal;
pub mod pg_tools;
pub mod postgres;
pub mod sandbox;
pub mod support;
pub mod system;
