//! The live feed of a run: recorded events, and progress that may be dropped.

use crate::domain::effect::Effect;
use crate::domain::event::Recorded;
use crate::domain::run::Run;

/// Somebody who looks on.
pub trait Watch {
    /// An event was recorded; `run` is the run with it.
    fn recorded(&self, recorded: &Recorded, run: &Run);

    /// An effect has come so far; bytes, where it counts bytes.
    fn progress(&self, effect: Effect, done: u64, total: Option<u64>);

    /// An effect says what it is at.
    fn note(&self, effect: Effect, text: &str);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Watch for Nobody {
    fn recorded(&self, _: &Recorded, _: &Run) {}
    fn progress(&self, _: Effect, _: u64, _: Option<u64>) {}
    fn note(&self, _: Effect, _: &str) {}
}
