//! The middle that only computes: what a run is, what may happen to it, what to do next.
//!
//! Absent on purpose: files, sockets, clocks, randomness, environment variables, SQL drivers, printing, async. Time and ids come
//! in as values, so that the same history always gives the same answer, on any machine and on any day.

pub mod audit;
pub mod budget;
pub mod code;
pub mod codec;
pub mod connection;
pub mod copying;
pub mod decide;
pub mod digest;
pub mod effect;
pub mod event;
pub mod evolve;
pub mod failure;
pub mod finding;
pub mod forecast;
pub mod hazard;
pub mod ids;
pub mod ledger;
pub mod machine;
pub mod measured;
pub mod migration;
pub mod next;
pub mod plan;
pub mod recovery;
pub mod rehearsal;
pub mod run;
pub mod schema;
pub mod secret;
pub mod sql;
pub mod time;
pub mod way;
