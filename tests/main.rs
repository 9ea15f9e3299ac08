//! The integration tests: one binary, a folder for each area.

mod tools;
