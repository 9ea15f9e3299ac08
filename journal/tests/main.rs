//! The journal from outside: through its public interface, and through the file with any other SQLite client.

mod append;
mod cheat;
mod laws;
mod locks;
mod opening;
mod reader;
mod support;
mod torn;
