//! Commands as a user calls them.

mod check;
mod compare;
mod demo;
mod drift;
