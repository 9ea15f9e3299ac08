//! `dbd` deploys PostgreSQL migrations: rehearsed on real data, safe to kill anywhere, taken back by itself.
//!
//! The middle only computes ([`domain`]), the rim only acts ([`adapters`] behind [`ports`]), the journal remembers. [`engine`] is the one
//! loop between them, [`wire`] the only place that names a concrete adapter, [`cli`] what people see. `docs/architecture.md` has the map.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod ports;
pub mod wire;
