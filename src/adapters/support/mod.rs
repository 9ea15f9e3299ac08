//! What several adapters stand on: child processes, PostgreSQL's programs, users, files that survive a crash.

pub mod child;
pub mod files;
pub mod os_user;
pub mod pg_bin;
pub mod process;
