//! What the engine wants of the outside, as traits; nothing here acts.
//!
//! One file per outside world. A method that talks to the world returns a [`Failure`](crate::domain::failure::Failure) whose certainty
//! says whether the thing may have happened all the same.

pub mod backup;
pub mod boundary;
pub mod capture;
pub mod clock;
pub mod command;
pub mod database;
pub mod fence;
pub mod files;
pub mod health;
pub mod journal;
pub mod sandbox;
pub mod source;
