//! The rim that only acts: each adapter does one kind of thing to the world, and decides nothing.

pub mod files;
pub mod http_health;
pub mod journal;
pub mod postgres;
pub mod system;
