//! What was written once must be read for ever.

mod events;
mod runs;
