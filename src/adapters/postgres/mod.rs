//! PostgreSQL itself, over its own protocol.

pub mod catalog;
mod catalog_queries;
