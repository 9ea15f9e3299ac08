//! What only a real PostgreSQL can show.

mod catalog;
mod cases;
