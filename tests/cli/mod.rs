//! Commands as a user calls them.

mod demo;
