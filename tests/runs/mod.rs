//! Whole runs: the real binary, a real PostgreSQL, and what is left afterwards.
//!
//! Every test has a project folder and a database of its own. Nothing waits for a time: what is waited for is a state that can be seen
//! (an event in the journal, a lock, a file), with a deadline far away.

mod commands;
mod decisions;
mod evidence;
mod foretold;
mod formats;
mod good;
mod held_back;
mod histories;
mod hurt;
mod in_place;
mod journal;
mod killed;
mod left;
mod locks;
mod one_owner;
mod owners;
mod pooler;
mod refused;
mod reverse;
mod rolled_back;
mod soft_drop;
mod stopped;
mod tracked;
mod ways;
mod window;
mod zombies;
