//! The rim that only acts: each adapter does one kind of thing to the world, and decides nothing.

pub mod postgres;
