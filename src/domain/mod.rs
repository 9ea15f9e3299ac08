//! The middle that only computes: what a run is, what may happen to it, what to do next.
//!
//! Absent on purpose: files, sockets, clocks, randomness, environment variables, SQL drivers, printing, async. Time and ids come
//! in as values, so that the same history always gives the same answer, on any machine and on any day.

pub mod code;
pub mod connection;
pub mod digest;
pub mod failure;
pub mod ids;
pub mod migration;
pub mod schema;
pub mod secret;
