//! Commands as a user calls them.

mod compare;
mod demo;
mod drift;
