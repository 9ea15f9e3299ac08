//! What only a real PostgreSQL can show.

mod apply;
mod cases;
mod catalog;
mod hazards;
mod score;
mod script;
